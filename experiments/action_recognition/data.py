"""The clips or recordings of a config, in splits."""

import dataclasses
import functools
from typing import Any

from experiments.action_recognition.config import Data
from experiments.command_line import renamed
from experiments.labelled import Labelled
from seqjax.data.labels import Labels
from seqjax.data.recordings import READERS, hapt, ut_interaction
from seqjax.data.series import Series, load_series, split_series
from seqjax.data.video import load_clips, load_tfds, render_series
from seqjax.errors import InputError


def load_actions(data: Data, classes: Labels | None = None) -> Labelled:
    """Reads and splits recordings.

    Args:
        data: their source, and the splits.
        classes: the classes of an earlier run, which number the labels; None: those of the data.

    Returns:
        The recordings.

    Raises:
        InputError: they cannot be read or split, or have a class that the earlier run does not know.
    """
    source = _read(dataclasses.replace(data, fold=None, batch_size=1, window=None))
    if isinstance(source, dict):
        splits = source
    else:
        with renamed(shares="--data.split", fold="--data.fold"):
            splits = split_series(source, shares=data.split, fold=data.fold)
    first = next(iter(splits.values()))
    if classes is not None and classes != first.classes:
        with renamed(**{"class": f"{first.record['source']}: the class"}):
            splits = {name: series.renumbered(classes) for name, series in splits.items()}
    return Labelled(first.record | {"rate": first.rate}, classes or first.classes, splits)


def fold_names(data: Data) -> tuple[str, ...]:
    """The names of the folds: the published splits, else the groups."""
    source = _read(dataclasses.replace(data, batch_size=1, window=None))
    if isinstance(source, dict):
        raise InputError("rendered clips have three fixed splits and no folds: give --data.path")
    return source.folds


@functools.lru_cache(maxsize=1)
def _read(data: Data) -> Series | dict[str, Series]:
    """The whole data, or its three splits where it comes in them."""
    flow, path = {"flow": data.inputs == "flow", "grid": data.grid}, data.path
    if data.tfds is not None:
        source: Any = load_tfds(data.tfds, size=data.size, **flow)
    elif path is None:
        if data.recordings or data.segments:
            raise InputError("--data.recordings and --data.segments need --data.path, the folder of the files")
        source = render_series(0, data.count, kind=data.rendered, size=data.size or (32, 32), **flow)
    elif data.recordings == "hapt_windows":
        size, step = data.cut or (128, 64)
        return hapt.load_windows(path, size=size, step=step, every=data.every, motion=data.motion)
    elif data.recordings == "hapt":
        source = hapt.load(path, every=data.every, motion=data.motion)
    elif data.recordings == "ut_interaction":
        source = ut_interaction.load(path, inputs=("features", "flow", *["frames"] * (data.inputs == "frames")), grid=data.grid)
    elif data.recordings is not None:
        source = READERS[data.recordings](path)
    else:
        options = {name: getattr(data, name) for name in ("label", "group", "segments", "rate")}
        if data.inputs == "features":
            source = load_series(path, **options)
        else:
            options |= {name: getattr(data, name) for name in ("size", "grey", "every", "unreadable")}
            source = load_clips(path, **options, **flow)
    if isinstance(source, dict):
        return {split: _prepared(data, series) for split, series in source.items()}
    return _prepared(data, source)


def _prepared(data: Data, series: Series) -> Series:
    with renamed(**{"class": "data.classes: class"}):
        series = series.with_classes(*data.classes) if data.classes else series
    thinned = data.recordings == "hapt" or (data.path is not None and not data.recordings and data.inputs != "features")
    series = series if data.every == 1 or thinned else series.thin(data.every)
    return series.windows(*data.cut) if data.cut else series
