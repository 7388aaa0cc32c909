"""Encoders: symbols, feature vectors and grids through one encoder-decoder."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Bidirectional, InputError, decode
from seqjax.attention import Additive, Attentive, Location
from seqjax.models import Features, Seq2Seq, Symbols
from seqjax.serial import from_json, to_json

D, H, V, START, END = 3, 4, 6, 1, 2
RNG = np.random.default_rng(0)
TARGET = {"target": jnp.array([[3, 4, END], [5, END, 0]]), "target_lengths": jnp.array([3, 2])}
GRID = {"features": jnp.asarray(RNG.normal(size=(2, 2, 3, D)), jnp.float32)} | TARGET


def captioner(encoder, memory_size=D, attention=None, **fields):
    attention = attention or Additive(query_size=H, memory_size=memory_size, hidden_size=5)
    cell = Attentive(cell=GRU(input_size=2, hidden_size=H), attention=attention, output_size=2, order="before")
    return Seq2Seq(encoder=encoder, decoder=cell, target_size=V, embedding_size=2, start_symbol=START, end_symbol=END, **fields)


IMAGE = captioner(Features(size=D))
VIDEO = captioner(Features(size=D, cell=Bidirectional(GRU(input_size=D, hidden_size=H))), memory_size=2 * H)


def apply(model, params, batch):
    return jax.jit(model.apply)(params, batch)[1]


def test_an_image_is_captioned_from_its_grid():
    """The grid of H x W places is attended to row by row; the bridge reads the mean of the places."""
    params = IMAGE.init(jax.random.key(0))
    outputs = apply(IMAGE, params, GRID)
    assert outputs.weights.shape == (2, 3, 6) and params["encoder"] == {}
    np.testing.assert_allclose(outputs.weights[0].sum(-1), 1, rtol=1e-5)
    flat = GRID | {"features": GRID["features"].reshape(2, 6, D)}
    np.testing.assert_array_equal(apply(IMAGE, params, flat).logits, outputs.logits)
    memory, state, token = IMAGE.start(params, GRID)
    mean, layer = np.asarray(flat["features"]).mean(1), params["bridge"]["0"]
    np.testing.assert_allclose(state.cell.h, np.tanh(mean @ layer["kernel"] + layer["bias"][None]), atol=1e-6)
    assert IMAGE.attended(memory).all() and token.tolist() == [START] * 2
    decoded = decode.beam(IMAGE, params, GRID, width=3, max_length=5, end=END, coverage_penalty=0.2)
    assert decoded.tokens.shape == (2, 1, 5) and np.isfinite(decoded.scores).all()


@pytest.mark.parametrize("model", [IMAGE, VIDEO], ids=["bare", "cell"])
def test_places_beyond_the_lengths_do_not_matter(model):
    """NaN in padding reaches no logit and no gradient, and a row is as it would be alone."""
    params, features = model.init(jax.random.key(0)), GRID["features"].reshape(2, 6, D)
    padded = features.at[1, 4:].set(jnp.nan)
    batch = TARGET | {"features": padded, "features_lengths": jnp.array([6, 4])}
    outputs = apply(model, params, batch)
    alone = {"features": features[1:, :4]} | {name: a[1:] for name, a in TARGET.items()}
    np.testing.assert_allclose(outputs.logits[1, :2], apply(model, params, alone).logits[0, :2], atol=1e-6)
    assert not outputs.weights[1, :, 4:].any()
    memory, _, _ = model.start(params, batch)
    assert model.attended(memory).sum(axis=1).tolist() == [6, 4]
    grads = jax.jit(jax.grad(lambda params: model.loss(model.apply(params, batch)[1], batch).mean))(params)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(grads))


def test_an_empty_source_is_a_finite_summary():
    batch = {name: a[:1] for name, a in GRID.items()} | {"features_lengths": jnp.array([0])}
    outputs = apply(IMAGE, IMAGE.init(jax.random.key(0)), batch)
    assert np.isfinite(outputs.logits).all() and not outputs.weights.any()


@pytest.mark.parametrize("reverse", [False, True])
def test_symbols_are_features_that_were_looked_up(reverse):
    """Reading symbols is reading the rows of their embedding; one-hot rows where the embedding is the identity."""
    cell = LSTM(input_size=D, hidden_size=H)
    symbols = Symbols(size=D, embedding_size=D, cell=cell, reverse=reverse)
    features = Features(size=D, cell=cell, reverse=reverse)
    params, source, lengths = symbols.init(jax.random.key(0)), jnp.array([[0, 2, 1], [1, 1, 0]]), jnp.array([3, 1])
    for table in (params["embedding"], jnp.eye(D)):
        read = symbols.encode(params | {"embedding": table}, {"source": source, "source_lengths": lengths})
        expected = features.encode(params["cell"], {"features": table[source], "features_lengths": lengths})
        assert jax.tree.structure(read) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), read, expected)


@pytest.mark.parametrize("encoder", [IMAGE.encoder, VIDEO.encoder], ids=["bare", "cell"])
def test_an_encoder_is_a_value_and_json(encoder):
    again = from_json(json.loads(json.dumps(to_json(encoder))))
    assert again == encoder and hash(again) == hash(encoder)


def test_another_word_of_the_batch_may_be_read():
    model = dataclasses.replace(IMAGE, encoder=Features(size=D, name="image"))
    params = model.init(jax.random.key(0))
    batch = TARGET | {"image": GRID["features"]}
    np.testing.assert_array_equal(apply(model, params, batch).logits, apply(IMAGE, params, GRID).logits)


@pytest.mark.parametrize(
    ("batch", "line"),
    [
        ({}, r'the batch has no "features": give a dict with "features" \[B, S, 3\] or \[B, H, W, 3\]'),
        ({"features": jnp.ones((2, 5))}, r'"features" has shape \(2, 5\) and dtype float32, it must be floating'),
        ({"features": jnp.ones((2, 5, 4))}, r'"features" has shape \(2, 5, 4\)'),
        ({"features": jnp.ones((2, 5, D), jnp.int32)}, "dtype int32, it must be floating"),
        ({"features": jnp.ones((2, 5, D)), "features_lengths": jnp.array([6, 1])}, "lengths holds 6"),
        ({"features": jnp.ones((2, 3, 3, D))}, r"the memory has 9 places, attention by location has max_length=5"),
    ],
)
def test_wrong_features_are_refused_in_one_line(batch, line):
    model = captioner(Features(size=D), attention=Location(query_size=H, memory_size=D, max_length=5))
    with pytest.raises(InputError, match=line):
        model.start(model.init(jax.random.key(0)), batch)


def test_an_encoder_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"the encoder's cell reads \(3,\), size is 5: they must be equal"):
        Features(size=5, cell=GRU(input_size=3, hidden_size=4))
    with pytest.raises(InputError, match="memory_size is 3, the encoder gives 5 features"):
        captioner(Features(size=5))


def test_symbols_without_an_embedding_are_one_hot():
    """With an identity as embedding the outputs are equal; sizes and a dropout that do not fit are refused."""
    cell = GRU(input_size=V, hidden_size=H)
    plain, embedded = (Symbols(size=V, embedding_size=size, cell=cell, name="tokens") for size in (None, V))
    params = plain.init(jax.random.key(0))
    assert set(params) == {"cell"} and from_json(json.loads(json.dumps(to_json(plain)))) == plain
    batch = {"tokens": jnp.array([[1, 5, 0], [2, 2, 2]]), "tokens_lengths": jnp.array([2, 3])}
    values = plain.encode(params, batch).values
    np.testing.assert_allclose(values, embedded.encode(params | {"embedding": jnp.eye(V)}, batch).values, atol=1e-6)
    with pytest.raises(InputError, match="one-hot symbols have size=6 features"):
        Symbols(size=V, embedding_size=None, cell=GRU(input_size=3, hidden_size=H))
    with pytest.raises(InputError, match=r"dropout=0\.5, which is on the embedding"):
        Symbols(size=V, embedding_size=None, cell=cell, dropout=0.5)
