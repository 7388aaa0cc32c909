"""Series of feature vectors in files: one .npz of all items, or a folder of .npy, .npz and .csv by class."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqjax.checks import as_path
from seqjax.data.array_files import DAMAGES, digest_of, npz_arrays, parts_of
from seqjax.data.labels import Labels
from seqjax.data.series.layout import classes_and_splits, matched
from seqjax.data.series.segments import read_segments, segment_targets
from seqjax.data.series.series import Series
from seqjax.errors import InputError

WORDS = ("features", "frames", "flow", "tokens")
SUFFIXES = (".npy", ".npz", ".csv")


def load_series(path, *, label: str | None = None, group: str | None = None, segments=None, rate: float | None = None) -> Series:
    """The items of an .npz file, or of a folder by class.

    An .npz file holds all items' steps, one item after the other, in `features` [steps, D] (or `frames`, `flow`, `tokens`), and
    `length` int [N]; of the following, what there is: `label` [N], the items' classes, and `target` [steps], the steps', each
    numbers or names (-1 or "" for a step without a class); `label_names`, the classes of numbers; `group` [N], such as people;
    `name` [N]; `split` [N], each "train", "valid" or "test"; `rate`, steps a second.

    A folder holds <class>/<item> or <split>/<class>/<item>: .npy of [T, D] or [T], .npz with such a `features`, or .csv, a row
    for each step, with or without a header.

    Args:
        path: the file or the folder.
        label: for a folder, a regular expression whose first group (else its match) in an item's name is its class; None: its
            folder.
        group: likewise the item's group; None: each item is its own.
        segments: for a folder, the path of a CSV or JSON of segments for a class a step; None: no targets.
        rate: steps a second, where the file states none.

    Returns:
        The series, in memory.

    Raises:
        InputError: a file is missing or damaged, an array is missing or of another size, there is no class, or a value is not a
            number; names the file, and the line of a .csv.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("walk/a", "run/b"):
        ...     (folder / name).parent.mkdir()
        ...     _ = (folder / f"{name}.csv").write_text("x,y\\n1,2\\n3,4\\n5,6\\n")
        >>> series = load_series(folder)
        >>> series.classes.names, series.names, series.lengths.tolist(), series.shapes
        (('run', 'walk'), ('run/b.csv', 'walk/a.csv'), [3, 3], {'features': (2,)})
    """
    path = as_path(path)
    if path.is_dir():
        return _folder(path, label, group, segments, rate)
    if label or group or segments:
        raise InputError(
            f"{path} is no folder: label, group and segments are for folders, an .npz file has arrays of these names"
        )
    return _file(path, rate)


def _file(path: Path, rate: float | None) -> Series:
    arrays = npz_arrays(path, ("length",))
    words = [word for word in WORDS if word in arrays]
    if not words:
        raise InputError(f"{path} has {', '.join(arrays)}, it needs one of {', '.join(WORDS)}: all items' steps")
    length = arrays["length"]
    wrong = [name for name in ("label", "group", "name", "split") if name in arrays and arrays[name].shape != length.shape]
    if wrong:
        raise InputError(f"{path} has {arrays[wrong[0]].shape} of {wrong[0]} and {len(length)} lengths: give one of each an item")
    given = arrays.get("label_names")
    named = [arrays[name] for name in ("label", "target") if name in arrays]
    if not named:
        raise InputError(f"{path} has neither label, the items' classes, nor target, the steps' classes: give one of them")
    classes = _classes(named, given)
    target = parts_of(path, _numbers(arrays["target"], classes), length) if "target" in arrays else None
    names = arrays["name"].tolist() if "name" in arrays else [f"item {n}" for n in range(len(length))]
    split = arrays["split"].astype(str) if "split" in arrays else np.zeros(0, str)
    return Series(
        inputs={word: parts_of(path, arrays[word], length) for word in words},
        lengths=length,
        classes=classes,
        labels=_numbers(arrays["label"], classes) if "label" in arrays else None,
        targets=None if target is None else tuple(target),
        names=tuple(names),
        groups=tuple(map(str, arrays["group"])) if "group" in arrays else (),
        rate=float(arrays["rate"]) if "rate" in arrays else rate,
        record={"source": path.name, "sha256": digest_of([path]), "items": len(length)},
        splits={name: np.flatnonzero(split == name) for name in dict.fromkeys(split.tolist())},
    )


def _classes(named: Sequence[np.ndarray], given: np.ndarray | None) -> Labels:
    """The classes that are given, else the names that occur, else a number's own."""
    if given is not None:
        return Labels(names=tuple(map(str, given)))
    if all(array.dtype.kind in "iu" for array in named):
        return Labels(names=tuple(map(str, range(max(int(array.max(initial=-1)) for array in named) + 1))))
    return Labels.of(str(name) for array in named for name in np.unique(array) if str(name))


