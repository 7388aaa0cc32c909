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
    result = minimum_bayes_risk(SAMPLES, overlap, weights=weights)
    np.testing.assert_allclose(result.utilities, expected)
    assert result.index == int(np.argmax(expected))
    assert SAMPLES[result.index] == ("a b c" if weights is None else "x y z")


def test_equal_samples_count_as_often_as_they_were_drawn_and_are_compared_once():
    compared = []

    def same(hypothesis, reference):
        compared.append((hypothesis, reference))
        return float(hypothesis == reference)

    result = minimum_bayes_risk([(1, 2), (3,), (1, 2), (4,)], same)
    assert result.index == 0 and result.utilities.tolist() == [0.5, 0.25, 0.5, 0.25]
    assert len(compared) == len(set(compared)) == 9


def test_the_utility_gets_the_hypothesis_first():
    assert minimum_bayes_risk(["long one", "a"], lambda hypothesis, reference: -len(hypothesis)).index == 1


def test_lists_and_arrays_of_symbols_are_candidates_too():
    for candidates in ([[1, 2], [3], [1, 2]], np.array([[1, 2], [3, 3], [1, 2]])):
        result = minimum_bayes_risk(candidates, lambda one, other: float(list(one) == list(other)))
        np.testing.assert_allclose(result.utilities, [2 / 3, 1 / 3, 2 / 3])


@pytest.mark.parametrize("weights", [[1.0], [1, -1], [0, 0], [1, np.nan]])
def test_bad_values_are_told(weights):
    with pytest.raises(InputError, match="weights must be 2 finite numbers"):
        minimum_bayes_risk(["a", "b"], overlap, weights=weights)
    with pytest.raises(InputError, match="no candidates"):
        minimum_bayes_risk([], overlap)
    with pytest.raises(InputError, match="candidates is one text"):
        minimum_bayes_risk("abc", overlap)
    with pytest.raises(InputError, match="the utility of candidate 0 is NaN"):
        minimum_bayes_risk(["a", "b"], lambda one, other: float("nan"))
