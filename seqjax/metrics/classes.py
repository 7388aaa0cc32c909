"""Measures of classifiers: hits, the confusion matrix, and what is computed from it. All are shares, 0 to 1."""

from collections.abc import Hashable, Sequence

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_array, check_array, check_positive, is_array, shown
from seqjax.errors import InputError


@public
def hit_at(scores, labels, k: int = 1) -> float:
    """Hit@k: the share of clips whose class is among the k of highest score.

    Of equal scores the lower class comes first, as in `argmax`, so that Hit@1 is the accuracy of `scores.argmax(-1)`.

    Args:
        scores: floating, [N, C], any scores whose order counts: probabilities or logits.
        labels: integer, [N], 0 <= labels < C.
        k: 1 to C.

    Returns:
        The share.

    Raises:
        InputError: no clips, wrong shapes, a NaN among the scores, a label that is no class, or a k out of range.

    Example:
        >>> scores = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]
        >>> hit_at(scores, [1, 2]), hit_at(scores, [1, 2], k=2)
        (0.5, 1.0)
    """
    scores = checked_scores(scores)
    labels = checked_labels("labels", labels, len(scores), scores.shape[1])
    if not 1 <= k <= scores.shape[1]:
        raise InputError(f"k is {k}, it must be 1 to {scores.shape[1]}, the number of classes")
    right = np.take_along_axis(scores, labels[:, None], axis=1)  # [N, 1], the score of the right class
    before = np.arange(scores.shape[1]) < labels[:, None]  # [N, C]
    rank = ((scores > right) | ((scores == right) & before)).sum(axis=1)  # [N], the number of classes ahead of the right one
    return float((rank < k).mean())


@public
def video_scores(scores, labels, videos: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """The scores of whole videos: the mean over the clips of each, for `hit_at(*video_scores(...))`.

    Args:
        scores: floating, [N, C], probabilities of clips (a mean of logits may rank the classes otherwise).
        labels: integer, [N].
        videos: the video of each clip, N names or numbers.

    Returns:
        (scores [V, C], labels [V]) in the order in which the videos first occur.

    Raises:
        InputError: no clips, wrong shapes, a NaN among the scores, or clips of one video with different labels.

    Example:
        >>> scores, labels = video_scores([[0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], [1, 1, 0], ["a", "a", "b"])
        >>> scores.round(2).tolist(), labels.tolist()
        ([[0.45, 0.55], [0.6, 0.4]], [1, 0])
    """
    scores = checked_scores(scores)
    labels = checked_labels("labels", labels, len(scores), scores.shape[1])
    videos = np.asarray(videos).tolist() if is_array(videos) else videos
    if not isinstance(videos, Sequence) or len(videos) != len(scores):
        raise InputError(f"videos is {shown(videos)}, it must be a list of {len(scores)} names or numbers, one for each clip")
    for video in videos:
        if not isinstance(video, Hashable):
            raise InputError(f"videos holds {shown(video)}, it must hold names or numbers")
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(video, len(numbers)) for video in videos])  # [N], the video's number
    totals = np.zeros((len(numbers), scores.shape[1]))  # [V, C]
    np.add.at(totals, index, scores)
    video_labels = np.zeros(len(numbers), labels.dtype)  # [V]
    video_labels[index] = labels
    for video, label, expected in zip(videos, labels, video_labels[index], strict=True):
        if label != expected:
            raise InputError(f"video {video!r} has clips of labels {label} and {expected}: a video has one label")
    return totals / np.bincount(index)[:, None], video_labels


