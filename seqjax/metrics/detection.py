"""Measures of detection in time: average precision of detected segments and of frames."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_array, check_classes
from seqjax.errors import InputError
from seqjax.metrics.classes import checked_labels, checked_scores
from seqjax.metrics.segments import Segment, background_set, check_segments, segments_of, shared_time


class Detection(NamedTuple):
    """One detected activity from `start` up to, not including, `stop`, with its score.

    Args:
        label: the class.
        start, stop: in the unit of the true segments: frames or seconds.
        score: the confidence; only its order counts.
    """

    label: int
    start: float
    stop: float
    score: float


@public
def detections(
    scores,
    *,
    threshold: float | None = 0.5,
    gap: int = 0,
    shortest: int = 1,
    background: int | Collection[int] | None = None,
) -> list[Detection]:
    """The detected segments of a recording, made from the scores of its frames.

    For each class: the runs of frames whose score reaches the threshold; runs at most `gap` frames apart are merged; runs below
    `shortest` frames are dropped. A detection's score is the mean of its class's scores from start to stop.

    Args:
        scores: floating, [T, C], of frames; probabilities, softmax or sigmoid.
        threshold: the least score; None: a frame belongs to the class of its highest score, and to no other.
        gap: frames.
        shortest: frames.
        background: the class or classes that are no activity.

    Returns:
        The detections by class, then by time; start and stop are ints, in frames.

    Raises:
        InputError: scores are not [T, C] or hold NaN; a negative gap, or a shortest below 1.

    Example:
        >>> detections([[0.1, 0.9], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], gap=1, background=0)
        [Detection(label=1, start=0, stop=4, score=0.675)]
    """
    scores = checked_scores(scores)
    if gap < 0 or shortest < 1:
        raise InputError(f"gap is {gap} and shortest {shortest}, they must be at least 0 and at least 1 frames")
    if threshold is None:
        active = scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])  # [T, C]
    else:
        active = scores >= threshold
    detected = []
    left_out = background_set(background)
    check_classes("background", np.array([*left_out], np.int64), scores.shape[1])
    for label in range(scores.shape[1]):
        if label in left_out:
            continue
        runs: list[tuple[int, int]] = []
        for _, start, stop in segments_of(active[:, label].astype(np.int64), background=0):
            if runs and start - runs[-1][1] <= gap:
                start = runs.pop()[0]
            runs.append((int(start), int(stop)))
        for start, stop in runs:
            if stop - start >= shortest:
                detected.append(Detection(label, start, stop, float(scores[start:stop, label].mean())))
    return detected


@public
def average_precision(
    truths: Sequence[Sequence[Segment]], detected: Sequence[Sequence[Detection]], label: int, overlap: float = 0.5
) -> float:
    """Average precision of the detections of one class over all recordings; NaN if the class has no true segment.

    By falling score (equal scores: in the order given), each detection takes the true segment of its recording that it overlaps
    most among those that are free, if their intersection over union is at least `overlap`; otherwise it is a false positive.

        AP = sum over detections n of  (recall[n] - recall[n-1]) max over m >= n of precision[m]

    Args:
        truths: for each recording, its true segments, of any classes.
        detected: for each recording, its detections, of any classes.
        label: the class.
        overlap: the least intersection over union, above 0 and up to 1.

    Returns:
        0 to 1, or NaN.

    Raises:
        InputError: not one list of detections for each recording, an overlap out of range, a segment that does not stop after
            its start, or a score that is NaN.

    Example:
        >>> truths = [[Segment(0, 0, 10), Segment(0, 20, 30)]]
        >>> detected = [[Detection(0, 0, 9, 0.9), Detection(0, 50, 60, 0.8), Detection(0, 21, 30, 0.7)]]
        >>> round(average_precision(truths, detected, label=0), 4)  # 1/2 of precision 1 and 1/2 of precision 2/3
        0.8333

    The matching and the interpolation are those of the ActivityNet challenge, by which later papers measure on THUMOS too; the
    THUMOS challenge's own program matches and interpolates in another way. Heilbron, Escorcia, Ghanem, Niebles 2015; Everingham
    et al. 2010.
    """
    _check_recordings(truths, detected, overlap)
    targets = [[segment for segment in segments if segment.label == label] for segments in truths]
    count = sum(map(len, targets))
    if not count:
        return float("nan")
    ranked = sorted(
        ((detection, i) for i, recording in enumerate(detected) for detection in recording if detection.label == label),
        key=lambda pair: -pair[0].score,
    )
    taken: set[tuple[int, int]] = set()
    hits = np.zeros(len(ranked))  # 1 for a true positive
    for n, (detection, i) in enumerate(ranked):
        overlaps = {j: shared_time(detection, s) for j, s in enumerate(targets[i]) if (i, j) not in taken}
        best = max(overlaps, key=lambda j: overlaps[j], default=None)
        if best is not None and overlaps[best] >= overlap:
            taken.add((i, best))
            hits[n] = 1
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # of this and all later detections
    return float((hits * highest).sum() / count)


@public
def mean_average_precision(
    truths: Sequence[Sequence[Segment]], detected: Sequence[Sequence[Detection]], overlap: float = 0.5
) -> float:
    """mAP: the mean of `average_precision` over the classes that have a true segment; NaN if there is none.

    Args:
        truths, detected, overlap: as for `average_precision`.

    Returns:
        0 to 1, or NaN.

    Raises:
        InputError: as for `average_precision`.

    Example:
        >>> truths = [[Segment(0, 0, 10), Segment(1, 20, 30)]]
        >>> mean_average_precision(truths, [[Detection(0, 0, 10, 0.9), Detection(2, 20, 30, 0.9)]])
        0.5
    """
    _check_recordings(truths, detected, overlap)
    labels = sorted({segment.label for segments in truths for segment in segments})
    values = [average_precision(truths, detected, label, overlap) for label in labels]
    return float(np.mean(values)) if values else float("nan")


@public
def frame_average_precision(scores, targets) -> np.ndarray:
    """Average precision of the frames' scores, a class at a time; NaN for a class without a positive frame.

        AP = sum over thresholds n, from the highest score down, of  (recall[n] - recall[n-1]) precision[n]

    Frames of equal score are ranked together: their order does not count.

    Args:
        scores: floating, [N, C], of the frames of all recordings together.
        targets: integer, [N], -1 for a frame without a label, which is passed over; or bool, [N, C], where frames have several.

    Returns:
        float64, [C].

    Raises:
        InputError: wrong shapes, a NaN among the scores, or a target that is no class.

    Example:
        >>> frame_average_precision([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [0, 1, 0]).round(4).tolist()  # (1 + 2/3) / 2, 1/2
        [0.8333, 0.5]
    """
    scores, targets = checked_scores(scores), np.asarray(as_array("targets", targets))
    classes = scores.shape[1]
    if targets.dtype == np.bool_:
        if targets.shape != scores.shape:
            raise InputError(f"targets have shape {targets.shape}, bool targets need {scores.shape}, that of the scores")
        positive = targets
    else:
        if targets.shape != scores.shape[:1]:
            raise InputError(f"targets have shape {targets.shape}, {len(scores)} rows of scores need {scores.shape[:1]}")
        labelled = targets != -1
        scores = scores[labelled]
        labels = checked_labels("targets", targets[labelled], None, classes)
        positive = labels[:, None] == np.arange(classes)  # [N, C]
    return np.array([_ranked_precision(scores[:, c], positive[:, c]) for c in range(classes)])


def _ranked_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Average precision of one class: scores [N], positive bool [N]."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last of each group of equal scores
    hits = np.cumsum(positive[order])[ends]
    gains = np.diff(hits, prepend=0) / positive.sum()
    return float((gains * hits / (ends + 1)).sum())


def _check_recordings(truths, detected, overlap: float) -> None:
    check_segments("truths", truths)
    check_segments("detected", detected, Detection)
    if len(truths) != len(detected):
        raise InputError(f"there are {len(truths)} recordings and detections of {len(detected)}: the numbers must be equal")
    if not 0 < overlap <= 1:
        raise InputError(f"overlap is {overlap}, it must be above 0 and at most 1")
    for detection in (detection for recording in detected for detection in recording):
        if np.isnan(detection.score):
            raise InputError(f"{detection} has a score that is not a number")