def _numbers(array: np.ndarray, classes: Labels) -> np.ndarray:
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    unique, inverse = np.unique(array.astype(str), return_inverse=True)
    return np.array([classes.index(name) if name else -1 for name in unique.tolist()])[inverse]


def _folder(path: Path, label: str | None, group: str | None, segments, rate: float | None) -> Series:
    paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p != as_path(segments or ""))
    if not paths:
        raise InputError(f"{path} has no {', '.join(SUFFIXES)}: give <class>/<item>, or an .npz file")
    names = [p.relative_to(path).as_posix() for p in paths]
    labels, splits = classes_and_splits(names, label)
    items = [read_item(p) for p in paths]
    listed = read_segments(segments) if segments is not None else []
    if not labels and not listed:
        raise InputError(f"the items of {path} have no class: put them into folders by class, or give label or segments")
    classes = Labels.of([*labels, *(segment.label for segment in listed)])
    lengths = [len(item) for item in items]
    targets = segment_targets(listed, names, lengths, [rate] * len(names), classes.names) if listed else None
    return Series(
        inputs={"features": items},
        lengths=np.array(lengths),
        classes=classes,
        labels=np.array([classes.index(name) for name in labels]) if labels else None,
        targets=targets,
        names=tuple(names),
        groups=tuple(matched(name, group, "group") for name in names) if group else (),
        rate=rate,
        record={"source": path.name, "sha256": digest_of(paths), "items": len(items)},
        splits=splits,
    )


def read_item(path: str | Path) -> np.ndarray:
    """The features of one item's file.

    Args:
        path: .npy of [T, D] or [T], .npz with such a `features`, or .csv, a row for each step, with or without a header.

    Returns:
        Numbers, [T, D].

    Raises:
        InputError: the file is missing or damaged, is of another kind, or does not hold numbers.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "walk.csv")
        >>> _ = path.write_text("x,y\\n1,2\\n3,4\\n")
        >>> read_item(path).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    path = as_path(path)
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise InputError(f"{path} is no file of one item: give {', '.join(SUFFIXES)}")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except DAMAGES as error:
            raise InputError(f"{path} cannot be read: {error}; give a plain array") from None
    else:
        array = npz_arrays(path, ("features",))["features"] if suffix == ".npz" else _table(path)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
        raise InputError(
            f"{path} has an array {array.shape} of {array.dtype}: give numbers [steps, features], of at least one step"
        )
    return array


def _table(path: Path) -> np.ndarray:
    """The numbers of a CSV file, [rows, columns], without its header."""
    try:
        rows = [(n, row) for n, row in enumerate(csv.reader(path.read_text("utf-8-sig").splitlines()), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    values = []
    for place, (line, row) in enumerate(rows):
        try:
            values.append([float(cell) for cell in row])
        except ValueError:
            if place == 0:
                continue  # the header
            raise InputError(f"{path}, line {line} is {','.join(row)[:60]!r}: every cell must be a number") from None
        if len(values[-1]) != len(values[0]):
            raise InputError(f"{path}, line {line} has {len(row)} columns, the first row has {len(values[0])}")
    return np.array(values, np.float32)
