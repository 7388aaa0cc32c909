"""Measures of temporal segmentation: frames, the order of segments, and segments that overlap. All are shares, 0 to 1.

A frame without a true label (-1) belongs to no segment, neither true nor predicted.
"""

import itertools
from collections.abc import Collection, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_integer, as_number, check_array, is_array, shown
from seqjax.errors import InputError


class Segment(NamedTuple):
    """One activity from `start` up to, not including, `stop`.

    Args:
        label: the class.
        start, stop: in frames (or in seconds, for those measures that say so).
    """

    label: int
    start: float
    stop: float


@public
def segments_of(labels, background: int | Collection[int] | None = None) -> list[Segment]:
    """The runs of equal labels.

    Args:
        labels: integer, [T]; -1 where there is no label: such frames make no segment, and separate.
        background: the class or classes whose runs are left out.

    Returns:
        The segments, by time; starts and stops are ints.

    Raises:
        InputError: labels are not integers [T].

    Example:
        >>> segments_of([2, 2, 0, 0, 0, 1], background=0)
        [Segment(label=2, start=0, stop=2), Segment(label=1, start=5, stop=6)]
    """
    labels = _checked_labels("labels", labels)
    left_out = background_set(background) | {-1}
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    runs = [Segment(int(labels[a]), a, b) for a, b in itertools.pairwise(edges) if a < b]
    return [run for run in runs if run.label not in left_out]


@public
def frame_accuracy(truths: Sequence, predictions: Sequence, background: int | Collection[int] | None = None) -> float:
    """The share of right frames among all labelled frames of all recordings; NaN without any.

    Args:
        truths: for each recording, integer [T]; -1 where there is no label.
        predictions: for each recording, integer [T].
        background: the class or classes whose (true) frames are left out; None: none.

    Returns:
        The share.

    Raises:
        InputError: not one prediction for each recording, or of another length.

    Example:
        >>> frame_accuracy([[0, 0, 1, -1]], [[0, 1, 1, 1]])
        0.6666666666666666
    """
    left_out = [*background_set(background), -1]
    right = total = 0
    for truth, predicted in _pairs(truths, predictions):
        counted = ~np.isin(truth, left_out)
        right += int((truth == predicted)[counted].sum())
        total += int(counted.sum())
    return right / total if total else float("nan")


@public
def edit_score(truths: Sequence, predictions: Sequence, background: int | Collection[int] | None = None) -> float:
    """The edit score: how near the order of predicted segments is to that of the true ones, whatever their lengths.

        mean over recordings of  1 - levenshtein(predicted labels, true labels) / max(number of predicted, number of true)

    A recording without any segment, true or predicted, has 1.

    Args:
        truths, predictions: as for `frame_accuracy`.
        background: the class or classes whose segments are left out on both sides; None: none.

    Returns:
        The mean.

    Raises:
        InputError: no recordings, not one prediction for each, or of another length.

    Example:
        >>> edit_score([[0, 0, 1, 1, 2]], [[0, 1, 0, 1, 2]])  # 0 1 0 1 2 for 0 1 2: two insertions
        0.6

    Lea, Reiter, Vidal, Hager 2016, Segmental Spatiotemporal CNNs for Fine-grained Action Segmentation.
    """
    scores = []
    for truth, predicted in _segment_pairs(truths, predictions, background):
        longer = max(len(truth), len(predicted))
        distance = levenshtein([s.label for s in predicted], [s.label for s in truth])
        scores.append(1 - distance / longer if longer else 1.0)
    return float(np.mean(scores))


