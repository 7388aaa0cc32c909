"""Greedy search and sampling over a decoder whose distribution is a table, against enumeration by brute force."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from seqjax import decode
from seqjax.decode import sampling
from seqjax.decode.filters import Filters, apply_filters
from seqjax.errors import InputError
from tests.decode.toys import Table, log_p_of, table, tokens

END = 3
L, FIRST = 6, (0, 1, 2, 3, 4)  # one shape for all tests: each search compiles once
BATCH = tokens(*FIRST)
filtered = jax.jit(apply_filters)


def test_greedy_is_the_argmax_loop():
    logits = table()
    decoded = decode.greedy(Table(), logits, BATCH, max_length=L)
    for row, first in enumerate(FIRST):
        path, at = [], first
        for _ in range(L):
            at = int(np.argmax(logits[at]))
            path.append(at)
        assert decoded.tokens[row].tolist() == path
        assert decoded.lengths[row] == L
        np.testing.assert_allclose(decoded.scores[row], log_p_of(logits, path, first), rtol=1e-5)


def test_a_row_ends_at_end_and_the_others_go_on():
    logits = jnp.log(jnp.eye(5)[jnp.array([1, 2, END, 0, 4])] * 0.9 + 0.02)
    decoded = decode.greedy(Table(), logits, BATCH, max_length=L, end=END)
    assert decoded.tokens[jnp.array([0, 2, 4])].tolist() == [[1, 2, END, 0, 0, 0], [END, 0, 0, 0, 0, 0], [4] * L]
    assert decoded.lengths.tolist() == [3, 2, 1, 4, L]
    np.testing.assert_allclose(decoded.scores, np.log(0.92) * np.array([3, 2, 1, 4, L]), rtol=1e-5)


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


def brute_filter(probabilities, top_k=None, top_p=None, min_p=None, typical_p=None):
    """The symbols that stay, computed in the slowest way there is."""

    def fewest(ranked, share):
        mass, symbols, total = sum(probabilities[i] for i in ranked), [], 0.0
        for i in ranked:
            if share is not None and total >= share:
                break
            symbols.append(i)
            total += probabilities[i] / mass
        return symbols

    ranked = sorted(range(len(probabilities)), key=lambda i: (-probabilities[i], i))[: top_k or None]
    ranked = fewest(ranked, top_p)
    ranked = [i for i in ranked if probabilities[i] >= (min_p or 0) * probabilities[ranked[0]]]
    mass = sum(probabilities[i] for i in ranked)
    surprise = {i: -math.log(probabilities[i] / mass) for i in ranked}
    entropy = sum(probabilities[i] / mass * surprise[i] for i in ranked)
    ranked = sorted(ranked, key=lambda i: (abs(surprise[i] - entropy), i))
    return set(fewest(ranked, typical_p))


TOP_K, TOP_P = (1, 2, 4, 99), (0.05, 0.33, 0.62, 0.9, 1.0)
REST = {
    (): [{}],
    ("min_p",): [{"min_p": 0.3}],
    ("typical_p",): [{"typical_p": 0.6}],
    ("min_p", "typical_p"): [{"min_p": 0.1, "typical_p": 0.4}, {"min_p": 1.0, "typical_p": 1.0}],
}


@pytest.mark.parametrize("rest", REST, ids=str)
@pytest.mark.parametrize("has_top_p", [False, True])
@pytest.mark.parametrize("has_top_k", [False, True])
def test_filters_equal_enumeration(has_top_k, has_top_p, rest):
    """Each of the 16 sets of filters is one program, run with every combination of values: 150 in all."""
    logits = np.concatenate([table(seed) for seed in range(6)])  # 30 distributions
    probabilities = np.exp(logits.astype(np.float64))
    values = itertools.product(TOP_K if has_top_k else (None,), TOP_P if has_top_p else (None,), REST[rest])
    for top_k, top_p, others in values:
        options = {"top_k": top_k, "top_p": top_p} | others
        dtypes = {"top_k": np.int32}
        arrays = {name: np.asarray(v, dtypes.get(name, np.float32)) for name, v in options.items() if v}
        result = np.asarray(filtered(logits, Filters(**arrays)))
        for row, of_row in zip(probabilities, result, strict=True):
            assert set(np.flatnonzero(np.isfinite(of_row))) == brute_filter(row, **options), options
        np.testing.assert_array_equal(result[np.isfinite(result)], logits[np.isfinite(result)])


def test_ties_go_to_the_smaller_symbol():
    for filters in ({"top_k": np.int32(2)}, {"top_p": np.float32(0.35)}, {"typical_p": np.float32(0.35)}):
        result = np.isfinite(filtered(np.zeros((30, 5), np.float32), Filters(**filters)))
        assert result.tolist() == [[True, True, False, False, False]] * 30


def test_the_likeliest_is_not_the_most_typical():
    log_p = np.log(np.tile(np.array([0.4, 0.15, 0.15, 0.15, 0.15], np.float32), (30, 1)))
    assert np.isfinite(filtered(log_p, Filters(typical_p=np.float32(0.5))))[0].tolist() == [False, True, True, True, True]


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"temperature": 1.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8}],
    ids=str,
)
def test_frequencies_are_the_enumerated_probabilities(options):
    logits, rows = table(3), 4000
    decoded = decode.sample(Table(), logits, tokens(*[2] * rows), max_length=2, key=jax.random.key(7), **options)
    heat, filters = options.get("temperature", 1.0), {name: value for name, value in options.items() if name != "temperature"}
    first, second = np.zeros((5,)), np.zeros((5, 5))
    np.add.at(first, np.asarray(decoded.tokens[:, 0]), 1)
    np.add.at(second, tuple(np.asarray(decoded.tokens).T), 1)
    for symbol, counts in [(2, first), *enumerate(second)]:
        scaled = np.exp(np.asarray(logits[symbol], np.float64) / heat)
        scaled /= scaled.sum()
        likely = sorted(brute_filter(scaled, **filters))
        assert set(np.flatnonzero(counts)) <= set(likely)
        if counts.sum() > 100 and len(likely) > 1:
            expected = scaled[likely] / scaled[likely].sum() * counts.sum()
            assert chi_square(counts[likely], expected) < 22  # 4 degrees of freedom: p = 2e-4


def drawn(seed, logits=None, **options):
    logits = table() if logits is None else logits
    return decode.sample(Table(), logits, BATCH, max_length=L, key=jax.random.key(seed), **options)


FILTERED = {"temperature": 0.3, "top_k": 2, "top_p": 0.9}


def test_scores_are_of_the_models_own_distribution():
    decoded = drawn(2, table(1), **FILTERED)
    for row, first in enumerate(FIRST):
        expected = log_p_of(table(1), decoded.tokens[row].tolist(), first)
        np.testing.assert_allclose(decoded.scores[row], expected, rtol=1e-5)


def test_the_same_key_draws_the_same_and_another_does_not():
    assert drawn(1).tokens.tolist() == drawn(1).tokens.tolist()
    assert drawn(1).tokens.tolist() != drawn(2).tokens.tolist()


OPTIONS = [{}, {"temperature": 0.0}, FILTERED, {"end": END, "min_p": 0.1, "no_repeat_ngram": 2, "banned": (1,)}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_stream_equals_sample(options):
    decoded = drawn(4, table(5), **options)
    columns = list(decode.stream(Table(), table(5), BATCH, max_length=L, key=jax.random.key(4), **options))
    assert all(column.dtype == np.int32 and column.shape == (5,) for column in columns)
    np.testing.assert_array_equal(np.stack(columns, axis=1), decoded.tokens[:, : len(columns)])
    assert len(columns) == int(decoded.lengths.max())


@pytest.mark.parametrize("search", ["greedy", "sample", "beam", "stream"])
def test_what_a_decoder_makes_impossible_or_not_a_number_ends_a_row_in_every_search(search):
    """Row b is well until step b, then gives -inf or NaN alone: its output is what it wrote before."""

    @dataclasses.dataclass(frozen=True)
    class Dying(Table):
        def step(self, params, memory, state, token):
            return state + 1, jnp.where(state[:, None] < jnp.arange(3)[:, None], params["logits"][token], params["then"])

    for then in (-math.inf, math.nan):
        params, every = {"logits": table(), "then": jnp.array(then)}, {"max_length": 4}
        healthy = decode.greedy(Table(), table(), tokens(0, 1, 2), **every)
        if search == "stream":
            columns = [*decode.stream(Dying(), params, tokens(0, 1, 2), key=jax.random.key(0), temperature=0.0, **every)]
            assert len(columns) == 3
            continue
        options = {"sample": {"key": jax.random.key(0), "top_k": 1}, "beam": {"width": 1}}.get(search, {})
        decoded = getattr(decode, search)(Dying(), params, tokens(0, 1, 2), **every, **options)
        symbols, lengths, scores = (leaf.reshape(3, *leaf.shape[2:] if search == "beam" else leaf.shape[1:]) for leaf in decoded)
        assert lengths.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(scores, np.full(3, then, np.float32))
        for row in range(3):
            assert symbols[row].tolist() == [*healthy.tokens[row, :row].tolist(), *[0] * (4 - row)]
        scored = decode.score(Dying(), params, tokens(0, 1, 2), np.full((3, 3), 1), np.array([1, 2, 3]))
        np.testing.assert_array_equal(scored.scores, scores)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32])
def test_scores_are_exact_over_many_symbols(dtype):
    logits, steps = jnp.array([[0, 1, 2, 3]] * 4, dtype), 20_000
    decoded = decode.greedy(Table(), logits, tokens(0), max_length=steps)
    exact = -steps * float(np.log(np.exp(np.arange(4.0) - 3).sum()))
    for scores in (
        decoded.scores,
        decode.sample(Table(), logits, tokens(0), max_length=steps, key=jax.random.key(0), top_k=1).scores,
        decode.beam(Table(), logits, tokens(0), max_length=steps, width=1).scores[0],
        decode.score(Table(), logits, tokens(0), decoded.tokens, decoded.lengths).scores,
    ):
        assert scores[0] == np.float32(exact) and scores.dtype == jnp.float32


def test_traced_numbers_are_options_too_and_zero_is_greedy():
    def run(temperature, share, k):
        return drawn(3, temperature=temperature, top_p=share, top_k=k)

    traced = jax.jit(run)
    for heat, share, k in [(0.7, 0.9, 3), (0.0, 0.5, 2)]:
        np.testing.assert_array_equal(traced(heat, share, k).tokens, run(heat, share, k).tokens)
    np.testing.assert_array_equal(traced(0.0, 1.0, 5).tokens, decode.greedy(Table(), table(), BATCH, max_length=L).tokens)

    def penalised(alpha, beta):
        options = {"diversity": beta, "groups": 2, "end": END}
        return decode.beam(Table(), table(), BATCH, width=2, max_length=L, length_penalty=alpha, **options)

    np.testing.assert_allclose(jax.jit(penalised)(0.8, 0.3).scores, penalised(0.8, 0.3).scores, rtol=1e-6)


def test_any_length_below_a_power_of_two_is_one_program():
    model = Table(name="of any length")
    longest = decode.greedy(model, table(), BATCH, max_length=20, end=END)
    for length in (1, 7, 13):
        decoded = decode.greedy(model, table(), BATCH, max_length=length, end=END)
        np.testing.assert_array_equal(decoded.tokens, longest.tokens[:, :length])
    assert 1 <= len(model.traces) <= 2


def test_a_share_below_the_least_number_keeps_the_likeliest():
    for option in ("top_p", "typical_p"):
        assert drawn(0, jnp.tile(jnp.arange(5.0), (5, 1)) ** 3, **{option: 1e-50}).tokens.tolist() == [[4] * L] * 5


def test_temperature_zero_is_argmax_and_a_tiny_one_does_not_overflow():
    cold = decode.greedy(Table(), table(2) * 10, BATCH, max_length=L).tokens.tolist()
    for heat in (0.0, 1e-30, 1e-50):
        assert drawn(0, table(2) * 10, temperature=heat).tokens.tolist() == cold


@pytest.mark.parametrize("heat", [1e30, 1e300, math.inf])
def test_the_hottest_draw_is_uniform_over_what_is_possible(heat):
    logits = jnp.where(jnp.arange(5) == 1, -jnp.inf, table(6) * 5)
    decoded = decode.sample(Table(), logits, tokens(*[2] * 4000), max_length=2, key=jax.random.key(0), temperature=heat)
    counts = np.bincount(decoded.tokens[:, 0], minlength=5)
    assert counts[1] == 0
    assert chi_square(counts[[0, 2, 3, 4]], 1000) < 20  # 3 degrees of freedom: p = 2e-4


@pytest.mark.parametrize("symbols", [5, 1000])
def test_no_uniform_number_draws_an_impossible_symbol(symbols):
    # Most symbols are impossible; sums over blocks of a long row round up between those that are not.
    rng = np.random.default_rng(1)
    possible = rng.random((200, symbols)) < 0.1
    possible[:, 2] = True
    logits = np.where(possible, rng.standard_normal((200, symbols)), -np.inf).astype(np.float32)
    draw = sampling._Draw(jax.random.key(0), jnp.float32(1.0), Filters())
    draw_rows = jax.jit(lambda uniform: sampling._drawn(logits - logits.max(axis=1, keepdims=True), draw, uniform))
    for uniform in (0.0, 0.25, 0.5, 1 - 2**-23):
        symbol = np.asarray(draw_rows(np.full(200, uniform, np.float32)))
        assert np.take_along_axis(possible, symbol[:, None], axis=1).all()
        if uniform == 0:
            assert symbol.tolist() == np.argmax(possible, axis=1).tolist()


def test_ties_of_the_likeliest_go_to_the_smaller_symbol():
    logits = jnp.zeros((5, 5)).at[:, 0].set(-1.0)
    assert decode.greedy(Table(), logits, BATCH, max_length=L).tokens.tolist() == [[1] * L] * 5


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
            return decode.sample(Table(), logits, BATCH, max_length=L, key=key, temperature=temperature)

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
    assert 1 <= len(model.traces) <= 2  # one for the shapes, one for the loop
    decode.greedy(model, logits, tokens(1, 2), max_length=5, end=2)
    decode.sample(model, logits, tokens(1, 0), max_length=5, key=jax.random.key(6), temperature=0.0, top_k=2)
    assert 1 <= len(model.traces) <= 4
    for top_k, part in [(2, 0.5), (3, 0.9)]:
        filters = {"top_k": top_k, "top_p": part, "min_p": part / 10, "typical_p": part}
        decode.sample(model, logits, tokens(0, 1), max_length=5, key=jax.random.key(1), **filters)
    assert 1 <= len(model.traces) <= 6


def test_it_works_under_jit():
    run = jax.jit(lambda logits, batch, key: decode.sample(Table(), logits, batch, max_length=L, key=key))
    assert run(table(), BATCH, jax.random.key(3)).tokens.tolist() == drawn(3).tokens.tolist()


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
        ({"temperature": None}, "temperature is None, it must be a number"),
        ({"temperature": np.ones(1)}, r"temperature is an array float64\[1\], it must be one number"),
    ],
)
@pytest.mark.parametrize("search", [decode.sample, decode.stream])
def test_bad_values_are_told_in_one_line(search, options, line):
    with pytest.raises(InputError, match=line) as caught:
        search(Table(), table(), BATCH, **{"max_length": L, "key": jax.random.key(0)} | options)
    assert "\n" not in str(caught.value)
