"""Measures of segmentation against sets of frames and a recursive edit distance."""

import functools
import itertools

import numpy as np
import pytest

from seqjax import metrics
from seqjax.errors import InputError

CLASSES, BACKGROUND = 4, 0


def recordings(seed, count=12):
    """(truths, predictions): runs of labels, some frames without a label; a prediction is the truth, distorted."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(count):
        steps = int(rng.integers(1, 50))
        truth = np.repeat(rng.integers(0, CLASSES, steps), rng.integers(1, 8, steps))[:steps]
        predicted = np.roll(truth, rng.integers(-2, 3))
        noisy = rng.random(steps) < 0.1
        predictions.append(np.where(noisy, rng.integers(0, CLASSES, steps), predicted))
        truths.append(np.where(rng.random(steps) < 0.05, -1, truth))
    return truths, predictions


def runs(labels, left_out):
    """(label, set of its frames) of each run."""
    groups = [(label, [t for t, _ in group]) for label, group in itertools.groupby(enumerate(labels), key=lambda x: x[1])]
    return [(label, set(frames)) for label, frames in groups if label not in left_out]


def expected_runs(truth, predicted, left_out):
    predicted = np.where(truth == -1, -1, predicted)
    return runs(truth.tolist(), left_out), runs(predicted.tolist(), left_out)


def counts(truth, predicted, overlap):
    """True positives, false positives and false negatives of one recording."""
    taken = []
    for label, frames in predicted:
        overlaps = [len(frames & other) / len(frames | other) if name == label else 0 for name, other in truth]
        best = overlaps.index(max(overlaps)) if overlaps else None
        if best is not None and overlaps[best] >= overlap and best not in taken:
            taken.append(best)
    return len(taken), len(predicted) - len(taken), len(truth) - len(taken)


def f1(tp, fp, fn):
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0


@pytest.mark.parametrize("background", [None, BACKGROUND, (0, 2)])
def test_scores_are_those_of_the_definitions(background):
    truths, predictions = recordings(0)
    left_out = {-1} | ({background} if isinstance(background, int) else set(background or ()))
    pairs = [expected_runs(*pair, left_out) for pair in zip(truths, predictions, strict=True)]

    def distance(a, b):
        @functools.cache
        def d(i, j):
            if not i or not j:
                return i + j
            return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

        return d(len(a), len(b))

    edits = []
    for truth, predicted in pairs:
        a, b = [name for name, _ in truth], [name for name, _ in predicted]
        edits.append(1 - distance(a, b) / max(len(a), len(b)) if a or b else 1.0)
    for by_recording in (False, True):
        scores = metrics.segmentation_scores(truths, predictions, background, by_recording=by_recording)
        assert scores["edit"] == pytest.approx(np.mean(edits))
        frames = [(y, p) for pair in zip(truths, predictions, strict=True) for y, p in zip(*pair, strict=True) if y != -1]
        assert scores["frame_accuracy"] == pytest.approx(np.mean([y == p for y, p in frames]))
        for percent in (10, 25, 50):
            numbers = [counts(truth, predicted, percent / 100) for truth, predicted in pairs]
            expected = np.mean([f1(*n) for n in numbers]) if by_recording else f1(*np.sum(numbers, axis=0))
            assert scores[f"f1_{percent}"] == pytest.approx(expected)
    frames = [(y, p) for y, p in frames if y not in left_out]
    assert metrics.frame_accuracy(truths, predictions, background) == pytest.approx(np.mean([y == p for y, p in frames]))


def test_segments_are_runs_between_gaps():
    assert metrics.segments_of([3]) == [(3, 0, 1)]
    assert metrics.segments_of([]) == [] == metrics.segments_of([-1, -1])
    assert metrics.segments_of([1, 1, -1, 1, 0]) == [(1, 0, 2), (1, 3, 4), (0, 4, 5)]
    assert metrics.segments_of(np.array([1, 2, 2], np.uint8), background={2}) == [(1, 0, 1)]


def test_an_over_segmented_prediction_keeps_its_frames_but_loses_segments():
    truth, predicted = np.repeat([0, 1], 50), np.repeat([0, 1], 50)
    predicted[5:50:10] = 1
    scores = metrics.segmentation_scores([truth], [predicted])
    assert scores["frame_accuracy"] == 0.95 and scores["edit"] < 0.2
    # Of six pieces of class 0 and six of class 1, one each is right at 10 %; the longest piece of class 0 has 9 of 50 frames.
    assert scores["f1_10"] == pytest.approx(2 * 2 / (12 + 2)) and scores["f1_25"] == pytest.approx(2 * 1 / (12 + 2))


def test_a_second_prediction_of_one_segment_is_false():
    truth, predicted = [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]
    assert metrics.segment_f1([truth], [predicted], 0.3) == pytest.approx(2 * 1 / (3 + 1))


def test_recordings_without_segments():
    empty = np.zeros(4, int)
    assert metrics.segmentation_scores([empty], [empty], background=0) == {
        "frame_accuracy": 1.0, "edit": 1.0, "f1_10": 1.0, "f1_25": 1.0, "f1_50": 1.0,
    }  # fmt: skip
    assert metrics.segment_f1([empty], [empty + 1], 0.1, background=0) == 0 == metrics.edit_score([empty], [empty + 1], 0)
    assert np.isnan(metrics.frame_accuracy([[-1]], [[0]]))
    assert metrics.levenshtein("", "abc") == 3 == metrics.levenshtein("abc", "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.segments_of([0.5]), "it must be integer \\[T\\]"),
        (lambda: metrics.segments_of([[1]]), r"it must be integer \[T\]"),
        (lambda: metrics.frame_accuracy([[0]], []), "there are 1 true and 0 predicted recordings"),
        (lambda: metrics.frame_accuracy([[0], [1, 1]], [[0], [1]]), r"predictions\[1\] has 1 frames, truths\[1\] has 2"),
        (lambda: metrics.edit_score([], []), "no recordings"),
        (lambda: metrics.segment_f1([[0]], [[0]], 50), "overlap is 50"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
