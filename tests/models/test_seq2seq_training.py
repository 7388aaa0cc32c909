"""Training of an encoder-decoder: scheduled sampling, label smoothing, coverage, dropout."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode
from seqjax.losses import cross_entropy
from seqjax.models.seq2seq import Seq2Seq
from tests.catalog import leaving
from tests.models.test_seq2seq import BATCH, MODELS, START, apply, batch_for, initial, mean_loss, with_encoder

KEY = jax.random.key(5)
ROWS, STEPS = 200, 20


def forcing(p, rows=3):
    return {"teacher_forcing": jnp.full(rows, p, jnp.float32)}


# Scheduled sampling.


@pytest.mark.parametrize("name", leaving("bahdanau", of=["plain_stack", "bahdanau", "luong"]))
@pytest.mark.parametrize("sampling", ["token", "sequence"])
def test_always_the_truth_is_teacher_forcing(name, sampling):
    """In values and in gradients, to the rounding of two programs, dropout included."""
    model = dataclasses.replace(MODELS[name], sampling=sampling)
    params, batch = initial(model), batch_for(model)
    plain, forced = (jax.jit(jax.value_and_grad(mean_loss(model, b, KEY)))(params) for b in (batch, batch | forcing(1.0)))
    for actual, expected in zip(jax.tree.leaves(forced), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", leaving("plain", "bahdanau", of=["plain", "bahdanau", "coverage", "large_vocabulary"]))
def test_never_the_truth_reads_the_model_s_own_symbols(name):
    """A model that is certain draws the symbols of greedy decoding; the loss is that of teacher forcing on them."""
    model = dataclasses.replace(MODELS[name], tied="none")
    params = initial(model)
    params["decoder"]["projection"]["kernel"] *= 1e4
    batch = batch_for(model) | {"target_lengths": jnp.array([4, 4, 4])}
    greedy = decode.greedy(model, params, batch, max_length=4).tokens
    outputs = apply(model, params, batch | forcing(0.0), KEY)
    np.testing.assert_allclose(outputs.logits, apply(model, params, batch | {"target": greedy}).logits, rtol=1e-5, atol=1e-2)
    assert not np.allclose(outputs.logits, apply(model, params, batch).logits, rtol=1e-3)


def read_by(model: Seq2Seq, p, key=KEY):
    """The symbols read, [ROWS, STEPS], where all targets are 4, and the model draws 5 three times as often as 7."""
    params = initial(model)
    logits = jnp.full(model.target_size, -1e9).at[jnp.array([5, 7])].set(jnp.log(jnp.array([3.0, 1.0])))
    kernel = params["decoder"]["projection"]["kernel"]
    params["decoder"]["projection"] = {"kernel": jnp.zeros_like(kernel), "bias": logits}
    source = {"source": jnp.tile(jnp.array([[3, 4]]), (ROWS, 1)), "source_lengths": jnp.full(ROWS, 2)}
    symbols = jnp.full((ROWS, STEPS), 4).at[:, 0].set(START)
    return np.asarray(_sampled(model, params, source, symbols, forcing(p, ROWS)["teacher_forcing"], key))


@functools.partial(jax.jit, static_argnums=0)
def _sampled(model, params, source, symbols, teacher_forcing, key):
    return model.half.sampled(params["decoder"], *model.encode(params, source), symbols, teacher_forcing, key)


def test_a_coin_for_every_token():
    model = MODELS["luong"]
    read = read_by(model, 0.3)
    assert (read[:, 0] == START).all()
    drawn = read[:, 1:]
    assert set(np.unique(drawn)) == {4, 5, 7}
    assert abs((drawn == 4).mean() - 0.3) < 0.03
    assert abs((drawn == 5).sum() / (drawn != 4).sum() - 0.75) < 0.03
    by_row, by_step = (drawn == 4).mean(1), (drawn == 4).mean(0)
    assert by_row.std() < 0.15 and by_step.std() < 0.06  # independent: 0.105 and 0.032
    np.testing.assert_array_equal(read, read_by(model, 0.3))
    assert (read != read_by(model, 0.3, jax.random.key(6))).mean() > 0.3


def test_a_coin_for_every_sequence():
    read = read_by(dataclasses.replace(MODELS["plain"], sampling="sequence"), 0.4)[:, 1:]
    true = (read == 4).all(1)
    assert (true | (read != 4).all(1)).all()
    assert abs(true.mean() - 0.4) < 0.1
    assert len({tuple(row) for row in read[~true].tolist()}) > 50  # each row draws its own


def test_without_a_key_the_truth_is_read():
    model = MODELS["bahdanau"]
    params = initial(model)
    forced, expected = (apply(model, params, batch) for batch in (BATCH | forcing(0.0), BATCH))
    np.testing.assert_array_equal(forced.logits, expected.logits)


# Label smoothing and coverage: only in training.


def test_label_smoothing_is_the_cross_entropy_with_a_smoothed_target():
    rng = np.random.default_rng(0)
    logits, targets = jnp.asarray(rng.normal(size=(2, 3, 5)), jnp.float32), jnp.array([[0, 4, 2], [1, 1, 3]])
    mask = jnp.array([[True, True, False], [True, False, False]])
    smoothed = 0.9 * np.eye(5)[np.asarray(targets)] + 0.1 / 5
    expected = -(smoothed * np.asarray(jax.nn.log_softmax(logits))).sum(-1)[np.asarray(mask)].sum()
    loss = cross_entropy(logits, targets, mask, smoothing=0.1)
    np.testing.assert_allclose(loss.sum, expected, rtol=1e-5)
    assert loss.weight == 3
    np.testing.assert_allclose(cross_entropy(logits, targets, mask, smoothing=jnp.asarray(0.1)).sum, expected, rtol=1e-5)
    plain = cross_entropy(logits, targets, mask).sum
    np.testing.assert_array_equal(cross_entropy(logits, targets, mask, smoothing=0.0).sum, plain)
    np.testing.assert_allclose(cross_entropy(logits, targets, mask, smoothing=jnp.asarray(0.0)).sum, plain, rtol=1e-6)


def test_smoothing_and_coverage_are_of_training_alone():
    model = MODELS["coverage"]
    params, bare = initial(model), dataclasses.replace(model, coverage_loss=0.0, label_smoothing=0.0)
    quiet, training = apply(model, params, BATCH), apply(model, params, BATCH, KEY)
    np.testing.assert_array_equal(quiet.logits, training.logits)  # it has no dropout
    assert model.loss(quiet, BATCH).mean == bare.loss(training, BATCH).mean
    real = np.asarray(BATCH["target_lengths"])[:, None] > np.arange(4)
    smoothed = cross_entropy(training.logits, BATCH["target"], jnp.asarray(real), smoothing=0.1).sum
    weights, overlap = np.asarray(training.weights), 0.0
    for b, t in zip(*np.nonzero(real), strict=True):
        overlap += np.minimum(weights[b, t], weights[b, :t].sum(0)).sum()
    assert overlap > 0.5
    np.testing.assert_allclose(model.loss(training, BATCH).sum, smoothed + 0.5 * overlap, rtol=1e-5)
    assert model.loss(training, BATCH).weight == 5


# Dropout: from the key alone.


@pytest.mark.parametrize("per", leaving("step", of=["step", "sequence"]))
def test_dropout_comes_from_the_key_and_from_nothing_else(per):
    model = with_encoder(dataclasses.replace(MODELS["luong"], per=per), per=per)
    params = initial(model)
    quiet, one, again, two = (apply(model, params, BATCH, key).logits for key in (None, KEY, KEY, jax.random.key(6)))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, two) and not np.allclose(one, quiet)
    dry = with_encoder(dataclasses.replace(model, dropout=0.0), dropout=0.0)
    assert jax.tree.structure(jax.eval_shape(dry.init, KEY)) == jax.tree.structure(params)
    np.testing.assert_array_equal(apply(dry, params, BATCH).logits, quiet)


def test_dropout_falls_on_both_embeddings_and_on_the_output():
    dropout: dict[str, Any] = {"dropout": 0.5, "per": "sequence"}
    model = with_encoder(dataclasses.replace(MODELS["bahdanau"], tied="none", **dropout), **dropout)
    params = initial(model)
    outputs = apply(model, params, BATCH, KEY)
    projection = params["decoder"]["projection"]
    for part in ("encoder", "decoder"):
        shifted = params[part] | {"embedding": params[part]["embedding"] + 1.0}
        of_shifted = apply(model, params | {part: shifted}, BATCH, KEY)
        assert not np.allclose(of_shifted.logits[0], outputs.logits[0], atol=1e-4)
    hidden = jnp.linalg.lstsq(projection["kernel"].T, (outputs.logits[0] - projection["bias"][None].repeat(4, 0)).T)[0].T
    dropped = np.isclose(hidden, 0, atol=1e-4)
    assert dropped.any() and not dropped.all() and (dropped == dropped[:1]).all()  # one mask for all steps
