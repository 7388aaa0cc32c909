"""Beam search against enumeration, against a loop over lists, against `greedy`, and against itself in other batches."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, decode
from seqjax.decode.candidates import largest
from seqjax.errors import InputError
from seqjax.models.language_model import LanguageModel
from tests import oracles
from tests.decode.toys import END, Table, Tree, Trie, log_p_of, rows, table, tokens

V, L = 4, 4
WIDE = (V - 1) ** (L - 1) * V  # holds all prefixes of a length, ended or not
ROWS, FIVE = rows(0, 1, 2, 3), tokens(0, 1, 2, 3, 4)


def paths(decoded, row):
    """[(score, path)] of the hypotheses that are not missing."""
    of_row = zip(decoded.tokens[row], decoded.lengths[row], decoded.scores[row], strict=True)
    return [(float(score), tuple(path[:length].tolist())) for path, length, score in of_row if length]


@functools.cache
def forest(seed=0):
    return Tree.init(4, V, L, seed=seed, sharpness=1.5)


def wide(params, batch=ROWS, end=END, **options):
    """A search whose width holds all prefixes, without early stop; one program for each end and coverage on or off."""
    width = WIDE if end is not None else V**L
    limits = {"width": width, "n_best": WIDE, "max_length": L, "end": end, "early_stop": False}
    return decode.beam(Tree(V), params, batch, **limits, **options)


PENALTIES = [(0.0, 0.0), (0.7, 0.0), (2.0, 0.0), (0.0, 0.4), (1.0, 0.2)]


@pytest.mark.parametrize(("end", "alpha", "beta"), [*((END, *of) for of in PENALTIES), (None, 0.0, 0.4), (None, 1.0, 0.2)])
def test_a_wide_beam_equals_enumeration(end, alpha, beta):
    decoded = wide(forest(), end=end, length_penalty=alpha, coverage_penalty=beta)
    for row in range(4):
        distribution, weights = Tree(V).lookup(forest(), row)
        every = {"symbols": V, "max_length": L, "end": end, "alpha": alpha, "beta": beta, "weights": weights}
        expected = oracles.hypotheses(distribution, **every)[:WIDE]
        assert [path for _, path in paths(decoded, row)][:12] == [path for _, path in expected[:12]]
        np.testing.assert_allclose(decoded.scores[row], [score for score, _ in expected], rtol=2e-5, atol=1e-5)


def test_what_is_cut_off_comes_after_all_that_ended():
    decoded = wide(forest())
    for row in range(4):
        expected = oracles.hypotheses(Tree(V).lookup(forest(), row)[0], symbols=V, max_length=L, end=END)
        assert [path for _, path in paths(decoded, row)] == [path for _, path in expected[:WIDE]]
        ended = [path[-1] == END for _, path in paths(decoded, row)]
        assert ended == [True] * 40 + [False] * (WIDE - 40)  # 1 + 3 + 9 + 27 end


def test_the_best_path_of_a_markov_chain_is_not_the_greedy_one():
    # From 1 the likeliest symbol is 2, but after it all is uncertain; by way of 3 the rest is nearly sure.
    p = np.full((5, 5), 1e-3)
    p[1, 2], p[1, 3] = 0.55, 0.44
    p[2] = 0.2
    p[3, 4], p[4, END] = 0.99, 0.99
    logits = jnp.log(jnp.asarray(p / p.sum(axis=1, keepdims=True), jnp.float32))
    assert decode.greedy(Table(), logits, FIVE, max_length=6, end=END).tokens[1, 0] == 2
    decoded = decode.beam(Table(), logits, FIVE, width=3, max_length=6, end=END)
    assert decoded.tokens[1].tolist() == [[3, 4, END, 0, 0, 0]]
    np.testing.assert_allclose(decoded.scores[1, 0], log_p_of(logits, [3, 4, END], 1), rtol=1e-5)


@pytest.mark.parametrize(("end", "max_length"), [(END, 6), (3, 6), (None, 6), (END, 1)])
def test_width_one_is_greedy(end, max_length):
    batch = FIVE
    for seed in range(5):
        every = {"max_length": max_length, "end": end}
        decoded = decode.beam(Table(), table(seed), batch, width=1, **every)
        expected = decode.greedy(Table(), table(seed), batch, **every)
        np.testing.assert_array_equal(decoded.tokens[:, 0], expected.tokens)
        np.testing.assert_array_equal(decoded.lengths[:, 0], expected.lengths)
        np.testing.assert_allclose(decoded.scores[:, 0], expected.scores, rtol=1e-5)
        penalised = decode.beam(Table(), table(seed), batch, width=1, length_penalty=0.8, **every)
        np.testing.assert_array_equal(penalised.tokens, decoded.tokens)
        np.testing.assert_allclose(penalised.scores, decoded.scores / ((5 + decoded.lengths) / 6) ** 0.8, rtol=1e-5)


@functools.cache
def language_model():
    """One whose outputs differ in length."""
    model = LanguageModel(vocabulary_size=7, cell=GRU(input_size=6, hidden_size=16), embedding_size=6, forbidden=(2,))
    params = model.init(jax.random.key(3))
    projection = {"kernel": params["projection"]["kernel"] * 6, "bias": params["projection"]["bias"].at[END].set(-1.0)}
    return model, params | {"cell": jax.tree.map(lambda leaf: 2 * leaf, params["cell"]), "projection": projection}


OPTIONS = [
    {"n_best": 4, "length_penalty": 0.8},
    {"n_best": 4, "early_stop": False, "length_penalty": 1.5},
    {"groups": 2, "diversity": 0.7, "n_best": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_batch_of_mixed_lengths_equals_its_rows_beside_others(options):
    model, params = language_model()
    random, lengths = np.random.default_rng(3), [1, 5, 2, 3, 4]
    prompts = random.integers(3, 7, (5, 5))
    every = {"width": 4, "max_length": 14, "end": END} | options
    together = decode.beam(model, params, {"tokens": prompts, "tokens_lengths": np.array(lengths)}, **every)
    assert len(set(together.lengths[:, 0].tolist())) > 1  # they do not end together
    for row, length in enumerate(lengths):
        others = random.integers(3, 7, (4, length))  # beside others, and without padding
        batch = {"tokens": np.concatenate([prompts[row : row + 1, :length], others]), "tokens_lengths": np.full(5, length)}
        alone = decode.beam(model, params, batch, **every)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_array_equal(alone.lengths[0], together.lengths[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-5, atol=1e-5)


def reference(model, params, row, *, width, max_length, end, alpha=0.0, early_stop=True, n_best=1, groups=1, diversity=0.0):
    """Beam search in the slowest way there is: lists of paths, one group after the other."""
    distribution, _ = model.lookup(params, row)
    k = width // groups
    live, ended = [[((), 0.0)] for _ in range(groups)], [[] for _ in range(groups)]
    best_first = functools.partial(sorted, key=lambda pair: -pair[0])
    for step in range(1, max_length + 1):
        taken = np.zeros(model.symbols)
        for g in range(groups):
            candidates = [((*path, v), p + gain) for path, p in live[g] for v, gain in enumerate(distribution(path))]
            candidates.sort(key=lambda c: -c[1] + diversity * taken[c[0][-1]])
            closing = [(path, p) for path, p in candidates[:k] if path[-1] == end]
            live[g] = [(path, p) for path, p in candidates if path[-1] != end][:k]
            np.add.at(taken, [path[-1] for path, _ in closing + live[g]], 1)
            ended[g] = best_first(ended[g] + [(p / ((5 + step) / 6) ** alpha, path) for path, p in closing])
            longest = step if early_stop else max_length
            best = max((p for _, p in live[g]), default=-np.inf) / ((5 + longest) / 6) ** alpha
            if len(ended[g]) >= k and best <= ended[g][k - 1][0]:
                live[g] = []
    every = []
    for g in range(groups):
        cut = best_first([(p / ((5 + max_length) / 6) ** alpha, path) for path, p in live[g]])
        every += (ended[g] + cut)[:k]
    ranked = sorted(every, key=lambda pair: (pair[1][-1] != end, -pair[0]))
    return [pair for n, pair in enumerate(ranked) if pair[1] not in [path for _, path in ranked[:n]]][:n_best]


NARROW = [
    {"width": 2, "n_best": 2},
    {"width": 5, "n_best": 2},
    {"width": 6, "groups": 3, "n_best": 5},
    {"width": 3, "groups": 3, "n_best": 2},
]


def narrow(params, **options):
    return decode.beam(Tree(V), params, ROWS, **{"max_length": L, "end": END} | options)


@pytest.mark.parametrize("options", NARROW, ids=str)
def test_a_narrow_beam_equals_the_loop_over_lists(options):
    diversities = (0.0, 0.9, 5.0) if "groups" in options else (0.0,)
    for seed, alpha, early_stop, diversity in itertools.product(range(2), (0.0, 1.2), (True, False), diversities):  # one program
        params = Tree.init(4, V, L, seed=seed, sharpness=1.2)
        decoded = narrow(params, length_penalty=alpha, early_stop=early_stop, diversity=diversity, **options)
        for row in range(4):
            limits = {"max_length": L, "end": END, "early_stop": early_stop, "diversity": diversity}
            expected = reference(Tree(V), params, row, alpha=alpha, **limits, **options)
            assert [path for _, path in paths(decoded, row)] == [path for _, path in expected]
            np.testing.assert_allclose([s for s, _ in paths(decoded, row)], [s for s, _ in expected], rtol=2e-5)


def test_the_first_of_several_is_the_one_of_one_and_no_other_number_compiles():
    model = Tree(V, name="of every n_best")
    for seed in range(4):
        params = Tree.init(4, V, L, seed=seed, sharpness=1.2)
        every = {"width": 4, "max_length": L, "end": END, "length_penalty": 1.0}
        four, *fewer = (decode.beam(model, params, ROWS, n_best=n, **every) for n in (4, 3, 1))
        for some in fewer:
            for leaf, other in zip(some, four, strict=True):
                np.testing.assert_array_equal(leaf, other[:, : leaf.shape[1]])
    assert 1 <= len(model.traces) <= 2


CAPTIONS = {
    "a steam engine train travelling down train tracks": 0.24,
    "a steam engine train travelling down tracks": 0.17,
    "a steam engine train travelling through a forest": 0.16,
    "a steam engine train travelling through a lush green forest": 0.11,
    "an old steam engine train travelling down train tracks": 0.12,
    "an old steam engine train travelling through a forest": 0.08,
    "the train is on the tracks in a wooded area": 0.07,
    "the train is on the tracks in a rural area": 0.05,
}


def test_groups_find_different_openings():
    # The slides' picture of a steam train: plain beam search tells one caption in many ways.
    words = ["<end>", *sorted({word for caption in CAPTIONS for word in caption.split()})]
    model, params = Trie.of({tuple(map(words.index, caption.split())): p for caption, p in CAPTIONS.items()}, len(words))

    def openings(**options):
        decoded = decode.beam(model, params, tokens(0), width=3, n_best=3, max_length=12, end=END, **options)
        captions = [" ".join(words[symbol] for symbol in path[:-1]) for _, path in paths(decoded, 0)]
        assert all(caption in CAPTIONS for caption in captions)
        np.testing.assert_allclose(decoded.scores[0], np.log([CAPTIONS[caption] for caption in captions]), rtol=1e-3)
        return [caption.split()[0] for caption in captions]

    assert openings() == ["a", "a", "a"]
    assert openings(groups=3, diversity=3.0) == ["a", "an", "the"]


def test_what_several_groups_find_is_returned_once():
    # Without diversity all groups find the same: as many as one of them has beams.
    decoded = narrow(forest(), width=6, groups=3, n_best=5, early_stop=False)
    one_group = narrow(forest(), width=2, n_best=2, early_stop=False)
    for row in range(4):
        assert [path for _, path in paths(decoded, row)] == [path for _, path in paths(one_group, row)]
        assert decoded.lengths[row, 2:].tolist() == [0] * 3 and not decoded.tokens[row, 2:].any()
        assert decoded.scores[row, 2:].tolist() == [-math.inf] * 3


def test_no_rows_or_no_source_positions_are_searched():
    groups = {"width": 4, "n_best": 2, "groups": 2, "no_repeat_ngram": 2, "max_length": L, "end": END}
    none = {"row": jnp.zeros(0, jnp.int32)}
    assert decode.beam(Tree(V), forest(), none, coverage_penalty=0.2, **groups).tokens.shape == (0, 2, L)
    bare = forest() | {"weights": forest()["weights"][..., :0]}
    decoded = narrow(bare, width=2, n_best=2, coverage_penalty=0.2)
    np.testing.assert_array_equal(decoded.tokens, narrow(forest(), width=2, n_best=2).tokens)


def test_wider_than_the_vocabulary_is_allowed_and_the_missing_say_so():
    logits = jnp.where(jnp.arange(5) > 2, -jnp.inf, table(1))  # three symbols can be
    decoded = decode.beam(Table(), logits, tokens(1, 2), width=9, max_length=2, end=END, n_best=9, early_stop=False)
    for row in range(2):
        real = paths(decoded, row)
        assert len(real) == 1 + 2 * 3 and len({path for _, path in real}) == 7
        assert decoded.lengths[row, 7:].tolist() == [0, 0] and decoded.scores[row, 7:].tolist() == [-math.inf] * 2
        assert not decoded.tokens[row, 7:].any() and set(np.unique(decoded.tokens)) <= {0, 1, 2}


def test_ties_go_to_the_smaller_symbols():
    decoded = wide(jax.tree.map(jnp.zeros_like, forest()), end=None, coverage_penalty=0.1)
    assert [path for _, path in paths(decoded, 2)] == [*itertools.product(range(V), repeat=L)][:WIDE]


def test_a_sure_hypothesis_outlives_improbable_ones_that_end_before_it():
    sure = jnp.array(
        [[0.0, 0.0, 9.0, 0, -1], [0.0, 0.0, 9.0, 0, -1], [0.0, 0.0, 0.0, 9.0, -1], [0, 0, 0, -1, 9.0], [9.0, 1, 1, 1, 0]]
    )
    every = {"max_length": 6, "end": END}
    decoded, plain = decode.beam(Table(), sure, FIVE, width=3, **every), decode.greedy(Table(), sure, FIVE, **every)
    assert decoded.tokens[1, 0].tolist() == plain.tokens[1].tolist() == [2, 3, 4, 0, 0, 0]


def test_the_loop_stops_when_nothing_can_get_better():
    @dataclasses.dataclass(frozen=True)
    class Counting(Table):
        def step(self, params, memory, state, token):
            jax.debug.callback(lambda: steps.append(1))
            return super().step(params, memory, state, token)

    model, logits = Counting(), jnp.log(jnp.eye(5)[jnp.array([1, END, 0, 0, 0])] * 0.9 + 0.02)
    for options, fewest, most in [
        ({"width": 1}, 2, 2),  # the hypothesis that ended beats the beam: log-probabilities only fall
        ({"width": 1, "early_stop": False}, 2, 2),
        ({}, 3, 6),  # three must have ended
        ({"n_best": 3, "early_stop": False, "length_penalty": 1.0}, 7, 50),
    ]:
        steps = []
        decode.beam(model, logits, tokens(0, 1), **{"width": 3, "max_length": 50, "end": END} | options)
        jax.effects_barrier()
        assert fewest <= len(steps) <= options.get("width", 3) * most


@pytest.mark.parametrize(("symbols", "beams"), [(1, 3), (5, 3), (255, 3), (256, 3), (300, 1), (1000, 3)])
def test_the_largest_are_those_of_a_sort_and_ties_go_to_the_smaller_index(symbols, beams):
    values = np.round(3 * np.random.default_rng(symbols).standard_normal((beams, 8, symbols))).astype(np.float32)  # many ties
    values[:, 3] = -np.inf
    best, index = (np.asarray(leaf) for leaf in jax.jit(largest, static_argnums=1)(values, beams))
    flat = values.transpose(1, 0, 2).reshape(8, -1)
    expected = np.argsort(-flat, axis=1, kind="stable")[:, :beams]
    np.testing.assert_array_equal(best, np.take_along_axis(flat, expected, axis=1))
    is_live = np.isfinite(best)
    np.testing.assert_array_equal(index[is_live], expected[is_live])
    assert index.min() >= 0 and index.max() < beams * symbols


def test_padding_of_the_source_does_not_count_as_uncovered():
    params = forest() | {"weights": forest()["weights"].at[1, :, 2].set(0.0)}
    attended = jnp.array([[True, True, True], [True, True, False], [True] * 3, [True] * 3])
    decoded = wide(params, ROWS | {"attended": attended}, coverage_penalty=0.5)
    distribution, weights = Tree(V).lookup(params, 1)
    every = {"symbols": V, "max_length": L, "end": END, "beta": 0.5}
    best = oracles.hypotheses(distribution, **every, weights=lambda path: weights(path)[:2])[0]
    assert paths(decoded, 1)[0][1] == best[1]
    np.testing.assert_allclose(decoded.scores[1, 0], best[0], rtol=1e-5)
    assert wide(params, coverage_penalty=0.5).scores[1, 0] < -40  # without any attention: far worse, still finite


def test_another_batch_or_another_penalty_compiles_nothing():
    model, params = Tree(V, name="seen by no other test"), forest()
    for batch, alpha, beta, diversity, early_stop, end in [
        (rows(0, 1), 0.5, 0.1, 0.5, True, 0),
        (rows(2, 3), 1.0, 0.3, 0.0, False, 1),
        (rows(1, 1), 0.0, 0.2, 2.0, True, 3),
    ]:
        options = {"length_penalty": alpha, "coverage_penalty": beta, "diversity": diversity, "early_stop": early_stop}
        decode.beam(model, params, batch, width=4, max_length=L, end=end, groups=2, **options)
        assert 1 <= len(model.traces) <= 2  # one for the shapes, one for the loop


def test_it_works_under_jit_and_in_float64(x64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), forest())
    decoded = jax.jit(functools.partial(narrow, width=2, n_best=2))(params)
    assert decoded.scores.dtype == jnp.float64 and decoded.tokens.dtype == jnp.int32
    for row in range(4):
        expected = reference(Tree(V), forest(), row, width=2, n_best=2, max_length=L, end=END)
        assert [path for _, path in paths(decoded, row)] == [path for _, path in expected]
        np.testing.assert_allclose(decoded.scores[row], [score for score, _ in expected], rtol=1e-6)


def test_logits_in_bfloat16_are_scored_in_float32():
    decoded = decode.beam(Table(), table().astype(jnp.bfloat16), FIVE, width=3, max_length=6, end=END)
    assert decoded.scores.dtype == jnp.float32 and bool(jnp.isfinite(decoded.scores).all())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"width": 0}, "width is 0, it must be at least 1"),
        ({"width": 2.0}, "width is 2.0, it must be an integer"),
        ({"max_length": 0}, "max_length is 0"),
        ({"n_best": 4}, "n_best is 4 and width 3"),
        ({"groups": 0}, "groups is 0"),
        ({"width": 5, "groups": 2}, "width is 5, it must be a multiple of groups, 2"),
        ({"length_penalty": -0.1}, "length_penalty is -0.1"),
        ({"length_penalty": jnp.ones(1)}, r"length_penalty is an array float32\[1\], it must be one number"),
        ({"length_penalty": math.nan}, "length_penalty is nan"),
        ({"coverage_penalty": math.inf}, "coverage_penalty is inf"),
        ({"coverage_penalty": 0.2}, "coverage_penalty 0.2 needs attention weights, and this Table has none"),
        ({"diversity": -1.0}, "diversity is -1.0"),
        ({"end": -1}, "end is -1, it must be a symbol of the vocabulary"),
        ({"end": 5}, "end names symbol 5, the vocabulary has 0 to 4"),
        ({"end": 2**40}, "end is 1099511627776, it must be a symbol"),
        ({"end": 1.5}, "end is 1.5, it must be an integer"),
    ],
)
def test_bad_values_are_told_in_one_line(options, line):
    with pytest.raises(InputError, match=line) as caught:
        decode.beam(Table(), table(), FIVE, **{"width": 3, "max_length": 6, "end": END} | options)
    assert "\n" not in str(caught.value)