@public
def segment_f1(
    truths: Sequence,
    predictions: Sequence,
    overlap: float,
    background: int | Collection[int] | None = None,
    *,
    by_recording: bool = False,
) -> float:
    """F1@k: the F1 of segments, where a predicted one is right if its overlap with a true one of its class is at least k.

        F1 = 2 tp / (2 tp + fp + fn)

    The overlap is intersection over union. By time, each predicted segment takes the true one of its class that it overlaps
    most; if that is taken already, or the overlap is too small, it is a false positive. Without any segment, true or predicted,
    F1 is 1.

    Args:
        truths, predictions: as for `frame_accuracy`.
        overlap: the least overlap, above 0 and up to 1; 0.5 for F1@50.
        background: the class or classes whose segments are left out on both sides; None: none.
        by_recording: the mean of the recordings' F1, as in Lea et al. 2017, in place of the F1 of all segments together, as in
            Farha and Gall 2019 (MS-TCN) and after.

    Returns:
        F1.

    Raises:
        InputError: no recordings, not one prediction for each, of another length, or an overlap out of range.

    Example:
        >>> truth, predicted = [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]
        >>> segment_f1([truth], [predicted], 0.5)  # overlaps 2/4 and 2/4
        1.0
        >>> segment_f1([truth], [predicted], 0.6)
        0.0

    Lea, Flynn, Vidal, Reiter, Hager 2017, Temporal Convolutional Networks for Action Segmentation and Detection.
    """
    if not 0 < overlap <= 1:
        raise InputError(f"overlap is {overlap}, it must be above 0 and at most 1: 0.5 for F1@50")
    counts = []  # for each recording: true positives, false positives, false negatives
    for truth, predicted in _segment_pairs(truths, predictions, background):
        taken: set[int] = set()
        for segment in predicted:
            overlaps = [shared_time(segment, s) if s.label == segment.label else 0.0 for s in truth]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best >= 0 and overlaps[best] >= overlap and best not in taken:
                taken.add(best)
        counts.append((len(taken), len(predicted) - len(taken), len(truth) - len(taken)))
    groups = np.array(counts) if by_recording else np.sum(counts, axis=0, keepdims=True)  # [recordings or 1, 3]
    tp, wrong = groups[:, 0], groups[:, 1] + groups[:, 2]
    total = 2 * tp + wrong
    return float(np.where(total > 0, 2 * tp / np.maximum(total, 1), 1.0).mean())


@public
def segmentation_scores(
    truths: Sequence,
    predictions: Sequence,
    background: int | Collection[int] | None = None,
    *,
    by_recording: bool = False,
) -> dict[str, float]:
    """All measures of this file: frame accuracy, edit score and F1 at overlaps of 10, 25 and 50 %.

    Args:
        truths, predictions: as for `frame_accuracy`.
        background: the class or classes left out of the edit score and F1; their frames count in the frame accuracy.
        by_recording: as for `segment_f1`.

    Returns:
        {"frame_accuracy", "edit", "f1_10", "f1_25", "f1_50"}, 0 to 1; papers print 100 times as much.

    Raises:
        InputError: no recordings, not one prediction for each, or of another length.

    Example:
        >>> segmentation_scores([[0, 0, 1, 1]], [[0, 0, 1, 1]])
        {'frame_accuracy': 1.0, 'edit': 1.0, 'f1_10': 1.0, 'f1_25': 1.0, 'f1_50': 1.0}
    """
    scores = {
        "frame_accuracy": frame_accuracy(truths, predictions),
        "edit": edit_score(truths, predictions, background),
    }
    for percent in (10, 25, 50):
        f1 = segment_f1(truths, predictions, percent / 100, background, by_recording=by_recording)
        scores[f"f1_{percent}"] = f1
    return scores


@public
def intersection_over_union(first, second) -> float:
    """The temporal overlap of two segments: the time that both cover over the time that either covers.

    Args:
        first, second: anything with `start` and `stop`, stop after start.

    Returns:
        0 to 1.

    Example:
        >>> intersection_over_union(Segment(0, 0, 4), Segment(0, 2, 6))
        0.3333333333333333
    """
    for name, segment in (("first", first), ("second", second)):
        if not (hasattr(segment, "start") and hasattr(segment, "stop")):
            raise InputError(f"{name} is {shown(segment)}, it must have a start and a stop, as a Segment has")
    return shared_time(first, second)


def shared_time(first, second) -> float:
    """`intersection_over_union` of two segments that have been checked."""
    both = min(first.stop, second.stop) - max(first.start, second.start)
    either = (first.stop - first.start) + (second.stop - second.start) - both
    return both / either if both > 0 else 0.0


