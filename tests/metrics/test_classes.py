"""Measures of classifiers against loops over the examples."""

import math

import numpy as np
import pytest

from seqjax import metrics
from seqjax.errors import InputError

N, C = 60, 6


@pytest.fixture
def data():
    """Scores [N, C] with many ties, labels [N] without the last class, videos of three clips."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, C - 1, N // 3), 3)
    scores = rng.integers(0, 4, (N, C)).astype(float)
    scores[np.arange(N), labels] += rng.integers(0, 3, N)
    return scores, labels, [f"video {i // 3}" for i in rng.permutation(N // 3 * 3)]


def test_hit_at_k_is_a_place_among_the_first_k(data):
    scores, labels, _ = data
    for k in range(1, C + 1):
        best = [sorted(range(C), key=lambda c: (-row[c], c))[:k] for row in scores]
        assert metrics.hit_at(scores, labels, k) == np.mean([y in first for y, first in zip(labels, best, strict=True)])
    assert metrics.hit_at(scores, labels) == (scores.argmax(axis=1) == labels).mean() < metrics.hit_at(scores, labels, 2)


def test_a_videos_scores_are_the_mean_of_its_clips(data):
    scores, labels, _ = data
    order = np.random.default_rng(1).permutation(N)
    videos = np.repeat(np.arange(N // 3), 3)
    means, video_labels = metrics.video_scores(scores[order], labels[order], videos[order].tolist())
    first = list(dict.fromkeys(videos[order].tolist()))
    for row, label, video in zip(means, video_labels, first, strict=True):
        np.testing.assert_allclose(row, scores[videos == video].mean(axis=0))
        assert label == labels[videos == video][0]


def test_what_the_confusion_matrix_tells(data):
    scores, labels, _ = data
    predicted = scores.argmax(axis=1)
    predicted[predicted == C - 1] = 0  # the last class neither occurs nor is predicted
    labels = labels.copy()
    labels[:5] = -1
    matrix = metrics.confusion_matrix(labels, predicted, C)
    pairs = [(y, p) for y, p in zip(labels.tolist(), predicted.tolist(), strict=True) if y >= 0]
    assert matrix.tolist() == [[pairs.count((i, j)) for j in range(C)] for i in range(C)]
    halves = [metrics.confusion_matrix(labels[part], predicted[part], C) for part in (slice(30), slice(30, None))]
    assert (sum(halves) == matrix).all()
    assert metrics.accuracy(matrix) == np.mean([y == p for y, p in pairs])
    recalls, scores_of_classes = [], []
    for c in range(C - 1):
        tp = sum(y == p == c for y, p in pairs)
        precision = tp / max(sum(p == c for _, p in pairs), 1)
        recalls.append(tp / sum(y == c for y, _ in pairs))
        scores_of_classes.append(2 * precision * recalls[-1] / (precision + recalls[-1]) if tp else 0.0)
    np.testing.assert_allclose(metrics.class_accuracies(matrix), [*recalls, np.nan])
    assert metrics.mean_class_accuracy(matrix) == pytest.approx(np.mean(recalls))
    assert metrics.macro_f1(matrix) == pytest.approx(np.mean(scores_of_classes))


def test_without_examples_there_is_no_measure():
    matrix = metrics.confusion_matrix([-1, -1], [0, 1], classes=2)
    assert matrix.tolist() == [[0, 0], [0, 0]]
    assert all(math.isnan(f(matrix)) for f in (metrics.accuracy, metrics.mean_class_accuracy, metrics.macro_f1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.hit_at([[0.1, 0.9]], [1], 3), "k is 3, it must be 1 to 2"),
        (lambda: metrics.hit_at(np.zeros((0, 3)), []), "at least one row"),
        (lambda: metrics.hit_at([[0.1, 0.9]], [2]), "labels hold class 2, the classes are 0 to 1"),
        (lambda: metrics.hit_at([[0.1, 0.9]], [0, 1]), r"labels have shape \(2,\)"),
        (lambda: metrics.hit_at([[0.1, 0.9]], [0.5]), "they must be integers"),
        (lambda: metrics.hit_at([[0.1, 0.9], [np.nan, 1]], [0, 1]), "scores hold NaN in row 1"),
        (lambda: metrics.video_scores([[0.1, 0.9]] * 2, [0, 1], ["a", "a"]), "video 'a' has clips of labels"),
        (lambda: metrics.video_scores([[0.1, 0.9]] * 2, [0, 1], ["a"]), r"videos is \['a'\], it must be a list of 2 names"),
        (lambda: metrics.confusion_matrix([0, 1], [0], 2), r"labels have shape \(2,\), predicted \(1,\)"),
        (lambda: metrics.confusion_matrix([0], [-1], 2), "predicted hold class -1"),
        (lambda: metrics.macro_f1(np.zeros((2, 3))), "it must be square"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
