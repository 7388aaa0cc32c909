"""Folders and zips of clips, read into a Series."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from seqjax.checks import as_path
from seqjax.data.labels import Labels
from seqjax.data.series import Series, read_segments, segment_targets
from seqjax.data.series.layout import classes_and_splits, matched
from seqjax.data.video.clips import Clip, Size, UnreadableClip
from seqjax.data.video.lazy import KEPT, Frames, Kept, with_flow
from seqjax.data.video.places import Place, find_clips
from seqjax.errors import InputError

NAMED = 20  # skipped clips that the record names


def load_clips(
    root,
    *,
    size: Size | None = None,
    grey: bool = False,
    flow: bool = False,
    grid: Size | None = None,
    every: int = 1,
    rate: float | None = None,
    label: str | None = None,
    group: str | None = None,
    segments=None,
    unreadable: str = "skip",
    keep: int = KEPT,
) -> Series:
    """Clips in folders by class, `root/<class>/<clip>`, or in a zip of that layout; frames are decoded when they are needed.

    A clip is what `find_clips` finds. Folders train, valid (val, validation) and test above the classes are published splits.

    Args:
        root: the folder or zip.
        size: (height, width) of all frames; None: that of the clips, which must be the same.
        grey: True: one channel.
        flow: True: optical flow beside the frames, in pixels of frames of this size.
        grid: (h, w) that the flow is averaged to; None: one vector a pixel.
        every: one of so many frames is kept.
        rate: frames a second of a clip that states none.
        label: a regular expression whose first group (else its match) in a clip's name is its class; None: the clip's folder.
        group: likewise the clip's group (the person, the recording), which no two splits share; None: each clip is one.
        segments: the path of a CSV or JSON of segments for per-frame targets (see `read_segments`); None: no targets.
        unreadable: "skip": a clip that cannot be decoded or has no frame is left out, counted and named in the record;
            "refuse": it is an error.
        keep: bytes of decoded clips that may stay in memory.

    Returns:
        A `Series` with inputs `frames`, uint8 [T, H, W, C], and with flow=True `flow`, float32 [T, h, w, 2].

    Raises:
        InputError: no clip can be read; frames of changing size, or clips of different sizes without `size`; a video without a
            rate and no `rate` given; a name that `label` or `group` does not match; segments that do not fit the clips.

    Example:
        >>> import pathlib, tempfile
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("jump/a", "run/b"):
        ...     (root / name).parent.mkdir()
        ...     np.save(root / f"{name}.npy", np.zeros((5, 8, 8), np.uint8))
        >>> series = load_clips(root, size=(4, 4))
        >>> series.classes.names, series.labels.tolist(), series.inputs["frames"][1].shape
        (('jump', 'run'), [0, 1], (5, 4, 4, 1))
    """
    if unreadable not in ("skip", "refuse"):
        raise InputError(f"unreadable is {unreadable!r}: it must be 'skip' or 'refuse'")
    root = as_path(root)
    if not root.exists():
        raise InputError(f"{root} is missing: give a folder or zip of clips, <class>/<clip>")
    names, clips, skipped = _open_all(root, unreadable)
    rates = [_rate(clip, rate) for clip in clips]
    size = size or _common_size(clips)
    channels = 1 if grey else max(clip.channels for clip in clips)
    frames = Frames(clips, size=size, channels=channels, every=every)
    class_names, splits = classes_and_splits(names, label)
    listed = read_segments(segments) if segments is not None else None
    classes = sorted({*class_names, *(segment.label for segment in listed or ())})
    if not classes:
        raise InputError(f"the clips of {root} have no class: put them into folders by class, or give label= or segments=")
    targets = None
    if listed is not None:
        left_out = [name for name, _ in skipped]
        targets = segment_targets(listed, names, frames.lengths, rates, classes, every=every, ignored=left_out)
    digest = hashlib.sha256(f"{size} {channels} {every}".encode())
    for name, clip in zip(names, clips, strict=True):
        digest.update(f"\n{name} {clip.digest}".encode())
    series = Series(
        inputs={"frames": Kept(frames, keep)},
        lengths=np.array(frames.lengths),
        classes=Labels(names=tuple(classes)),
        labels=np.array([classes.index(name) for name in class_names]) if class_names else None,
        targets=targets,
        groups=tuple(matched(name, group, "group") for name in names) if group else tuple(names),
        names=tuple(names),
        rate=None if rates[0] is None or len(set(rates)) > 1 else rates[0] / every,
        record={
            "source": "clips",
            "sha256": digest.hexdigest(),
            "clips": len(clips),
            "frames": int(sum(frames.lengths)),
            "skipped": len(skipped),
            "skipped_clips": "; ".join(reason for _, reason in skipped[:NAMED]),
        },
        splits=splits,
    )
    return with_flow(series, grid, keep=keep) if flow else series


def _open_all(root, unreadable: str) -> tuple[list[str], list[Clip], list[tuple[str, str]]]:
    """Names, clips, and (name, reason) of each clip that was skipped."""

    def attempt(place: Place) -> Clip | UnreadableClip:
        try:
            return place.open()
        except UnreadableClip as error:
            return error

    places = find_clips(root)
    with ThreadPoolExecutor() as pool:
        opened = list(zip(places, pool.map(attempt, places), strict=True))
    errors = [(place.name, clip) for place, clip in opened if isinstance(clip, UnreadableClip)]
    if errors and (unreadable == "refuse" or len(errors) == len(opened)):
        raise errors[0][1]
    if not opened:
        raise InputError(f"{root} holds no clip: give video files, folders or zips of images, .npy or .npz in folders by class")
    pairs = [(place.name, clip) for place, clip in opened if isinstance(clip, Clip)]
    return [name for name, _ in pairs], [clip for _, clip in pairs], [(name, str(error)) for name, error in errors]


def _rate(clip: Clip, rate: float | None) -> float | None:
    if clip.rate is None and rate is None and clip.states_rate:
        raise InputError(f"{clip.path} states no frame rate: give one (rate=25)")
    return clip.rate or rate


def _common_size(clips: list[Clip]) -> Size:
    first = clips[0]
    for clip in clips:
        if (clip.height, clip.width) != (first.height, first.width):
            sizes = f"{first.height}x{first.width}", f"{clip.height}x{clip.width}"
            raise InputError(f"{first.path} is {sizes[0]}, {clip.path} is {sizes[1]}: give the size that all are resized to")
    return first.height, first.width
