"""Segments of clips and recordings, (clip, begin, end, class), from CSV or JSON, made into a class for every frame."""

import csv
import io
import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqjax.checks import as_path
from seqjax.errors import InputError

NONE = -1  # the target of a frame outside all segments
ROUNDING = 1e-6  # of a frame
COLUMNS = "clip, begin, end, class (seconds) or clip, begin_frame, end_frame, class"


class Segment(NamedTuple):
    """A stretch of a clip with a class: begin <= time < end, in seconds, or in frames counted from 0.

    Example:
        >>> Segment("a.avi", 0.0, 1.5, "wave").frames
        False
    """

    clip: str
    begin: float
    end: float
    label: str
    frames: bool = False


def read_segments(path) -> list[Segment]:
    """The segments in a CSV or JSON file.

    A CSV has a header with the columns clip, begin, end, class, times in seconds; or begin_frame and end_frame in place of begin
    and end. A JSON file holds a list of objects with the same fields.

    Args:
        path: of the file, .csv or .json.

    Returns:
        A list in the file's order.

    Raises:
        InputError: the file or a field is missing, or a time is not a number of at least 0; names the row.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "segments.csv")
        >>> _ = path.write_text("clip,begin,end,class\\na.avi,0,1.5,wave\\n")
        >>> read_segments(path)
        [Segment(clip='a.avi', begin=0.0, end=1.5, label='wave', frames=False)]
    """
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: give a .csv or .json of segments")
    try:
        text = path.read_text("utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(rows, list):
        raise InputError(f"{path} holds no list: give a list of objects with the fields {COLUMNS}")
    return [_segment(f"{path}, segment {n}", row) for n, row in enumerate(rows, 1)]


def segment_targets(
    segments: Sequence[Segment],
    names: Sequence[str],
    lengths: Sequence[int],
    rates: Sequence[float | None],
    classes: Sequence[str],
    *,
    every: int = 1,
    ignored: Collection[str] = (),
) -> tuple[np.ndarray, ...]:
    """The class of every frame.

    Frame t of the kept ones lies at t every / rate seconds, and belongs to a segment if begin <= time < end.

    Args:
        segments: returned by `read_segments`.
        names: of the clips; a segment may name a clip without its folder or its suffix, if only one fits.
        lengths: of the clips, in kept frames.
        rates: frames a second of each clip, before any was left out; None: unknown.
        classes: the classes' names.
        every: one of so many frames was kept.
        ignored: names of further clips, whose segments are left out.

    Returns:
        An int32 array [T] for each clip: an index into `classes`, -1 outside all segments.

    Raises:
        InputError: an unknown clip or class, a reversed segment, one that ends beyond its clip, two that overlap, or seconds
            without a rate.

    Example:
        >>> targets = segment_targets([Segment("a", 0.5, 1.0, "wave")], ["x/a.avi"], [6], [4.0], ["wave"])
        >>> targets[0].tolist()
        [-1, -1, 0, 0, -1, -1]
    """
    targets = tuple(np.full(length, NONE, np.int32) for length in lengths)
    writers: list[dict[int, Segment]] = [{} for _ in names]  # the segment that begins at a frame
    known, left_out = _index(names), _index(list(ignored))
    for segment in segments:
        if segment.clip not in known and segment.clip in left_out:
            continue
        clip = _clip(segment, known)
        described = _described(segment)
        if segment.end <= segment.begin:
            raise InputError(f"{described} ends at or before its begin: give begin < end")
        if not segment.frames and rates[clip] is None:
            raise InputError(f"{described} is in seconds, but {names[clip]} states no frame rate: give rate=, or times in frames")
        scale = (1.0 if segment.frames else rates[clip] or 1.0) / every
        if segment.end * scale > lengths[clip] + ROUNDING:
            duration = lengths[clip] / scale
            raise InputError(f"{described} ends beyond the clip, which ends at {duration:g}")
        if segment.label not in classes:
            raise InputError(f"{described} is of an unknown class: the classes are {', '.join(classes)}")
        begin, end = (math.ceil(time * scale - ROUNDING) for time in (segment.begin, segment.end))
        taken = np.flatnonzero(targets[clip][begin:end] != NONE)
        if taken.size:
            other = max((first, one) for first, one in writers[clip].items() if first <= begin + taken[0])[1]
            raise InputError(f"{described} overlaps {_described(other)}: a frame has one class")
        targets[clip][begin:end] = classes.index(segment.label)
        writers[clip][begin] = segment
    return targets


def _segment(where: str, row) -> Segment:
    if not isinstance(row, dict):
        raise InputError(f"{where} is no object with the fields {COLUMNS}")
    row = {str(key).strip(): value for key, value in row.items()}
    frames = "begin_frame" in row
    keys = ("clip", "begin_frame", "end_frame", "class") if frames else ("clip", "begin", "end", "class")
    missing = [key for key in keys if row.get(key) in (None, "")]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}: the fields are {COLUMNS}")
    times = []
    for key in keys[1:3]:
        try:
            times.append(float(row[key]))
        except (TypeError, ValueError):
            times.append(math.nan)
        if not 0 <= times[-1] < math.inf:
            raise InputError(f"{where} has {key} {row[key]!r}: it must be a number of at least 0")
    return Segment(str(row["clip"]).strip(), times[0], times[1], str(row["class"]).strip(), frames)


def _index(names: Sequence[str]) -> dict[str, list[int]]:
    """The clips that each name may mean: the whole name, and without folders or suffix."""
    index: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        path = Path(name)
        for form in {name, path.with_suffix("").as_posix(), path.name, path.stem}:
            index.setdefault(form, []).append(n)
    return {form: clips for form, clips in index.items()} | {name: [n] for n, name in enumerate(names)}


def _clip(segment: Segment, index: dict[str, list[int]]) -> int:
    clips = index.get(segment.clip, [])
    if len(clips) != 1:
        reason = f"fits {len(clips)} clips: name its folder too" if clips else "is not among the clips"
        raise InputError(f"{_described(segment)}: {segment.clip} {reason}")
    return clips[0]


def _described(segment: Segment) -> str:
    unit = "frames" if segment.frames else "s"
    return f"the segment {segment.clip} {segment.begin:g} to {segment.end:g} {unit} ({segment.label})"
