"""Minimum Bayes risk against its definition."""

import numpy as np
import pytest

from seqjax.decode import minimum_bayes_risk
from seqjax.errors import InputError

SAMPLES = ["a b c", "a b", "x y z", "a b c d", "a b", "b c"]


def overlap(hypothesis, reference):
    mine, other = set(hypothesis.split()), set(reference.split())
    return len(mine & other) / len(mine | other)


@pytest.mark.parametrize("weights", [None, [1, 2, 9, 0, 1, 3]])
def test_it_is_the_argmax_of_the_expected_utility(weights):
    shares = np.ones(6) if weights is None else np.array(weights)
    expected = [sum(w * overlap(y, z) for w, z in zip(shares, SAMPLES, strict=True)) / shares.sum() for y in SAMPLES]
    found = minimum_bayes_risk(SAMPLES, overlap, weights=weights)
    np.testing.assert_allclose(found.utilities, expected)
    assert found.index == int(np.argmax(expected))
    assert SAMPLES[found.index] == ("a b c" if weights is None else "x y z")


def test_equal_samples_count_as_often_as_they_were_drawn_and_are_compared_once():
    asked = []

    def same(hypothesis, reference):
        asked.append((hypothesis, reference))
        return float(hypothesis == reference)

    found = minimum_bayes_risk([(1, 2), (3,), (1, 2), (4,)], same)
    assert found.index == 0 and found.utilities.tolist() == [0.5, 0.25, 0.5, 0.25]
    assert len(asked) == len(set(asked)) == 9


def test_a_utility_that_is_not_symmetric_is_asked_the_right_way_round():
    assert minimum_bayes_risk(["long one", "a"], lambda hypothesis, reference: -len(hypothesis)).index == 1


@pytest.mark.parametrize("weights", [[1.0], [1, -1], [0, 0], [1, np.nan]])
def test_bad_values_are_told(weights):
    with pytest.raises(InputError, match="weights must be 2 finite numbers"):
        minimum_bayes_risk(["a", "b"], overlap, weights=weights)
    with pytest.raises(InputError, match="no candidates"):
        minimum_bayes_risk([], overlap)
