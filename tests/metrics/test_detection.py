"""Measures of detection against brute force: matchings redone for every number of detections, every threshold tried."""

import math

import numpy as np
import pytest

from seqjax import metrics
from seqjax.errors import InputError
from seqjax.metrics import Detection, Segment

CLASSES = 3


def recordings(seed, count=6):
    """(truths, detected) with detections near the truths and false ones; scores are coarse, so that many are equal."""
    rng = np.random.default_rng(seed)

    def segments(number):
        starts = rng.integers(0, 40, number)
        return [(int(rng.integers(0, CLASSES)), int(a), int(a + rng.integers(1, 15))) for a in starts]

    truths = [[Segment(*s) for s in segments(rng.integers(0, 5))] for _ in range(count)]
    detected = []
    for truth in truths:
        near = [(s.label, max(0, s.start + int(rng.integers(-2, 3))), s.stop + 2) for s in truth for _ in range(2)]
        detected.append([Detection(*s, float(rng.integers(0, 6)) / 5) for s in [*near, *segments(3)]])
    return truths, detected


def brute_average_precision(truths, detected, label, overlap):
    """The area under precision over recall, where the precision at a recall is the highest at that or a higher recall."""
    frames = [[set(range(s.start, s.stop)) for s in several if s.label == label] for several in truths]
    total = sum(map(len, frames))
    ranked = [(d, i) for i, several in enumerate(detected) for d in several if d.label == label]
    ranked = [ranked[j] for j in sorted(range(len(ranked)), key=lambda j: (-ranked[j][0].score, j))]
    points = []  # true positives and precision of the first n detections, for every n
    for n in range(1, len(ranked) + 1):
        free = [list(range(len(several))) for several in frames]
        hits = 0
        for d, i in ranked[:n]:
            mine = set(range(d.start, d.stop))
            fits = [(len(mine & frames[i][j]) / len(mine | frames[i][j]), -j) for j in free[i]]
            if fits and max(fits)[0] >= overlap:
                free[i].remove(-max(fits)[1])
                hits += 1
        points.append((hits, hits / n))
    return sum(max((p for hits, p in points if hits >= k), default=0.0) for k in range(1, total + 1)) / total


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.8])
def test_average_precision_is_the_area_under_the_interpolated_curve(overlap):
    values = []
    for seed in range(8):
        truths, detected = recordings(seed)
        for label in range(CLASSES):
            if not any(s.label == label for several in truths for s in several):
                assert math.isnan(metrics.average_precision(truths, detected, label, overlap))
                continue
            expected = brute_average_precision(truths, detected, label, overlap)
            assert metrics.average_precision(truths, detected, label, overlap) == pytest.approx(expected, abs=1e-12)
            values.append(expected)
        labels = {s.label for several in truths for s in several}
        mean = np.mean([metrics.average_precision(truths, detected, label, overlap) for label in labels])
        assert metrics.mean_average_precision(truths, detected, overlap) == pytest.approx(mean)
    assert len(values) > 15 and 0.05 < np.mean(values) < 0.95


def test_perfect_missing_and_absent_detections():
    truths = [[Segment(0, 0, 10), Segment(1, 10.5, 20.25)], []]
    perfect = [[Detection(*segment, 0.5) for segment in several] for several in truths]
    assert metrics.mean_average_precision(truths, perfect, 1.0) == 1
    assert metrics.mean_average_precision(truths, [[], []]) == 0
    assert math.isnan(metrics.mean_average_precision([[]], [[Detection(0, 0, 1, 1.0)]]))
    other_recording = [[], perfect[0]]
    assert metrics.mean_average_precision(truths, other_recording) == 0


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("threshold", [0.5, None])
def test_detections_are_merged_runs_of_high_scores(gap, threshold):
    scores = np.random.default_rng(gap).random((60, CLASSES))
    detected = metrics.detections(scores, threshold=threshold, gap=gap, shortest=2, background=0)
    expected = []
    for label in (1, 2):
        if threshold is None:
            active = [t for t in range(60) if scores[t, label] == scores[t].max()]
        else:
            active = [t for t in range(60) if scores[t, label] >= threshold]
        while active:
            start = stop = active.pop(0)
            while active and active[0] - stop - 1 <= gap:
                stop = active.pop(0)
            if stop + 1 - start >= 2:
                expected.append((label, start, stop + 1, scores[start : stop + 1, label].mean()))
    assert len(expected) > 4 and [d[:3] for d in detected] == [e[:3] for e in expected]
    np.testing.assert_allclose([d.score for d in detected], [e[3] for e in expected])