@public
def confusion_matrix(labels, predicted, classes: int) -> np.ndarray:
    """Counts of true classes (rows) and the classes predicted for them (columns).

    Matrices of parts of the data add up to that of the whole.

    Args:
        labels: integer, any shape; -1 where there is no label: such places are passed over.
        predicted: integer, the shape of labels.
        classes: C.

    Returns:
        int64, [C, C].

    Raises:
        InputError: different shapes, or a class that is not 0 to C - 1.

    Example:
        >>> confusion_matrix([0, 0, 1, -1], [0, 1, 1, 0], classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    check_positive(classes=classes)
    labels, predicted = (np.asarray(as_array(name, a)) for name, a in (("labels", labels), ("predicted", predicted)))
    if labels.shape != predicted.shape:
        raise InputError(f"labels have shape {labels.shape}, predicted {predicted.shape}: they must be equal")
    labelled = labels != -1
    labels = checked_labels("labels", labels[labelled], None, classes)
    predicted = checked_labels("predicted", predicted[labelled], None, classes)
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


@public
def accuracy(matrix) -> float:
    """The share of right predictions in a confusion matrix; NaN for an empty one.

    Args:
        matrix: [C, C], as returned by `confusion_matrix`.

    Returns:
        trace(matrix) / sum(matrix).

    Raises:
        InputError: the matrix is not square.

    Example:
        >>> accuracy([[3, 1], [0, 4]])
        0.875
    """
    matrix = _checked_matrix(matrix)
    return float(matrix.trace() / matrix.sum()) if matrix.sum() else float("nan")


@public
def class_accuracies(matrix) -> np.ndarray:
    """The share of each class's examples that were recognized (its recall); NaN for a class without examples.

    Args:
        matrix: [C, C], as returned by `confusion_matrix`.

    Returns:
        float64, [C].

    Raises:
        InputError: the matrix is not square.

    Example:
        >>> class_accuracies([[3, 1, 0], [0, 4, 0], [0, 0, 0]]).tolist()
        [0.75, 1.0, nan]
    """
    matrix = _checked_matrix(matrix)
    examples = matrix.sum(axis=1)
    return np.where(examples > 0, np.diag(matrix) / np.maximum(examples, 1), np.nan)


@public
def mean_class_accuracy(matrix) -> float:
    """The mean of `class_accuracies` over the classes that have examples; NaN without any.

    Args:
        matrix: [C, C], as returned by `confusion_matrix`.

    Returns:
        The mean.

    Raises:
        InputError: the matrix is not square.

    Example:
        >>> mean_class_accuracy([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
        0.875
    """
    shares = class_accuracies(matrix)
    shares = shares[~np.isnan(shares)]
    return float(shares.mean()) if shares.size else float("nan")


@public
def macro_f1(matrix) -> float:
    """The mean over classes of F1 = 2 precision recall / (precision + recall); NaN without any example.

    The mean is over the classes that have examples or were predicted.

    Args:
        matrix: [C, C], as returned by `confusion_matrix`.

    Returns:
        The mean.

    Raises:
        InputError: the matrix is not square.

    Example:
        >>> round(macro_f1([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), 4)  # 6/7 and 8/9
        0.873
    """
    matrix = _checked_matrix(matrix)
    total = matrix.sum(axis=0) + matrix.sum(axis=1)  # [C], 2 tp + fp + fn
    occurs = total > 0
    return float((2 * np.diag(matrix)[occurs] / total[occurs]).mean()) if occurs.any() else float("nan")


def checked_scores(scores) -> np.ndarray:
    """Scores [N, C] as float64, or InputError where they are empty, of another rank or hold a NaN."""
    scores = np.asarray(check_array("scores", scores, "numeric", "N", "C"), np.float64)
    if not scores.size:
        raise InputError(f"scores have shape {scores.shape}, they must be [N, C] with at least one row and one class")
    if np.isnan(scores).any():
        raise InputError(f"scores hold NaN in row {np.argwhere(np.isnan(scores))[0][0]}, they must be numbers")
    return scores


def checked_labels(name: str, labels, count: int | None, classes: int) -> np.ndarray:
    """Labels as int64, [count], or InputError where they are no integers, too many or too few, or no class."""
    labels = np.asarray(as_array(name, labels))
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{name} have dtype {labels.dtype}, they must be integers")
    if count is not None and labels.shape != (count,):
        raise InputError(f"{name} have shape {labels.shape}, {count} rows of scores need ({count},)")
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise InputError(f"{name} hold class {outside[0]}, the classes are 0 to {classes - 1}")
    return labels.astype(np.int64)


def _checked_matrix(matrix) -> np.ndarray:
    matrix = np.asarray(check_array("matrix", matrix, "numeric", "C", "C"))
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"the confusion matrix has shape {matrix.shape}, it must be square: true classes by predicted classes")
    if not np.all((matrix >= 0) & (matrix < np.inf)):
        raise InputError(f"matrix holds {matrix[~((matrix >= 0) & (matrix < np.inf))][0]}, it must hold counts of at least 0")
    return matrix
