"""Constraints: each against a plain check of whole outputs, and all together in every search."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode
from seqjax.decode.constraints import constrain, make_rules
from seqjax.errors import InputError
from tests.decode.toys import END, Table, Tree, log_p_of, rows, table, tokens

V, L = 4, 4

CONSTRAINTS = [
    {"min_length": 3},
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3},
    {"no_repeat_ngram": 9},
    {"banned": (1,)},
    {"banned": (END, 3)},
    {"prefix": np.array([[2, 1], [3, -1]])},
    {"prefix": np.array([[2, 1], [3, 3]]), "prefix_lengths": np.array([1, 2])},
    {"prefix": np.array([[-1, -1, 2]] * 2)},
    {"prefix": np.zeros((2, 0), np.int32)},
    {"prefix": np.array([[1, 1, 1, 1, 1, 1]] * 2), "banned": (1,), "no_repeat_ngram": 1, "min_length": 4},  # a prefix overrides
    {"min_length": 3, "no_repeat_ngram": 2, "banned": (2,)},
]


def keeps(path, row, *, min_length=0, no_repeat_ngram=None, banned=(), prefix=None, prefix_lengths=None):
    """Whether a path keeps all constraints."""
    prefix = [] if prefix is None else list(prefix[row])
    forced = prefix[: len(prefix) if prefix_lengths is None else prefix_lengths[row]]
    forced = [*forced, *[-1] * len(path)]
    for i, symbol in enumerate(path):
        if forced[i] >= 0:
            if symbol != forced[i]:
                return False
            continue
        if symbol in banned or (symbol == END and i + 1 < min_length):
            return False
        n = no_repeat_ngram
        if n and i + 1 >= n and path[i + 1 - n : i + 1] in [path[j : j + n] for j in range(i + 1 - n)]:
            return False
    return True


def possible(model, params, row, constraints):
    """{path: log-probability} of all outputs that keep the constraints."""
    distribution, _ = model.lookup(params, row)
    log_p = {}
    for length in range(1, L + 1):
        for path in itertools.product(range(V), repeat=length):
            is_complete = END not in path[:-1] and (path[-1] == END or length == L)
            if is_complete and keeps(path, row, **constraints):
                log_p[path] = sum(distribution(path[:i])[symbol] for i, symbol in enumerate(path))
    return log_p


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=str)
def test_a_symbol_is_allowed_where_the_output_with_it_keeps_the_constraints(constraints):
    """After every prefix of every length, whatever stands behind it, in the shapes of a beam and of a single search."""
    rules, random = make_rules(L, END, **constraints), np.random.default_rng(0)
    prefixes = np.array([*itertools.product(range(V), repeat=L - 1)])  # [K, L - 1]
    logits = jnp.asarray(random.standard_normal((len(prefixes), 2, V)), jnp.float32)  # [K, B, V]

    @jax.jit
    def allowed(symbols, time):  # [L, K, B]
        alone = jax.vmap(functools.partial(constrain, rules), in_axes=(0, 1, None))(logits, symbols, time)
        return constrain(rules, logits, symbols, time), alone

    values = np.asarray(logits)
    for time in range(L):
        symbols = random.integers(0, V, (L, len(prefixes), 2), dtype=np.int32)  # garbage from `time` on
        symbols[:time] = prefixes.T[:time, :, None]
        beams, alone = (np.asarray(leaf) for leaf in allowed(symbols, np.int32(time)))
        np.testing.assert_array_equal(beams, alone)
        for k, row in itertools.product(range(len(prefixes)), range(2)):
            path = tuple(prefixes[k, :time].tolist())
            if not all(keeps(path[: i + 1], row, **constraints) for i in range(time)):
                continue  # no search comes here
            for symbol in range(V):
                expected = values[k, row, symbol] if keeps((*path, symbol), row, **constraints) else -np.inf
                assert beams[k, row, symbol] == expected, (path, symbol)


@functools.cache
def forest():
    return Tree(V), Tree.init(2, V, L, seed=2, sharpness=1.5)


TOGETHER = [
    {"min_length": 3, "no_repeat_ngram": 2, "banned": (2,)},
    {"prefix": np.array([[2, 1], [3, 3]]), "prefix_lengths": np.array([1, 2]), "no_repeat_ngram": 1},
]


@pytest.mark.parametrize("constraints", TOGETHER, ids=str)
def test_a_wide_beam_equals_enumeration(constraints):
    model, params = forest()
    options = {"width": V**L, "max_length": L, "end": END, "early_stop": False, "n_best": 121}
    decoded = decode.beam(model, params, rows(0, 1), **options, **constraints)
    for row in range(2):
        expected = possible(model, params, row, constraints)
        count = int((decoded.lengths[row] > 0).sum())
        paths = [tuple(decoded.tokens[row, i, : decoded.lengths[row, i]].tolist()) for i in range(count)]
        assert set(paths) == set(expected) and len(paths) == len(expected) > 0
        np.testing.assert_allclose(decoded.scores[row, :count], [expected[path] for path in paths], rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("constraints", TOGETHER, ids=str)
def test_greedy_takes_the_likeliest_of_what_is_allowed_and_samples_keep_to_it(constraints):
    model, params = forest()
    greedy = decode.greedy(model, params, rows(0, 1), max_length=L, end=END, **constraints)
    beam = decode.beam(model, params, rows(0, 1), width=1, max_length=L, end=END, **constraints)
    outputs = [greedy]
    for seed in range(3):
        draw = {"key": jax.random.key(seed), "temperature": 2.0, "max_length": L, "end": END}
        outputs.append(decode.sample(model, params, rows(0, 1), **draw, **constraints))
        columns = list(decode.stream(model, params, rows(0, 1), **draw, **constraints))
        np.testing.assert_array_equal(np.stack(columns, 1), outputs[-1].tokens[:, : len(columns)])
    for row in range(2):
        log_p_of_path = possible(model, params, row, constraints)
        for output in outputs:
            path = tuple(output.tokens[row, : output.lengths[row]].tolist())
            if path in log_p_of_path:
                np.testing.assert_allclose(output.scores[row], log_p_of_path[path], rtol=2e-5)
            else:  # nothing could follow
                assert output.scores[row] == -math.inf and len(path) < L
                assert not any(keeps((*path, symbol), row, **constraints) for symbol in range(V))
        path = tuple(greedy.tokens[row, : greedy.lengths[row]].tolist())
        distribution, _ = model.lookup(params, row)
        for i, symbol in enumerate(path):
            allowed = [v for v in range(V) if keeps((*path[:i], v), row, **constraints)]
            assert symbol == max(allowed, key=lambda v: distribution(path[:i])[v])
        if greedy.scores[row] > -math.inf:
            assert tuple(beam.tokens[row, 0, : beam.lengths[row, 0]].tolist()) == path
            np.testing.assert_allclose(beam.scores[row, 0], greedy.scores[row], rtol=1e-5)


def test_where_no_symbol_is_left_a_row_ends_without_one_and_the_others_go_on():
    logits, prefix = table(symbols=3), jnp.array([[0, -1], [1, 1]])
    every = {"max_length": 5, "prefix": prefix, "prefix_lengths": jnp.array([1, 0]), "no_repeat_ngram": 1}
    decoded = decode.greedy(Table(), logits, tokens(0, 1), **every, end=2, banned=(2,))
    assert decoded.lengths.tolist() == [2, 2] and decoded.scores.tolist() == [-math.inf] * 2
    assert decoded.tokens[0].tolist() == [0, 1, 0, 0, 0]
    beams = decode.beam(Table(), logits, tokens(0, 1), width=4, n_best=2, **every, end=2, banned=(2,))
    assert not beams.lengths.any() and not beams.tokens.any() and bool((beams.scores == -math.inf).all())


def test_what_the_model_forbids_is_not_forced():
    logits = table().at[:, 1].set(-jnp.inf)
    decoded = decode.greedy(Table(), logits, tokens(0), max_length=3, prefix=jnp.array([[1]]))
    assert decoded.lengths.tolist() == [0] and decoded.scores.tolist() == [-math.inf]


def test_a_repeat_is_told_from_the_symbols_before_the_step_alone():
    # Symbols stored at later steps are left over from an earlier search, and do not count.
    rules = make_rules(6, None, no_repeat_ngram=2)
    symbols = jnp.array([[1], [2], [1], [1], [3], [1]], jnp.int32)
    banned = [constrain(rules, jnp.zeros((1, 5)), symbols, jnp.array(t))[0].tolist() for t in range(6)]
    assert [[v for v in range(5) if row[v] < 0] for row in banned] == [[], [], [], [2], [1, 2], []]


def test_another_value_compiles_nothing():
    model = Table(name="constrained, and seen by no other test")
    for least, banned, prefix, end in [(2, (1,), [[1, 2], [0, 0]], 3), (4, (0,), [[-1, 2], [4, -1]], 2)]:
        every = {"min_length": least, "banned": banned, "prefix": jnp.array(prefix), "no_repeat_ngram": 2}
        decode.greedy(model, table(), tokens(0, 1), max_length=5, end=end, **every)
        decode.beam(model, table(), tokens(0, 1), width=3, max_length=5, end=end, **every)
    assert 1 <= len(model.traces) <= 4


@pytest.mark.parametrize("banned", [[1, 3], {1, 3}, range(1, 4, 2), np.array([1, 3]), jnp.array([1, 3])], ids=str)
def test_constraints_may_be_lists_or_arrays(banned):
    every = {"max_length": 4, "end": END}
    lists = {"banned": banned, "prefix": [[2, 9], [-1, 4]], "prefix_lengths": [1, 2]}
    decoded = decode.greedy(Table(), table(), tokens(0, 1), **lists, **every)
    prefix = {"prefix": jnp.array([[2, -1], [-1, 4]]), "banned": (1, 3)}
    np.testing.assert_array_equal(decoded.tokens, decode.greedy(Table(), table(), tokens(0, 1), **prefix, **every).tokens)


def test_scores_stay_those_of_the_model():
    decoded = decode.greedy(Table(), table(4), tokens(0), max_length=6, banned=(1, 3))
    np.testing.assert_allclose(decoded.scores[0], log_p_of(table(4), decoded.tokens[0].tolist(), 0), rtol=1e-5)


@pytest.mark.parametrize(
    ("constraints", "line"),
    [
        ({"min_length": 0}, "min_length is 0, it must be at least 1"),
        ({"min_length": 9}, "min_length is 9, it must be at most max_length, 5"),
        ({"min_length": 2, "end": None}, "min_length is 2 and end is None"),
        ({"no_repeat_ngram": 0}, "no_repeat_ngram is 0"),
        ({"banned": (-1,)}, "banned holds -1"),
        ({"banned": (0.5,)}, "banned is 0.5, it must be an integer"),
        ({"prefix": np.zeros((2, 3), np.float32)}, r"prefix has shape \(2, 3\) and dtype float32, it must be integers"),
        ({"prefix": np.zeros(3, np.int32)}, r"prefix has shape \(3,\)"),
        ({"prefix": np.zeros((2, 3), np.int32)}, "prefix has 2 rows, the batch 1"),
        ({"prefix": np.zeros((1, 3), np.int32), "prefix_lengths": np.zeros(2)}, r"prefix_lengths has shape \(2,\), prefix"),
        ({"banned": (2, 5)}, "banned names symbol 5, the vocabulary has 0 to 4"),
        ({"banned": [2**31]}, "banned holds 2147483648"),
        ({"prefix": [[1, 2], [3]]}, "prefix has rows of different lengths"),
        ({"prefix": np.array([[-1, 7]])}, "prefix names symbol 7, the vocabulary has 0 to 4"),
        ({"prefix_lengths": np.zeros(1)}, r"prefix_lengths has shape \(1,\), there is no prefix"),
    ],
)
@pytest.mark.parametrize("search", [decode.greedy, functools.partial(decode.beam, width=2)], ids=["greedy", "beam"])
def test_bad_values_are_told_in_one_line(search, constraints, line):
    with pytest.raises(InputError, match=line) as caught:
        search(Table(), table(), tokens(0), **{"max_length": 5, "end": END} | constraints)
    assert "\n" not in str(caught.value)
