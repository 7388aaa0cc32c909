"""Measures of early detection: what is known of an activity or a drawing before all of it was seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array, is_array, shown
from seqjax.errors import InputError
from seqjax.metrics.classes import checked_labels, checked_scores
from seqjax.metrics.segments import Segment, check_segments


class EarlyDetection(NamedTuple):
    """Means over activities of the accuracy and the score after a share of each was seen.

    Args:
        fractions: floating, [F], the share seen, 0 to 1.
        accuracy: floating, [F], the share of activities whose class has the highest score.
        score: floating, [F], the mean score of the right class.
    """

    fractions: np.ndarray
    accuracy: np.ndarray
    score: np.ndarray


@public
def early_detection(
    scores: Sequence, truths: Sequence[Sequence[Segment]], fractions: Sequence[float] | None = None
) -> EarlyDetection:
    """Accuracy and score of activities after 10, 20, ..., 100 % of each was seen.

    After the share f of an activity of n frames, max(1, ceil(f n)) frames were seen; the scores of the last of them count. They
    must come from a model that has read no later frame.

    Args:
        scores: for each recording, floating [T, C], of frames.
        truths: for each recording, its activities; for a clip of one class that is [Segment(label, 0, T)].
        fractions: floating, [F], above 0 and up to 1; None: 0.1, 0.2, ..., 1.

    Returns:
        EarlyDetection.

    Raises:
        InputError: no activities, not one list of segments for each recording, a segment that is empty or outside its recording,
            a label that is no class, or a fraction out of range.

    Example:
        >>> scores = [[[0.4, 0.6], [0.5, 0.5], [0.8, 0.2], [0.9, 0.1]]]
        >>> early = early_detection(scores, [[Segment(0, 0, 4)]], fractions=[0.25, 0.6])
        >>> early.accuracy.tolist(), early.score.tolist()
        ([0.0, 1.0], [0.4, 0.8])

    Ma, Sigal, Sclaroff 2016, section 4.
    """
    given = np.linspace(0.1, 1, 10) if fractions is None else fractions
    shares = np.asarray(check_array("fractions", given, "numeric", "F"), np.float64)
    if not shares.size or not np.all((shares > 0) & (shares <= 1)):
        raise InputError(f"fractions are {shares.tolist()}, they must be above 0 and at most 1")
    check_segments("truths", truths)
    _check_list("scores", scores)
    if len(scores) != len(truths):
        raise InputError(f"there are scores of {len(scores)} recordings and segments of {len(truths)}: they must be equal")
    hits, own_scores = [], []  # for each activity [F]
    for i, (frames, segments) in enumerate(zip(scores, truths, strict=True)):
        frames = checked_scores(frames)
        checked_labels(f"truths[{i}]", [segment.label for segment in segments], None, frames.shape[1])
        for segment in segments:
            label, start, stop = segment[:3]
            if start != int(start) or stop != int(stop):
                raise InputError(f"truths[{i}] has {segment}, its start and stop must be numbers of frames")
            if not 0 <= start < stop <= len(frames):
                raise InputError(f"truths[{i}] has {segment}, it must lie within the recording's {len(frames)} frames")
            # 0.3 * 10 is above 3 in floating point: without rounding a frame too many.
            seen = np.maximum(np.ceil(np.round(shares * (stop - start), 9)), 1).astype(np.int64)
            last = frames[int(start) + seen - 1]  # [F, C]
            hits.append(last.argmax(axis=1) == label)
            own_scores.append(last[:, label])
    if not hits:
        raise InputError("truths hold no activity, at least one is needed")
    return EarlyDetection(shares, np.mean(hits, axis=0), np.mean(own_scores, axis=0))


@public
def accuracy_by_step(scores: Sequence, labels) -> np.ndarray:
    """Accuracy after 1, 2, 3, ... steps of every sequence were seen, such as after each stroke of a drawing.

    A sequence that has ended keeps its last prediction, so that every step is a mean over all sequences.

    Args:
        scores: for each sequence, floating [T, C], T at least 1; those of a step come from it and the steps before.
        labels: integer, one class for each sequence.

    Returns:
        float64, [the greatest T].

    Raises:
        InputError: no sequences, not one label for each, a label that is no class, scores of wrong shapes or with a NaN.

    Example:
        >>> accuracy_by_step([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4]]], [1, 0]).tolist()
        [0.5, 1.0]
    """
    _check_list("scores", scores)
    arrays = [checked_scores(steps) for steps in scores]
    if not arrays:
        raise InputError("there are no sequences, at least one is needed")
    labels = checked_labels("labels", labels, len(arrays), min(steps.shape[1] for steps in arrays))
    longest = max(map(len, arrays))
    hits = [steps.argmax(axis=1) == label for steps, label in zip(arrays, labels, strict=True)]
    return np.mean([np.pad(row, (0, longest - len(row)), mode="edge") for row in hits], axis=0)


def _check_list(name: str, recordings):
    """Raise InputError unless there is a list with the scores of each recording."""
    if isinstance(recordings, str) or not (isinstance(recordings, Sequence) or is_array(recordings)):
        raise InputError(f"{name} is {shown(recordings)}, it must be a list with an array [T, C] for each recording")
