"""Stochastic beam search against enumeration: all outputs, inclusion probabilities, unbiased estimates."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import InputError
from seqjax.decode import score, stochastic_beam
from tests.decode.toys import END, Table, log_p_of, table, tokens

ROWS, SYMBOLS, LENGTH = 4000, 3, 2
LOGITS = table(symbols=SYMBOLS)
START = 1


def outputs_of(end):
    """{output: its log-probability}, by enumeration."""
    outputs = {}
    for path in itertools.product(range(SYMBOLS), repeat=LENGTH):
        path = path[: path.index(end) + 1] if end in path else path
        outputs[path] = log_p_of(np.asarray(LOGITS), path, START)
    return outputs


def drawn(rows, width, end=END, **options):
    return stochastic_beam(
        Table(), LOGITS, tokens(*[START] * rows), key=jax.random.key(3), width=width, max_length=LENGTH, end=end, **options
    )


def paths(result, row):
    return [tuple(t[:n].tolist()) for t, n in zip(np.asarray(result.tokens[row]), np.asarray(result.lengths[row]), strict=True)]


def test_a_width_of_all_outputs_enumerates_them():
    outputs = outputs_of(END)
    result = drawn(3, len(outputs) + 2)
    for row in range(3):
        found = [path for path in paths(result, row) if path]
        assert sorted(found) == sorted(outputs)
        np.testing.assert_allclose(result.scores[row, : len(found)], [outputs[path] for path in found], rtol=1e-5)
    np.testing.assert_allclose(result.weights.sum(axis=1), 1, rtol=1e-5)  # all outputs are there: the weights are p
    assert bool((result.scores[:, -2:] == -jnp.inf).all())
    assert bool((jnp.diff(result.perturbed[:, : len(outputs)]) < 0).all())
    again = score(Table(), LOGITS, tokens(START, START, START), result.tokens, result.lengths).scores
    np.testing.assert_allclose(again[:, : len(outputs)], result.scores[:, : len(outputs)], rtol=1e-5)


def test_outputs_are_drawn_without_replacement_and_estimates_are_unbiased():
    outputs = outputs_of(END)
    p = {path: np.exp(log_p) for path, log_p in outputs.items()}
    result = drawn(ROWS, 3)
    found = [paths(result, row) for row in range(ROWS)]
    assert all(len(set(row)) == 3 for row in found)
    for path in outputs:
        first = np.mean([row[0] == path for row in found])
        second = sum(p[a] * p[path] / (1 - p[a]) for a in outputs if a != path)
        pairs = [pair for pair in itertools.permutations(outputs, 2) if path not in pair]
        third = sum(p[a] * p[b] / (1 - p[a]) * p[path] / (1 - p[a] - p[b]) for a, b in pairs)
        included = np.mean([path in row for row in found])
        assert abs(first - p[path]) < 4 * np.sqrt(p[path] / ROWS)
        assert abs(included - (p[path] + second + third)) < 4 * np.sqrt(0.25 / ROWS)
    weights = np.asarray(result.weights, np.float64)
    values = np.array([[sum(path) + len(path) ** 2 for path in row] for row in found])
    estimates = (weights * values).sum(axis=1)
    expected = sum(p[path] * (sum(path) + len(path) ** 2) for path in outputs)
    assert abs(estimates.mean() - expected) < 4 * estimates.std() / np.sqrt(ROWS)


def test_constraints_hold_and_without_an_end_all_outputs_are_as_long_as_allowed():
    result = drawn(2, 4, banned=[2])
    assert not bool((result.tokens == 2).any()) and bool((result.log_q > result.scores)[result.scores > -jnp.inf].any())
    longer = stochastic_beam(Table(), LOGITS, tokens(START), key=jax.random.key(3), width=2, max_length=LENGTH)
    assert longer.lengths.tolist() == [[LENGTH, LENGTH]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0, it must be at least 1"),
        ({"key": 3}, "key is 3, it must be a typed key"),
        ({"end": 7}, "end names symbol 7, the vocabulary has 0 to 2"),
        ({"widht": 3}, "widht is no option of this search"),
    ],
)
def test_bad_values_are_told_in_one_line(options, message):
    with pytest.raises(InputError, match=message):
        stochastic_beam(Table(), LOGITS, tokens(START), **({"key": jax.random.key(0), "width": 2, "max_length": 2} | options))
