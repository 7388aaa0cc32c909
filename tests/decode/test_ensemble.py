"""Several decoders as one: means by hand, one member as itself, and every search over it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, decode
from seqjax.errors import InputError
from seqjax.models.language_model import LanguageModel
from tests import oracles
from tests.decode.toys import END, Table, Tree, rows, table, tokens

V, L = 4, 3


@pytest.mark.parametrize("average", ["probability", "log"])
def test_a_wide_beam_over_an_ensemble_equals_enumeration_of_the_mean(average):
    model, params = Tree(V), tuple(Tree.init(2, V, L, seed=seed) for seed in range(3))
    ensemble = decode.Ensemble((model,) * 3, average)
    decoded = decode.beam(ensemble, params, rows(0, 1), width=36, max_length=L, end=END, early_stop=False, n_best=5)
    for row in range(2):
        members = [model.lookup(member, row)[0] for member in params]

        def mean(path, members=members):
            log_p = np.stack([member(path) for member in members])
            if average == "probability":
                return np.log(np.exp(log_p).mean(axis=0))
            return log_p.mean(axis=0) - np.log(np.exp(log_p.mean(axis=0)).sum())

        expected = oracles.hypotheses(mean, symbols=V, max_length=L, end=END)[:5]
        np.testing.assert_allclose(decoded.scores[row], [score for score, _ in expected], rtol=2e-5)
        assert tuple(decoded.tokens[row, 0, : decoded.lengths[row, 0]].tolist()) == expected[0][1]


@pytest.mark.parametrize(("members", "average"), [(1, "probability"), (3, "log")])
def test_an_ensemble_of_equal_members_is_the_member(members, average):
    ensemble, params = decode.Ensemble((Table(),) * members, average), (table(),) * members
    expected = decode.greedy(Table(), table(), tokens(0, 1), max_length=6, end=END)
    decoded = decode.greedy(ensemble, params, tokens(0, 1), max_length=6, end=END)
    np.testing.assert_array_equal(decoded.tokens, expected.tokens)
    np.testing.assert_allclose(decoded.scores, expected.scores, rtol=1e-5)
    drawn = decode.sample(ensemble, params, tokens(0, 1), max_length=6, end=END, key=jax.random.key(0))
    expected = decode.sample(Table(), table(), tokens(0, 1), max_length=6, end=END, key=jax.random.key(0))
    np.testing.assert_array_equal(drawn.tokens, expected.tokens)


def test_a_symbol_impossible_for_one_member_is_impossible_only_in_the_mean_of_logs():
    params = (table(), table().at[:, 2].set(-jnp.inf))
    for average, possible in [("probability", True), ("log", False)]:
        ensemble = decode.Ensemble((Table(), Table()), average)
        memory, state, token = ensemble.start(params, tokens(0))
        _, logits = ensemble.step(params, memory, state, token)
        assert bool(jnp.isfinite(logits[0, 2])) == possible
        np.testing.assert_allclose(jnp.exp(logits).sum(), 1, rtol=1e-5)
    _, logits = ensemble.step((params[1],) * 2, memory, state, token)
    assert logits[0, 2] == -jnp.inf and not bool(jnp.isnan(logits).any())


def test_models_of_different_kinds_decode_together():
    models = tuple(LanguageModel(vocabulary_size=5, cell=cell(input_size=5, hidden_size=4)) for cell in (GRU, LSTM))
    params = tuple(model.init(jax.random.key(0)) for model in models)
    prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "tokens_lengths": jnp.array([2, 1])}
    decoded = decode.beam(decode.Ensemble(models), params, prompts, width=3, max_length=6, end=END)
    scored = decode.score(decode.Ensemble(models), params, prompts, decoded.tokens, decoded.lengths)
    np.testing.assert_allclose(scored.scores, decoded.scores, rtol=1e-5)


def test_its_weights_are_the_mean_over_the_members_that_attend():
    params, batch = (Tree.init(2, 5, 2, seed=0), table(), Tree.init(2, 5, 2, seed=1)), rows(0, 1) | tokens(0, 0)
    ensemble = decode.Ensemble((Tree(5), Table(), Tree(5)))
    outputs = jnp.array([[1, 2], [0, 3]]), jnp.array([2, 2])
    weights = [decode.attention(Tree(5), params[i], batch, *outputs) for i in (0, 2)]
    np.testing.assert_allclose(decode.attention(ensemble, params, batch, *outputs), (weights[0] + weights[1]) / 2, rtol=1e-6)
    assert ensemble.attends and not decode.Ensemble((Table(),)).attends
    with pytest.raises(InputError, match="needs attention weights, and this Ensemble has none"):
        decode.beam(decode.Ensemble((Table(),)), (table(),), tokens(0), width=2, max_length=3, coverage_penalty=0.1)


def test_a_recogniser_and_a_language_model_are_fused_each_with_its_batch_first_symbol_and_weight():
    """Scores are sums that are not normalised: those of enumeration, in every search."""
    forest, chain = Tree.init(2, V, L, seed=3), table(7, V)
    fused = decode.Ensemble((Tree(V), Table()), "fusion", (1.0, 0.4))
    batch, params = (rows(0, 1), tokens(2, 3)), (forest, chain)  # Tree begins with 0, Table with 2 and 3
    decoded = decode.beam(fused, params, batch, width=36, max_length=L, end=END, early_stop=False, n_best=36)
    scored = decode.score(fused, params, batch, decoded.tokens, decoded.lengths)
    np.testing.assert_allclose(scored.scores, decoded.scores, rtol=1e-5)
    draws = decode.sample(fused, params, batch, max_length=L, end=END, key=jax.random.key(0), samples=3)
    np.testing.assert_allclose(decode.score(fused, params, batch, *draws[:2]).scores, draws.scores, rtol=1e-5)
    greedy = decode.greedy(fused, params, batch, max_length=L, end=END)
    for row, first in enumerate((2, 3)):
        distribution, _ = Tree(V).lookup(forest, row)

        def score(path, distribution=distribution, first=first):
            return distribution(path) + 0.4 * np.asarray(chain[path[-1] if path else first], np.float64)

        expected = oracles.hypotheses(score, symbols=V, max_length=L, end=END)[:36]
        paths = [tuple(path[:n].tolist()) for path, n in zip(decoded.tokens[row], decoded.lengths[row], strict=True)]
        assert paths == [path for _, path in expected]
        np.testing.assert_allclose(decoded.scores[row], [value for value, _ in expected], rtol=1e-5)
        path = tuple(greedy.tokens[row, : greedy.lengths[row]].tolist())
        assert all(symbol == np.argmax(score(path[:i])) for i, symbol in enumerate(path))


@pytest.mark.parametrize("average", ["probability", "log"])
def test_weights_count_as_copies_of_a_member(average):
    params = tuple(table(seed) for seed in range(2))
    decoded = decode.greedy(decode.Ensemble((Table(),) * 2, average, (4.0, 2.0)), params, tokens(0, 1, 2), max_length=5)
    expected = decode.greedy(decode.Ensemble((Table(),) * 3, average), (*params, params[0]), tokens(0, 1, 2), max_length=5)
    np.testing.assert_array_equal(decoded.tokens, expected.tokens)
    np.testing.assert_allclose(decoded.scores, expected.scores, rtol=1e-5)


def test_members_with_other_places_are_left_out_of_the_mean():
    ensemble, params = decode.Ensemble((Tree(5), Tree(5))), (Tree.init(2, 5, 2, source=3), Tree.init(2, 5, 2, source=4))
    outputs = jnp.array([[1, 2], [0, 3]]), jnp.array([2, 2])
    weights = decode.attention(ensemble, params, rows(0, 1), *outputs)
    np.testing.assert_allclose(weights, decode.attention(Tree(5), params[0], rows(0, 1), *outputs), rtol=1e-6)


def test_what_is_impossible_for_all_members_ends_the_row():
    for average in ("probability", "log", "fusion"):
        params = (table().at[:, :3].set(-jnp.inf), table().at[:, 3:].set(-jnp.inf))
        decoded = decode.greedy(decode.Ensemble((Table(),) * 2, average), params, tokens(0), max_length=3)
        assert (decoded.scores[0] == -jnp.inf) == (average != "probability")
        assert decoded.lengths[0] == (3 if average == "probability" else 0)


@pytest.mark.parametrize("average", ["probability", "log", "fusion"])
def test_nan_of_one_member_is_told_though_another_makes_a_symbol_impossible(average):
    ensemble = decode.Ensemble((Table(),) * 2, average)
    params = (table().at[:, 0].set(-jnp.inf), table().at[:, 2].set(jnp.nan))
    greedy = decode.greedy(ensemble, params, tokens(0), max_length=3)
    beams = decode.beam(ensemble, params, tokens(0), width=2, max_length=3)
    scored = decode.score(ensemble, params, tokens(0), jnp.zeros((1, 1), jnp.int32), jnp.array([1]))
    assert np.isnan([greedy.scores[0], beams.scores[0, 0], scored.scores[0]]).all()
    assert greedy.lengths.tolist() == [0] and beams.lengths.tolist() == [[0]]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (((), "log"), r"models is \(\), it must be a tuple"),
        (((Table(),), "mean"), "average is 'mean', it must be one of"),
        (((Table(),), "log", (1.0, 2.0)), r"weights is \(1.0, 2.0\), it must be a tuple of 1 numbers"),
        (((Table(),), "log", (-1.0,)), "its numbers must be at least 0 and finite, and not all 0"),
        (((Table(),), "fusion", (0.0,)), "its numbers must be finite, and not all 0"),
    ],
)
def test_what_cannot_be_an_ensemble_is_refused(arguments, line):
    with pytest.raises(InputError, match=line):
        decode.Ensemble(*arguments)


def test_members_that_do_not_fit_are_told_in_one_line():
    pair = decode.Ensemble((Table(), Table()))
    with pytest.raises(InputError, match="an ensemble of 2 models was given a tuple of 1"):
        decode.greedy(pair, (table(),), tokens(0), max_length=2)
    with pytest.raises(InputError, match=r"vocabularies of \[5, 6\] symbols"):
        decode.greedy(pair, (table(), table(symbols=6)), tokens(0), max_length=2)
    with pytest.raises(InputError, match=r"read \[1, 2\] rows: their numbers must be equal"):
        pair.start((table(), table()), (tokens(3), tokens(3, 4)))
    with pytest.raises(InputError, match="2 models was given a tuple of 1: give a tuple with each model's batches"):
        pair.start((table(), table()), (tokens(3),))
