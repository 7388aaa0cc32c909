"""Rendered clips: digits and stick people that move, with classes that only the order of the frames tells apart.

The data that needs no download: handwritten digits of real people (scikit-learn's, in its wheel) and drawn stick people
before a cluttered background, under noise and a shaking camera.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.splits import SPLITS
from seqjax.data.video.actions import CLASSES, IDLE, one_action, several_actions
from seqjax.data.video.clips import Size
from seqjax.data.video.figures import CANVAS, figures_of
from seqjax.data.video.lazy import KEPT, Kept, LazyClips, with_flow
from seqjax.errors import InputError
from seqjax.extras import from_extra

RATE = 10.0  # frames a second
FIGURE = 0.65  # the side of a figure of scale 1, in shares of the frame
SHAKE = 0.007  # standard deviation of the camera's place, in shares of the frame
NOISE = 5.0  # standard deviation of a pixel's noise, of 255


class RenderedFrames(LazyClips):
    """Frames that are drawn when they are read; clip n is a function of (seed, n).

    Args:
        seed: two integers or more.
        figures: images uint8 [N, 24, 24], one for each clip.
        poses: [T, 4] for each clip, see `seqjax.data.video.actions`.
        size: (height, width).
    """

    dtype = np.uint8

    def __init__(self, seed: Sequence[int], figures: np.ndarray, poses: Sequence[np.ndarray], size: Size):
        self.seed, self.figures, self.poses = tuple(seed), figures, tuple(poses)
        self.size = size
        self.frame_shape = (*size, 1)
        self.lengths = [len(path) for path in self.poses]

    def read(self, n: int, begin: int, end: int) -> np.ndarray:
        rng = np.random.default_rng((*self.seed, n, 1))
        return draw_clip(self.figures[n], self.poses[n], self.size, rng, begin, end)[..., None]


def render_series(
    seed: int,
    clips: Sequence[int],
    *,
    kind: str = "clips",
    size: Size = (32, 32),
    frames: tuple[int, int] = (16, 28),
    actions: tuple[int, int] = (3, 6),
    idle: bool = True,
    flow: bool = False,
    grid: Size | None = None,
) -> dict[str, Series]:
    """Rendered clips in three splits whose figures differ.

    The classes come in pairs that show the same frames in different orders: left and right rotations, fall and rise, grow and
    shrink, crossings to the right and to the left, a slow sway and a fast wave, a slow hop and fast bounces. So the frames of
    a clip without their order tell nothing about which of the two it is.

    Args:
        seed: of all draws, at least 0.
        clips: the number of clips of train, valid and test.
        kind: "clips": one action a clip, with its label; "long": several one after another, with a target for every frame.
        size: (height, width) of a frame.
        frames: the least and greatest number of frames of an action.
        actions: the least and greatest number of actions in a long clip.
        idle: True: pauses between the actions of a long clip, of a class of their own.
        flow: True: optical flow beside the frames, in pixels.
        grid: (h, w) that the flow is averaged to; None: one vector a pixel.

    Returns:
        {"train": `Series`, "valid": ..., "test": ...}, with inputs `frames`, uint8 [T, height, width, 1], and `flow`, float32
        [T, h, w, 2], if asked for; a clip's group is its figure.

    Raises:
        InputError: an argument outside its range, or OpenCV or scikit-learn is not installed.

    Example:
        >>> splits = render_series(0, (24, 12, 12))
        >>> series = splits["train"]
        >>> len(series.lengths), series.inputs["frames"][0].shape[1:], series.classes.names[:4]
        (24, (32, 32, 1), ('rotate left', 'rotate right', 'fall', 'rise'))
    """
    clips = tuple(clips)
    if len(clips) != 3 or min(clips) < 1:
        raise InputError(f"clips is {clips}: give three numbers of clips of at least 1, for train, valid and test")
    if kind not in ("clips", "long"):
        raise InputError(f"kind is {kind!r}: it must be 'clips' or 'long'")
    if not 8 <= frames[0] <= frames[1] or not 1 <= actions[0] <= actions[1] or min(size) < 8 or seed < 0:
        raise InputError(
            f"frames {frames}, actions {actions}, size {size}, seed {seed}: at least 8 frames, 1 action and 8 pixels, the least "
            "first, and a seed of at least 0"
        )
    settings = {"kind": kind, "size": list(size), "frames": list(frames), "actions": list(actions), "idle": idle}
    splits = {
        split: _series(split, (seed, SPLITS.index(split)), count, settings) for split, count in zip(SPLITS, clips, strict=True)
    }
    return {split: with_flow(series, grid) for split, series in splits.items()} if flow else splits


def draw_clip(
    figure: np.ndarray, poses: np.ndarray, size: Size, rng: np.random.Generator, begin: int = 0, end: int | None = None
) -> np.ndarray:
    """A figure at a sequence of poses, before a random background.

    Args:
        figure: uint8 [24, 24].
        poses: [T, 4].
        size: (height, width).
        rng: of NumPy; equal draws for any begin and end.
        begin, end: the frames to draw; end None: up to the last.

    Returns:
        uint8 [end - begin, height, width].
    """
    with from_extra("vision"):
        import cv2

    height, width = size
    end = len(poses) if end is None else end
    light = rng.uniform(150, 230)
    centre = CANVAS / 2
    spots = rng.uniform(0, rng.uniform(10, 70), (5, 5)).astype(np.float32)
    clutter = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)  # [height, width]
    shakes = rng.normal(0, SHAKE, (len(poses), 2))
    noise_seeds = rng.integers(2**32, size=len(poses))
    frames = np.empty((end - begin, height, width), np.uint8)
    for t in range(begin, end):
        x, y, angle, scale = poses[t]
        # drawn twice as large and averaged, so that small figures keep their thin limbs
        zoom = np.exp(scale) * FIGURE * 2 * min(size) / CANVAS
        matrix = cv2.getRotationMatrix2D((centre - 0.5, centre - 0.5), angle, zoom)
        matrix[:, 2] += (np.array([x, y]) + shakes[t]) * (2 * width, 2 * height) - centre
        shape = cv2.warpAffine(figure, matrix, (2 * width, 2 * height), flags=cv2.INTER_LINEAR)
        # [height, width], 0 to 1
        shape = cv2.resize(shape, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        noise = np.random.default_rng(noise_seeds[t]).standard_normal((height, width), np.float32) * NOISE
        frames[t - begin] = np.clip(clutter * (1 - shape) + light * shape + noise, 0, 255)
    return frames


def _series(split: str, seed: tuple[int, int], count: int, settings: dict) -> Series:
    least, greatest = settings["frames"]
    pauses = (least // 4, greatest // 4) if settings["idle"] else None
    long = settings["kind"] == "long"
    names, images = figures_of(split)
    people = next(n for n, name in enumerate(names) if name.startswith("person"))
    labels = np.random.default_rng((*seed, 0)).permutation(np.arange(count) % len(CLASSES))
    figures, poses, per_frame = [], [], []
    for n in range(count):
        rng = np.random.default_rng((*seed, n, 0))
        figures.append(int(rng.integers(people) if rng.random() < 0.5 else rng.integers(people, len(names))))
        if long:
            several = int(rng.integers(settings["actions"][0], settings["actions"][1] + 1))
            path, actions = several_actions(several, (least, greatest), pauses, rng)
        else:
            path, actions = one_action(CLASSES[labels[n]], int(rng.integers(least, greatest + 1)), rng), []
        poses.append(path)
        per_frame.append(actions)
    classes = CLASSES + (IDLE,) * (long and settings["idle"])
    frames = RenderedFrames(seed, images[figures], poses, settings["size"])
    digest = hashlib.sha256(json.dumps([seed, count, settings], sort_keys=True).encode())
    for n in range(min(count, 4)):  # a changed renderer makes other data
        digest.update(frames[n].tobytes())
    index = {name: n for n, name in enumerate(classes)}
    return Series(
        inputs={"frames": Kept(frames, KEPT)},
        lengths=np.array(frames.lengths),
        classes=Labels(names=classes),
        labels=None if long else labels,
        targets=tuple(np.array([index[action] for action in actions], np.int32) for actions in per_frame) if long else None,
        groups=tuple(names[n] for n in figures),
        names=tuple(f"{split}-{n:05d}" for n in range(count)),
        rate=RATE,
        record={"source": f"rendered {settings['kind']}", "sha256": digest.hexdigest(), "clips": count, "skipped": 0}
        | {"frames": int(sum(frames.lengths)), "seed": seed[0]},
        splits={},
    )
