"""Sampling and argmax against a decoder whose distribution is a table, enumerated by brute force."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from seqjax import decode
from seqjax.decode import sampling
from seqjax.decode.filters import Tail, truncate
from seqjax.errors import InputError
from tests.decode.toys import Table, log_p_of, table, tokens

END = 3


def test_greedy_is_the_argmax_loop():
    logits = table()
    found = decode.greedy(Table(), logits, tokens(0, 1, 4), max_length=6)
    for row, first in enumerate((0, 1, 4)):
        path, at = [], first
        for _ in range(6):
            at = int(jnp.argmax(logits[at]))
            path.append(at)
        assert found.tokens[row].tolist() == path
        assert found.lengths[row] == 6
        np.testing.assert_allclose(found.scores[row], log_p_of(logits, path, first), rtol=1e-5)


def test_a_row_ends_at_end_and_the_others_go_on():
    logits = jnp.log(jnp.eye(5)[jnp.array([1, 2, END, 0, 4])] * 0.9 + 0.02)
    found = decode.greedy(Table(), logits, tokens(0, 2, 4), max_length=5, end=END)
    assert found.tokens.tolist() == [[1, 2, END, 0, 0], [END, 0, 0, 0, 0], [4, 4, 4, 4, 4]]
    assert found.lengths.tolist() == [3, 1, 5]
    np.testing.assert_allclose(found.scores, np.log(0.92) * np.array([3, 1, 5]), rtol=1e-5)


def test_the_loop_stops_when_every_row_has_ended():
    @dataclasses.dataclass(frozen=True)
    class Counting(Table):
        def step(self, params, memory, state, token):
            jax.debug.callback(lambda: steps.append(1))
            return super().step(params, memory, state, token)

    steps = []
    logits = jnp.log(jnp.eye(5)[jnp.array([1, END, 0, 0, 0])] + 1e-3)
    decode.greedy(Counting(), logits, tokens(0, 1), max_length=50, end=END)
    jax.effects_barrier()
    assert len(steps) == 2


def brute_truncate(probabilities, top_k=None, top_p=None, min_p=None, typical_p=None):
    """The symbols that stay, told in the slowest way there is."""

    def fewest(ranked, wanted):
        mass, kept, total = sum(probabilities[i] for i in ranked), [], 0.0
        for i in ranked:
            if wanted is not None and total >= wanted:
                break
            kept.append(i)
            total += probabilities[i] / mass
        return kept

    ranked = sorted(range(len(probabilities)), key=lambda i: (-probabilities[i], i))[: top_k or None]
    ranked = fewest(ranked, top_p)
    ranked = [i for i in ranked if probabilities[i] >= (min_p or 0) * probabilities[ranked[0]]]
    mass = sum(probabilities[i] for i in ranked)
    surprise = {i: -math.log(probabilities[i] / mass) for i in ranked}
    expected = sum(probabilities[i] / mass * surprise[i] for i in ranked)
    ranked = sorted(ranked, key=lambda i: (abs(surprise[i] - expected), i))
    return set(fewest(ranked, typical_p))


@pytest.mark.parametrize("top_k", [None, 1, 2, 4, 99])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.33, 0.62, 0.9, 1.0])
@pytest.mark.parametrize(("min_p", "typical_p"), [(None, None), (0.3, None), (None, 0.6), (0.1, 0.4), (1.0, 1.0)])
def test_truncation_equals_enumeration(top_k, top_p, min_p, typical_p):
    tail = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p}
    for seed in range(6):
        logits = table(seed)
        cut = truncate(logits, Tail(**tail))
        for row, row_cut in zip(np.exp(np.asarray(logits, np.float64)), np.asarray(cut), strict=True):
            assert set(np.flatnonzero(np.isfinite(row_cut))) == brute_truncate(row, **tail)
        np.testing.assert_array_equal(cut[jnp.isfinite(cut)], logits[jnp.isfinite(cut)])


def test_ties_go_to_the_smaller_symbol():
    for tail in (Tail(top_k=jnp.array(2)), Tail(top_p=jnp.array(0.5)), Tail(typical_p=jnp.array(0.5))):
        assert jnp.isfinite(truncate(jnp.zeros((1, 4)), tail))[0].tolist() == [True, True, False, False]


def test_the_likeliest_is_not_the_most_typical():
    probabilities = jnp.array([[0.4, 0.15, 0.15, 0.15, 0.15]])
    kept = truncate(jnp.log(probabilities), Tail(typical_p=jnp.array(0.5)))
    assert jnp.isfinite(kept)[0].tolist() == [False, True, True, True, True]


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 3},
        {"top_p": 0.8},
        {"temperature": 1.5, "top_k": 4, "top_p": 0.7},
        {"min_p": 0.2},
        {"typical_p": 0.6},
    ],
)
def test_frequencies_are_the_enumerated_probabilities(options):
    logits, rows = table(3), 4000
    found = decode.sample(Table(), logits, tokens(*[2] * rows), max_length=2, key=jax.random.key(7), **options)
    heat, tail = options.get("temperature", 1.0), {name: cut for name, cut in options.items() if name != "temperature"}
    first, second = np.zeros((5,)), np.zeros((5, 5))
    np.add.at(first, np.asarray(found.tokens[:, 0]), 1)
    np.add.at(second, tuple(np.asarray(found.tokens).T), 1)
    for given, counts in [(2, first), *enumerate(second)]:
        scaled = np.exp(np.asarray(logits[given], np.float64) / heat)
        scaled /= scaled.sum()
        kept = sorted(brute_truncate(scaled, **tail))
        assert set(np.flatnonzero(counts)) <= set(kept)
        if counts.sum() > 100 and len(kept) > 1:
            expected = scaled[kept] / scaled[kept].sum() * counts.sum()
            assert chi_square(counts[kept], expected) < 22  # 4 degrees of freedom: p = 2e-4


def test_scores_are_of_the_models_own_distribution():
    logits = table(1)
    found = decode.sample(Table(), logits, tokens(0, 3), max_length=4, key=jax.random.key(2), temperature=0.3, top_k=2)
    for row, first in enumerate((0, 3)):
        np.testing.assert_allclose(found.scores[row], log_p_of(logits, found.tokens[row].tolist(), first), rtol=1e-5)


def test_the_same_key_draws_the_same_and_another_does_not():
    def draw(seed):
        return decode.sample(Table(), table(), tokens(0, 1), max_length=20, key=jax.random.key(seed)).tokens.tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


OPTIONS = [{}, {"temperature": 0.0}, {"temperature": 0.7, "top_k": 3, "top_p": 0.9}, {"end": END, "min_p": 0.1}]


@pytest.mark.parametrize("options", [*OPTIONS, {"no_repeat_ngram": 2, "banned": (1,)}])
def test_stream_equals_sample(options):
    logits, batch = table(5), tokens(0, 1, 2)
    found = decode.sample(Table(), logits, batch, max_length=12, key=jax.random.key(4), **options)
    columns = list(decode.stream(Table(), logits, batch, max_length=12, key=jax.random.key(4), **options))
    assert all(column.dtype == np.int32 and column.shape == (3,) for column in columns)
    np.testing.assert_array_equal(np.stack(columns, axis=1), found.tokens[:, : len(columns)])
    assert len(columns) == int(found.lengths.max())


def test_temperature_zero_is_argmax_and_a_tiny_one_does_not_overflow():
    logits = table(2) * 10
    cold = decode.greedy(Table(), logits, tokens(0, 1), max_length=8).tokens.tolist()
    for heat in (0.0, 1e-30, 1e-50):
        found = decode.sample(Table(), logits, tokens(0, 1), max_length=8, key=jax.random.key(0), temperature=heat)
        assert found.tokens.tolist() == cold


@pytest.mark.parametrize("heat", [1e30, 1e300, math.inf])
def test_the_hottest_draw_is_uniform_over_what_is_possible(heat):
    logits = jnp.where(jnp.arange(5) == 1, -jnp.inf, table(6) * 5)
    found = decode.sample(Table(), logits, tokens(*[0] * 2000), max_length=1, key=jax.random.key(0), temperature=heat)
    counts = np.bincount(found.tokens[:, 0], minlength=5)
    assert counts[1] == 0
    assert chi_square(counts[[0, 2, 3, 4]], 500) < 20  # 3 degrees of freedom: p = 2e-4


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 1 - 2**-23])
@pytest.mark.parametrize("symbols", [5, 1000])
def test_no_chance_draws_what_is_impossible(chance, symbols):
    # Most symbols cannot be; sums over blocks of a long row round up between those that can.
    logits = jax.random.normal(jax.random.key(1), (200, symbols))
    possible = jax.random.bernoulli(jax.random.key(2), 0.1, logits.shape).at[:, 2].set(True)
    draw = sampling._Draw(jax.random.key(0), jnp.float32(1.0), Tail())
    logits = jnp.where(possible, logits, -jnp.inf)
    found = sampling._drawn(logits - logits.max(axis=1, keepdims=True), draw, jnp.full(200, chance, jnp.float32))
    assert np.take_along_axis(np.asarray(possible), np.asarray(found)[:, None], axis=1).all()
    if chance == 0:
        assert found.tolist() == np.argmax(possible, axis=1).tolist()


def test_ties_of_the_likeliest_go_to_the_smaller_symbol():
    logits = jnp.zeros((5, 5)).at[:, 0].set(-1.0)
    assert decode.greedy(Table(), logits, tokens(0, 4), max_length=3).tokens.tolist() == [[1, 1, 1]] * 2


def loops(jaxpr):
    """The primitives inside loops."""
    for eqn in jaxpr.eqns:
        for inner in jaxprs_in_params(eqn.params):
            if eqn.primitive.name in ("while", "scan"):
                yield from everything(inner)
            else:
                yield from loops(inner)


def everything(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in jaxprs_in_params(eqn.params):
            yield from everything(inner)


def test_no_random_bits_are_made_inside_the_loop():
    def names(temperature):
        def run(logits, key):
            return decode.sample(Table(), logits, tokens(0, 1), max_length=5, key=key, temperature=temperature)

        return jax.make_jaxpr(run)(table(), jax.random.key(0)).jaxpr

    random = {"random_bits", "random_split", "random_fold_in"}
    for temperature, draws in [(0.0, False), (1.0, True)]:
        program = names(temperature)
        assert (random <= set(everything(program))) == draws  # before the loop, where anything is drawn
        assert "while" in set(everything(program)) and not random & set(loops(program))


def test_another_prompt_key_or_temperature_compiles_nothing():
    model, logits = Table(name="seen by no other test"), table()
    for heat, seed, prompt in [(1.0, 0, (0, 1)), (0.4, 5, (2, 2)), (3.0, 6, (1, 0))]:
        decode.sample(model, logits, tokens(*prompt), max_length=5, key=jax.random.key(seed), temperature=heat)
    assert len(model.traces) <= 2  # one for the shapes, one for the loop
    decode.greedy(model, logits, tokens(1, 2), max_length=5, end=2)
    decode.sample(model, logits, tokens(1, 0), max_length=5, key=jax.random.key(6), temperature=0.0, top_k=2)
    assert len(model.traces) <= 4
    for top_k, part in [(2, 0.5), (3, 0.9)]:
        tail = {"top_k": top_k, "top_p": part, "min_p": part / 10, "typical_p": part}
        decode.sample(model, logits, tokens(0, 1), max_length=5, key=jax.random.key(1), **tail)
    assert len(model.traces) <= 6


def test_it_works_under_jit():
    run = jax.jit(lambda logits, batch, key: decode.sample(Table(), logits, batch, max_length=5, key=key))
    expected = decode.sample(Table(), table(), tokens(0, 1), max_length=5, key=jax.random.key(3))
    assert run(table(), tokens(0, 1), jax.random.key(3)).tokens.tolist() == expected.tokens.tolist()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": None}, "max_length is None, it must be an integer"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": 0.0}, "min_p is 0.0"),
        ({"typical_p": 2.0}, "typical_p is 2.0"),
        ({"end": -1}, "end is -1, it must be a symbol of the vocabulary"),
        ({"end": 5}, "end names symbol 5, the vocabulary has 0 to 4"),
        ({"end": 1.5}, "end is 1.5, it must be an integer"),
    ],
)
@pytest.mark.parametrize("search", [decode.sample, decode.stream])
def test_bad_values_are_told_in_one_line(search, options, line):
    with pytest.raises(InputError, match=line) as caught:
        search(Table(), table(), tokens(0), **{"max_length": 5, "key": jax.random.key(0)} | options)
    assert "\n" not in str(caught.value)