@public
def levenshtein(first: Sequence, second: Sequence) -> int:
    """The least number of insertions, deletions and substitutions that turn one sequence into the other.

    Args:
        first, second: sequences of anything that can be compared.

    Returns:
        The number.

    Example:
        >>> levenshtein("kitten", "sitting")
        3
    """
    first, second = _elements("first", first), _elements("second", second)
    row = list(range(len(second) + 1))  # distances of first[:i] to each second[:j]
    for i, a in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _elements(name: str, sequence) -> Sequence:
    """The elements of a sequence; those of an array as Python's numbers, or rows of them."""
    if is_array(sequence) and sequence.ndim:
        return sequence.tolist()
    if not isinstance(sequence, Sequence):
        raise InputError(f"{name} is {shown(sequence)}, it must be a sequence")
    return sequence


def _segment_pairs(truths, predictions, background) -> list[tuple[list[Segment], list[Segment]]]:
    """The true and the predicted segments of each recording; at least one recording."""
    pairs = _pairs(truths, predictions)
    if not pairs:
        raise InputError("there are no recordings, at least one is needed")
    labelled = [(truth, np.where(truth == -1, -1, predicted)) for truth, predicted in pairs]
    return [(segments_of(truth, background), segments_of(predicted, background)) for truth, predicted in labelled]


def _pairs(truths: Sequence, predictions: Sequence) -> list[tuple[np.ndarray, np.ndarray]]:
    """The labels of each recording, true and predicted, checked."""
    for name, recordings in (("truths", truths), ("predictions", predictions)):
        if not isinstance(recordings, Sequence) and not is_array(recordings):
            raise InputError(f"{name} is {shown(recordings)}, it must be a list with the labels of each recording")
    if len(truths) != len(predictions):
        raise InputError(f"there are {len(truths)} true and {len(predictions)} predicted recordings: the numbers must be equal")
    pairs = []
    for i, (truth, predicted) in enumerate(zip(truths, predictions, strict=True)):
        truth, predicted = _checked_labels(f"truths[{i}]", truth), _checked_labels(f"predictions[{i}]", predicted)
        if truth.shape != predicted.shape:
            raise InputError(f"predictions[{i}] has {len(predicted)} frames, truths[{i}] has {len(truth)}: they must be equal")
        pairs.append((truth, predicted))
    return pairs


def _checked_labels(name: str, labels) -> np.ndarray:
    labels = np.asarray(check_array(name, labels, "integer", "T"), np.int64)
    if labels.min(initial=0) < -1:
        raise InputError(f"{name} holds {labels.min()}, it must be a class from 0, or -1 where there is no label")
    return labels


def check_segments(name: str, recordings: Sequence, kind: Any = Segment) -> None:
    """Raise InputError unless each recording has a list of segments, or of another `kind` of them, with numbers in order."""
    if isinstance(recordings, str) or not isinstance(recordings, Sequence):
        raise InputError(f"{name} is {shown(recordings)}, it must be a list of {kind.__name__}s for each recording")
    for i, segments in enumerate(recordings):
        if not isinstance(segments, list | tuple) or isinstance(segments, kind):
            raise InputError(f"{name}[{i}] is {shown(segments)}, it must be a list of {kind.__name__}s")
        for segment in segments:
            if not isinstance(segment, kind):
                raise InputError(f"{name}[{i}] holds {shown(segment)}, it must hold {kind.__name__}s")
            if as_integer(segment.label) is None or not all(as_number(value) is not None for value in segment):
                raise InputError(f"{name}[{i}] holds {shown(segment)}: its label must be an integer, the rest numbers")
            if not segment.stop > segment.start:
                raise InputError(f"{segment} must stop after its start")


def background_set(background: int | Collection[int] | None) -> set[int]:
    """The classes that are background, as a set."""
    if background is None:
        return set()
    labels = [*background] if isinstance(background, Set) else background
    array = np.asarray(check_array("background", labels, "integer", "..."))
    if array.ndim > 1:
        raise InputError(f"background is {shown(background)}, it must be a class or several, integer [n]")
    return set(np.ravel(array).tolist())