def test_average_precision_of_frames_tries_every_threshold():
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 6, (80, 4)) / 5, rng.integers(-1, 3, 80)  # class 3 does not occur
    expected = []
    for c in range(3):
        s, y = scores[targets >= 0, c], targets[targets >= 0] == c
        area = recall = 0.0
        for threshold in sorted(set(s.tolist()), reverse=True):
            hits = y[s >= threshold]
            area += (hits.sum() / y.sum() - recall) * hits.mean()
            recall = hits.sum() / y.sum()
        expected.append(area)
    np.testing.assert_allclose(metrics.frame_average_precision(scores, targets), [*expected, np.nan])
    labels = targets[targets >= 0, None] == np.arange(4)
    np.testing.assert_allclose(metrics.frame_average_precision(scores[targets >= 0], labels), [*expected, np.nan])


def test_early_detection_reads_the_last_frame_seen():
    rng = np.random.default_rng(0)
    scores = [rng.random((steps, CLASSES)) for steps in (1, 10, 37)]
    truths = [[Segment(2, 0, 1)], [Segment(0, 0, 3), Segment(1, 3, 10)], [Segment(1, 5, 37)]]
    early = metrics.early_detection(scores, truths)
    np.testing.assert_allclose(early.fractions, np.arange(1, 11) / 10)
    for n in range(1, 11):
        rows = []
        for frames, segments in zip(scores, truths, strict=True):
            for label, start, stop in segments:
                seen = next(k for k in range(1, 100) if 10 * k >= n * (stop - start))  # in integers: ceil(n / 10 * length)
                rows.append((frames[start + seen - 1].argmax() == label, frames[start + seen - 1, label]))
        accuracy, score = np.mean(rows, axis=0)
        assert early.accuracy[n - 1] == pytest.approx(accuracy) and early.score[n - 1] == pytest.approx(score)


def test_accuracy_by_step_keeps_the_last_guess_of_a_sequence_that_has_ended():
    rng = np.random.default_rng(0)
    scores = [rng.random((steps, CLASSES)) for steps in (1, 4, 2, 6, 6)]
    labels = rng.integers(0, CLASSES, 5)
    expected = [np.mean([s[min(t, len(s) - 1)].argmax() == y for s, y in zip(scores, labels, strict=True)]) for t in range(6)]
    np.testing.assert_allclose(metrics.accuracy_by_step(scores, labels), expected)


SCORES = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.detections(np.zeros(3)), r"it must be numbers \[N, C\]"),
        (lambda: metrics.detections(SCORES, gap=-1), "gap is -1"),
        (lambda: metrics.average_precision([[]], [], 0), "1 recordings and detections of 0"),
        (lambda: metrics.mean_average_precision([[]], [[]], 0.0), "overlap is 0.0"),
        (lambda: metrics.average_precision([[Segment(0, 5, 5)]], [[]], 0), "must stop after its start"),
        (lambda: metrics.average_precision([[]], [[Detection(0, 0, 1, math.nan)]], 0), "a score that is not a number"),
        (lambda: metrics.frame_average_precision(SCORES, [0, 1]), r"targets have shape \(2,\)"),
        (lambda: metrics.frame_average_precision(SCORES, [0, 1, 2, 0]), "targets hold class 2"),
        (lambda: metrics.frame_average_precision(SCORES, np.ones((4, 3), bool)), r"bool targets need \(4, 2\)"),
        (lambda: metrics.accuracy_by_step([], []), "no sequences"),
        (lambda: metrics.accuracy_by_step([SCORES], [2]), "labels hold class 2"),
        (lambda: metrics.early_detection([SCORES], [[]]), "no activity"),
        (lambda: metrics.early_detection([SCORES], []), "scores of 1 recordings and segments of 0"),
        (lambda: metrics.early_detection([SCORES], [[Segment(0, 2, 5)]]), "within the recording's 4 frames"),
        (lambda: metrics.early_detection([SCORES], [[Segment(2, 0, 4)]]), "hold class 2"),
        (lambda: metrics.early_detection([SCORES], [[Segment(0, 0, 4)]], [0.0]), "fractions are"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
