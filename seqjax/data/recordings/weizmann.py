"""Weizmann silhouettes: 93 clips of 9 people and 10 actions, as frames of a crop that follows the person, and as features."""

import re

import numpy as np

from seqjax.data.array_files import digest_of, file_in, mat_variables
from seqjax.data.labels import Labels
from seqjax.data.series import Mirror, Series
from seqjax.errors import InputError

CROP = 96  # pixels; the largest person is 87 high
GRID = 12  # places along each side of the features' crop
SPEED, HEIGHT = 2.0, 67.0  # pixels a step, and pixels: the scales of motion and of a person


def load(folder, *, size: int = 48) -> Series:
    """The clips, in the file's order.

    A crop of 96 x 96 pixels follows the silhouette's centre of mass from step to step. Every number depends on this step and
    the one before it only, so that a stream gives the same numbers.

    Args:
        folder: holds original_masks.mat, a struct original_masks of clips, <person>_<action> or <person>_<action><1 or 2> for a
            repeated action, each 0 or 1, [height, width, T].
        size: height and width of the frames, a divisor of 96.

    Returns:
        A `Series` with a class a clip, its group the person, 50 steps a second as the publication states; inputs
        `frames` uint8 [T, size, size, 1], 0 to 255, averages over squares of the crop, and
        `features` float32 [T, 148]: averages over the crop's 12 x 12 squares, 0 to 3; the velocity (y, x) of the centre in
        2 pixels a step, at first 0; the silhouette's height and width in 67 pixels.

    Raises:
        InputError: the file is missing or has other variables, a clip's name is not of that form, a frame is empty, or size does
            not divide 96.

    Gorelick, Blank, Shechtman, Irani and Basri, Actions as Space-Time Shapes, 2007.
    """
    if size < 1 or CROP % size:
        raise InputError(f"size is {size}, it must divide {CROP}")
    path = file_in(folder, "original_masks.mat", what="the Weizmann silhouettes")
    clips = mat_variables(path, ("original_masks",))["original_masks"]
    if clips.dtype.names is None or clips.size != 1:
        raise InputError(f"{path}: original_masks is no struct of clips")
    frames, features, labels, groups = [], [], [], []
    for name in clips.dtype.names:
        match = re.fullmatch(r"([a-z]+)_([a-z]+)([12]?)", name)
        mask = np.asarray(clips[name].item()) > 0  # [height, width, T]
        if match is None or mask.ndim != 3:
            raise InputError(f"{path}: {name} is no clip [height, width, T] named <person>_<action>")
        empty = np.flatnonzero(~mask.any(axis=(0, 1)))
        if empty.size:
            raise InputError(f"{path}: {name} has no silhouette in frame {empty[0]}: leave the clip out")
        person, action, repeat = match.groups()
        labels.append(action + repeat * (action == "wave"))  # wave1 and wave2 are two actions, run1 and run2 are one
        groups.append(person)
        crop, motion = _followed(np.moveaxis(mask, -1, 0))  # [T, 96, 96], [T, 4]
        frames.append(np.round(_averages(crop, size) * 255).astype(np.uint8)[..., None])
        features.append(np.concatenate([3 * _averages(crop, GRID).reshape(len(crop), -1), motion], axis=1).astype(np.float32))
    classes = Labels.of(labels)
    return Series(
        inputs={"frames": frames, "features": features},
        lengths=np.array([len(clip) for clip in frames]),
        classes=classes,
        labels=np.array([classes.index(label) for label in labels]),
        names=clips.dtype.names,
        groups=tuple(groups),
        rate=50.0,
        record={"source": "Weizmann silhouettes", "sha256": digest_of([path]), "clips": len(frames), "size": size},
    )


def mirror() -> Mirror:
    """The mirror image of `features`, left for right."""
    squares = np.arange(GRID * GRID).reshape(GRID, GRID)[:, ::-1].ravel().tolist()
    return Mirror.joined([Mirror(tuple(squares), (1,) * len(squares)), Mirror((0, 1, 2, 3), (1, -1, 1, 1))])


def _followed(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The crop around the centre of mass, bool [T, 96, 96], and velocity, height and width, [T, 4]."""
    steps, height, width = mask.shape
    count = mask.sum(axis=(1, 2))  # [T]
    sums = mask.sum(axis=2) @ np.arange(height), mask.sum(axis=1) @ np.arange(width)  # [T] each
    centre = np.stack(sums, axis=1) / count[:, None]  # [T, 2]
    extent = np.stack([_extent(mask, axis=2), _extent(mask, axis=1)], axis=1) / HEIGHT  # [T, 2]
    velocity = np.diff(centre, axis=0, prepend=centre[:1]) / SPEED  # [T, 2]
    margin = CROP // 2
    padded = np.pad(mask, ((0, 0), (margin, margin), (margin, margin)))
    crop = np.empty((steps, CROP, CROP), bool)
    for t, (y, x) in enumerate(np.floor(centre + 0.5).astype(int)):
        crop[t] = padded[t, y : y + CROP, x : x + CROP]
    return crop, np.concatenate([velocity, extent], axis=1)


def _extent(mask: np.ndarray, axis: int) -> np.ndarray:
    """The number of places from the first to the last that has a True along an axis: [T, H, W] to [T]."""
    occupied = np.asarray(mask.any(axis=axis))  # [T, N]
    return occupied.shape[1] - occupied[:, ::-1].argmax(axis=1) - occupied.argmax(axis=1)


def _averages(crop: np.ndarray, size: int) -> np.ndarray:
    """Averages over the squares of a grid: [T, 96, 96] to [T, size, size]."""
    side = CROP // size
    return crop.reshape(len(crop), size, side, size, side).mean(axis=(2, 4))
