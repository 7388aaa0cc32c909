"""A series of numbers in a file, to be forecast: its splits in time, and its windows."""

import itertools

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_path
from seqjax.data.array_files import digest_of
from seqjax.data.labels import Labels
from seqjax.data.series.files import read_item
from seqjax.data.series.series import Series
from seqjax.data.splits import checked_shares
from seqjax.errors import InputError


@public
def read_forecast(path, *, window: int, shares: tuple[float, float] = (0.8, 0.1)) -> dict[str, Series]:
    """The splits of a series of numbers, the first steps for training, then those for validation, the last for test.

    All numbers are brought to mean 0 and deviation 1 over the training steps.

    Args:
        path: a .csv, .npy or .npz, [T, D] or [T].
        window: the steps of a training sequence; one begins every quarter of a window.
        shares: of training and validation; the rest is the test's.

    Returns:
        {"train": windows, "valid": one item, "test": one item}; the classes are the names of the D numbers.

    Raises:
        InputError: the file cannot be read, or is too short for the window; or shares that are negative or of sum above 1.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "wave.npy")
        >>> np.save(path, np.sin(np.arange(200.0)))
        >>> {name: part.lengths.tolist() for name, part in read_forecast(path, window=100).items()}
        {'train': [100, 100, 100], 'valid': [20], 'test': [20]}
    """
    path, (train, valid, _) = as_path(path), checked_shares((*shares, 1 - sum(shares)))
    values = read_item(path).astype(np.float64)  # [T, D]
    edges = [0, int(train * len(values)), int((train + valid) * len(values)), len(values)]
    if window < 2 or edges[1] < window or min(np.diff(edges)) < 2:
        fits = f"give a window from 2 to {edges[1]}" if min(np.diff(edges)) > 1 else "give a longer series"
        raise InputError(f"window is {window}, {path} has {len(values)} steps, {edges[1]} for training: {fits}")
    mean, deviation = values[: edges[1]].mean(axis=0), values[: edges[1]].std(axis=0)
    values = ((values - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    names = ("train", "valid", "test")
    series = Series(
        inputs={"features": [values[a:b] for a, b in itertools.pairwise(edges)]},
        lengths=np.diff(edges),
        classes=Labels(names=tuple(f"value {n + 1}" for n in range(values.shape[1]))),
        names=names,
        record={"source": path.name, "sha256": digest_of([path])},
    )
    parts = {name: series.take([n]) for n, name in enumerate(names)}
    return parts | {"train": parts["train"].windows(window, max(window // 4, 1))}
