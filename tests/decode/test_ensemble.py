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


@pytest.mark.parametrize(
    ("models", "average", "line"),
    [((), "log", r"models is \(\), it must be a tuple"), ((Table(),), "mean", "average is 'mean', it must be one of")],
)
def test_what_cannot_be_an_ensemble_is_refused(models, average, line):
    with pytest.raises(InputError, match=line):
        decode.Ensemble(models, average)


def test_members_that_do_not_fit_are_told_in_one_line():
    pair = decode.Ensemble((Table(), Table()))
    with pytest.raises(InputError, match="an ensemble of 2 models was given a tuple of 1"):
        decode.greedy(pair, (table(),), tokens(0), max_length=2)
    with pytest.raises(InputError, match=r"vocabularies of \[5, 6\] symbols"):
        decode.greedy(pair, (table(), table(symbols=6)), tokens(0), max_length=2)
    other = decode.Ensemble((Table(), Tree(5)))
    with pytest.raises(InputError, match="models 0 and 1 begin with different symbols"):
        other.start((table(), Tree.init(1, 5, 2)), tokens(3) | rows(0))
