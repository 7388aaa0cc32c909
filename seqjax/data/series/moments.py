"""Means and deviations of features, fitted on training data."""

import numpy as np

from seqjax.data.series.series import Series


def feature_moments(series: Series, word: str = "features") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each of the last axis' features over all else, in float64; the fields of `seqjax.Standardize`.

    Args:
        series: training data only; a model that holds the numbers reads other data by the same ones.
        word: the input, [T, ..., D] an item.

    Returns:
        (mean, deviation), D numbers each; a feature that never changes has deviation 1.

    Example:
        >>> from seqjax.data.labels import Labels
        >>> items = [np.array([[1.0, 5.0], [3.0, 5.0]])]
        >>> feature_moments(Series(inputs={"features": items}, lengths=np.array([2]), classes=Labels(names=("a",)), names=("x",)))
        ((2.0, 5.0), (1.0, 1.0))
    """
    features = series.shapes[word][-1]
    count, total = 0, np.zeros(features)  # [D]
    for n in range(len(series)):
        array = series.read(n)[word].reshape(-1, features)
        count, total = count + len(array), total + array.sum(axis=0, dtype=np.float64)
    mean, squares = total / count, np.zeros(features)  # [D], [D]
    for n in range(len(series)):
        squares += ((series.read(n)[word].reshape(-1, features) - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / count)  # [D]
    return tuple(mean.tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist())
