"""The encoder-decoder: whole targets equal step by step, and padding reaches nothing."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Bidirectional, Chain, Dense, Dropout, Elman, InputError, RecurrentDropout, Stack, decode, unroll
from seqjax.attention import Additive, Attentive, Dot, General
from seqjax.models import ConditionalDecoder, Features, Seq2Seq, Symbols
from seqjax.serial import from_json, to_json
from tests.catalog import leaving

VS, VT, E, H = 9, 8, 3, 4  # symbols of source and target, embedding, hidden units
START, END = 1, 2

BATCH = {
    "source": jnp.array([[3, 4, 5, 6, 8], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]], jnp.int32),
    "source_lengths": jnp.array([5, 1, 0], jnp.int32),
    "target": jnp.array([[3, 4, 7, END], [END, 0, 0, 0], [0, 0, 0, 0]], jnp.int32),
    "target_lengths": jnp.array([4, 1, 0], jnp.int32),
}
GRU_E = GRU(input_size=E, hidden_size=H)
LSTM_E = LSTM(input_size=E, hidden_size=H)
ADDITIVE = Additive(query_size=H, memory_size=2 * H, hidden_size=5)


def model_of(cell, decoder, *, source_size=VS, reverse=False, **fields):
    dropout = {name: fields[name] for name in ("dropout", "per") if name in fields}
    encoder = Symbols(size=source_size, embedding_size=E, cell=cell, reverse=reverse, **dropout)
    sizes: dict[str, Any] = {"target_size": VT, "embedding_size": E, "start_symbol": START, "end_symbol": END}
    return Seq2Seq(**{"encoder": encoder, "decoder": decoder} | sizes | fields)


def with_encoder(model, **fields):
    return dataclasses.replace(model, encoder=dataclasses.replace(model.encoder, **fields))


def luong(cell, size=H, **fields):
    return Attentive(cell=cell, attention=General(query_size=H, memory_size=size), output_size=H, **fields)


MODELS = {
    "plain": model_of(LSTM_E, LSTM_E, bridge="final", reverse=True),
    "plain_stack": model_of(
        Stack.of(LSTM, sizes=(E, H, H)), Stack.of(LSTM, sizes=(E, H, H)), bridge="final", forbidden=(0,), dropout=0.3
    ),
    "bahdanau": model_of(
        Bidirectional(GRU_E), Attentive(cell=GRU_E, attention=ADDITIVE, output_size=E, order="before"), tied="target"
    ),
    "luong": model_of(
        Chain((Bidirectional(LSTM_E), Dropout(0.2), Bidirectional(LSTM(input_size=2 * H, hidden_size=H)))),
        luong(Stack.of(LSTM, sizes=(E, H, H), dropout=0.2), 2 * H),
        dropout=0.2,
        per="sequence",
    ),
    "not_fed": model_of(GRU_E, luong(RecurrentDropout(GRU_E, 0.2), input_feeding=False), bridge="final", source_size=VT),
    "elman": model_of(
        Elman(input_size=E, hidden_size=H),
        Attentive(cell=Elman(input_size=E, hidden_size=H), attention=Dot(query_size=H, memory_size=H), output_size=E),
        bridge="none",
        source_size=VT,
        tied="all",
    ),
    "coverage": model_of(
        Bidirectional(GRU_E),
        Attentive(cell=GRU_E, attention=dataclasses.replace(ADDITIVE, coverage=True), output_size=H, order="before"),
        coverage_loss=0.5,
        label_smoothing=0.1,
    ),
    "large_vocabulary": model_of(GRU_E, luong(GRU_E), target_size=600),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def batch_for(model):
    return BATCH | {"source": jnp.where(BATCH["source"] < model.encoder.size, BATCH["source"], 1)}


@functools.cache
def _initial(model):
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0)))
    rng = np.random.default_rng(0)
    scales = [0.3 if leaf.ndim < 2 else max(0.3, leaf.shape[0] ** -0.5) for leaf in leaves]
    return tree, [(scale * rng.normal(size=leaf.shape)).astype(leaf.dtype) for scale, leaf in zip(scales, leaves, strict=True)]


def initial(model):
    """Parameters drawn in NumPy, every bias off 0, so that a bias that is left out shows. Nothing is compiled."""
    tree, arrays = _initial(model)
    return jax.tree.unflatten(tree, [jnp.asarray(array) for array in arrays])


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params, batch, key=None):
    return model.apply(params, batch, key=key)[1]


def mean_loss(model, batch, key=None):
    return lambda params: model.loss(model.apply(params, batch, key=key)[1], batch).mean


def assert_close(actual, expected, **tolerance):
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, err_msg=jax.tree_util.keystr(path), **tolerance)


# Values.


@every_model
def test_shapes_and_loss(model):
    params, batch = initial(model), batch_for(model)
    outputs = apply(model, params, batch)
    assert model.initial_state(params, 3) == ()
    assert outputs.logits.shape == (3, 4, model.target_size) and outputs.logits.dtype == jnp.float32
    assert (outputs.weights is None) == (not model.attends)
    loss = model.loss(outputs, batch)
    log_p = np.asarray(jax.nn.log_softmax(outputs.logits))
    places = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    np.testing.assert_allclose(loss.sum, -sum(log_p[b, t, BATCH["target"][b, t]] for b, t in places), rtol=1e-5)
    assert loss.weight == 5


@every_model
def test_start_and_step_are_apply(model):
    params, batch = initial(model), batch_for(model)
    outputs = apply(model, params, batch)
    memory, state, token = model.start(params, batch)
    assert token.tolist() == [START] * 3
    emitted = np.isin(np.arange(model.target_size), (START, *model.forbidden), invert=True)
    step = jax.jit(model.attend if model.attends else model.step)
    for t in range(4):
        state, logits, *weights = step(params, memory, state, token)
        live = np.asarray(t < BATCH["target_lengths"])
        np.testing.assert_allclose(logits[live][:, emitted], outputs.logits[live, t][:, emitted], atol=1e-5)
        assert np.isneginf(logits[:, ~emitted]).all()
        if model.attends:
            np.testing.assert_allclose(weights[0][live], outputs.weights[live, t], atol=1e-6)
        token = BATCH["target"][:, t]


@every_model
def test_beams_of_a_row_share_its_memory(model):
    """step under vmap over the state and token of beams that share a memory, as beam search runs it."""
    params = initial(model)
    memory, state, token = model.start(params, batch_for(model))
    tokens = jnp.stack([token, token + 2, token + 3])
    states = jax.tree.map(lambda a: jnp.broadcast_to(a, (3, *a.shape)), state)
    step = jax.jit(jax.vmap(lambda state, token: model.step(params, memory, state, token)))
    beams, logits = step(*step(states, tokens)[:1], tokens[::-1])
    alone_step = jax.jit(model.step)
    for i in range(3):
        alone, _ = alone_step(params, memory, state, tokens[i])
        alone, expected = alone_step(params, memory, alone, tokens[2 - i])
        np.testing.assert_allclose(logits[i], expected, atol=1e-5)
        assert_close(jax.tree.map(lambda a, i=i: a[i], beams), alone, atol=1e-5)


@every_model
def test_rows_and_padding_do_not_matter(model):
    """A row alone, cut to its lengths, is that row of the batch; values in padding do not matter."""
    params, batch = initial(model), batch_for(model)
    other = {name: jnp.where(a == 0, 5, a) if name in ("source", "target") else a for name, a in batch.items()}
    outputs = apply(model, params, batch)
    others = apply(model, params, other)
    for b in range(2):
        n, m = int(batch["target_lengths"][b]), int(batch["source_lengths"][b])
        cut = {"source": batch["source"][b : b + 1, :m], "target": batch["target"][b : b + 1, :n]}
        alone = apply(model, params, cut | {name: batch[name][b : b + 1] for name in ("source_lengths", "target_lengths")})
        np.testing.assert_allclose(alone.logits[0], outputs.logits[b, :n], atol=1e-5)
        np.testing.assert_allclose(others.logits[b, :n], outputs.logits[b, :n], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", leaving("coverage", of=MODELS))
def test_gradients_are_finite_and_a_filler_row_has_none(name):
    model = MODELS[name]
    params, batch = initial(model), batch_for(model)
    gradient = jax.jit(jax.grad(lambda params, batch: mean_loss(model, batch)(params)))
    grads, without = (gradient(params, {name: a[:n] for name, a in batch.items()}) for n in (3, 2))
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(grads))
    assert_close(grads, without, atol=1e-6)


@every_model
def test_it_is_a_value_and_json(model):
    again = from_json(json.loads(json.dumps(to_json(model))))
    assert again == model and hash(again) == hash(model)


def test_numbers_of_numpy_are_stored_as_python_s():
    floats = {"dropout": np.float32(0.25), "label_smoothing": np.float32(0.5), "coverage_loss": np.float32(0.5)}
    model = dataclasses.replace(MODELS["coverage"], target_size=np.int64(VT), embedding_size=np.int32(E), **floats)
    expected = dataclasses.replace(MODELS["coverage"], dropout=0.25, label_smoothing=0.5, coverage_loss=0.5)
    for value, other in ((model, expected), (model.half, expected.half)):
        assert value == other and json.dumps(to_json(value)) == json.dumps(to_json(other))


def test_a_decoder_half_with_an_unknown_argument_is_refused():
    with pytest.raises(InputError, match=r"ConditionalDecoder: .*'length'"):
        ConditionalDecoder(size=VT, embedding_size=E, cell=GRU_E, start_symbol=1, length=3)  # pyright: ignore[reportCallIssue]


@every_model
def test_greedy_decodes_each_row_as_alone(model):
    params, batch = initial(model), batch_for(model)
    together = decode.greedy(model, params, batch, max_length=6, end=END)
    for b in range(2):
        alone = decode.greedy(model, params, {name: a[b : b + 1] for name, a in batch.items()}, max_length=6, end=END)
        assert together.tokens[b].tolist() == alone.tokens[0].tolist()
        np.testing.assert_allclose(together.scores[b], alone.scores[0], rtol=1e-5)
    assert START not in together.tokens[:2].tolist()


def test_sources_are_reversed_in_place():
    plain = MODELS["plain"]
    params = initial(plain)
    flipped = BATCH | {"source": jnp.array([[8, 6, 5, 4, 3], [7, 0, 0, 0, 0], [0] * 5], jnp.int32)}
    expected = apply(with_encoder(plain, reverse=False), params, flipped)
    np.testing.assert_allclose(apply(plain, params, BATCH).logits, expected.logits, atol=1e-6)
    model = MODELS["not_fed"]
    params, backward = initial(model), with_encoder(model, reverse=True)
    outputs = apply(backward, params, batch_for(model))
    assert not outputs.weights[1, 0, 1:].any()  # places stay where they are


def test_without_attention_the_source_comes_through_the_bridge_alone():
    model = dataclasses.replace(MODELS["plain"], bridge="none")
    params = initial(model)
    other = BATCH | {"source": jnp.flip(BATCH["source"], 1)}
    np.testing.assert_array_equal(apply(model, params, BATCH).logits, apply(model, params, other).logits)
    model, params = MODELS["plain"], initial(MODELS["plain"])
    assert not np.allclose(apply(model, params, BATCH).logits[0], apply(model, params, other).logits[0], atol=1e-3)


def test_the_dense_bridge_reads_both_directions():
    model = MODELS["bahdanau"]
    params = initial(model)
    layer = jax.tree.map(np.asarray, params["bridge"]["0"])
    assert layer["kernel"].shape == (2 * H, H)
    xs = params["encoder"]["embedding"][BATCH["source"]]
    (forward, backward), _ = unroll(model.encoder.cell, params["encoder"]["cell"], xs, lengths=BATCH["source_lengths"])
    _, state, _ = model.start(params, BATCH)
    expected = np.tanh(np.concatenate([forward.h, backward.h], 1) @ layer["kernel"] + layer["bias"])
    np.testing.assert_allclose(state.cell.h, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "coverage"])
def test_the_decoder_half_writes_from_any_memory_and_first_state(name):
    """What an encoder and a bridge made, given by hand, has the logits of the whole model; step by step too."""
    model = MODELS[name]
    params, half = initial(model), model.half

    @jax.jit
    def by_hand(params):
        encoded = model.encoder.encode(params["encoder"], BATCH)
        crossed = model.encode(params, BATCH)[1]
        memory, state = half.prepare(params["decoder"], encoded.values, encoded.mask, lambda _: getattr(crossed, "cell", crossed))
        recalled, first, token = half.start(params["decoder"], memory, state)
        _, logits = half.step(params["decoder"], recalled, first, token)
        return half.apply(params["decoder"], BATCH, memory, state).logits, token, logits

    whole, (logits, token, first) = apply(model, params, BATCH).logits, by_hand(params)
    np.testing.assert_allclose(logits, whole, atol=1e-5)
    assert token.tolist() == [START] * 3
    silent = first == -jnp.inf
    np.testing.assert_allclose(first[:2], jnp.where(silent, first, whole[:, 0])[:2], atol=1e-5)  # the last is padding
    assert from_json(to_json(half)) == half
    assert jax.tree.structure(jax.eval_shape(half.init, jax.random.key(0))) == jax.tree.structure(params["decoder"])
    with pytest.raises(InputError, match=r"values are \[3, 4\] and their mask \[3, 5\]: give values \[B, S, M\]"):
        half.prepare(params["decoder"], jnp.zeros((3, 4)), jnp.ones((3, 5), bool))


def test_tied_embeddings_are_one():
    assert "kernel" not in initial(MODELS["bahdanau"])["decoder"]["projection"]
    params = initial(MODELS["elman"])
    decoder = params["decoder"]
    assert "embedding" not in params["encoder"] and "kernel" not in decoder["projection"]
    tied = MODELS["elman"]
    loose = dataclasses.replace(tied, tied="none")
    shared = decoder["embedding"]
    decoder = decoder | {"projection": decoder["projection"] | {"kernel": shared.T}}
    untied = params | {"encoder": params["encoder"] | {"embedding": shared}, "decoder": decoder}
    batch = batch_for(tied)
    np.testing.assert_allclose(apply(tied, params, batch).logits, apply(loose, untied, batch).logits, atol=1e-6)


def test_a_class_for_every_reply_is_a_target_of_one_symbol():
    model = model_of(LSTM_E, LSTM_E, bridge="final", end_symbol=None)
    params = initial(model)
    batch = BATCH | {"target": jnp.array([[5], [3], [0]]), "target_lengths": jnp.array([1, 1, 0])}
    outputs = apply(model, params, batch)
    assert model.loss(outputs, batch).weight == 2
    replies = decode.greedy(model, params, batch, max_length=1).tokens[:, 0]
    likeliest = outputs.logits[:, 0].at[:, START].set(-jnp.inf).argmax(axis=1)
    assert replies.tolist()[:2] == likeliest.tolist()[:2]


# Other dtypes, and refusals.


@pytest.mark.slow
def test_in_bfloat16_and_in_float64(x64):
    model = MODELS["luong"]
    params = jax.tree.map(lambda a: a.astype(jnp.float64), initial(model))
    outputs = apply(model, params, BATCH)
    assert outputs.logits.dtype == outputs.weights.dtype == jnp.float64
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    near = apply(model, half, BATCH)
    assert near.logits.dtype == jnp.float32 and near.weights.dtype == jnp.bfloat16
    np.testing.assert_allclose(near.logits.astype(float)[0], outputs.logits[0], atol=0.1)
    grads = jax.jit(jax.grad(mean_loss(model, BATCH)))(half)
    assert all(a.dtype == jnp.bfloat16 and np.isfinite(a).all() for a in jax.tree.leaves(grads))
    decoded = decode.greedy(model, half, BATCH, max_length=3)
    assert decoded.scores.dtype == jnp.float32


def test_equal_batches_compile_once():
    model, twin = MODELS["bahdanau"], from_json(to_json(MODELS["bahdanau"]))
    params = initial(model)
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def step(model, params, batch):
        traced.append(model)
        return jax.grad(mean_loss(model, batch))(params)

    step(model, params, BATCH)
    step(twin, params, BATCH)
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"cell": GRU(input_size=5, hidden_size=H)}, r"the encoder's cell reads \(5,\), embedding_size is 3: they must be equal"),
        ({"decoder": Elman(input_size=5, hidden_size=H)}, r"the decoder reads \(5,\), embedding_size is 3"),
        ({"cell": "GRU"}, "the encoder's cell is a str, it must be a cell or a layer"),
        ({"encoder": GRU_E}, "the encoder is a GRU, it must be an Encoder such as Symbols or Features"),
        ({"decoder": Bidirectional(GRU_E)}, "wraps a cell, and a Bidirectional is not one"),
        ({"decoder": luong(GRU_E, 5)}, "the attention's memory_size is 5, the encoder gives 4 features: they must be equal"),
        ({"cell": Dense(input_size=E, output_size=H)}, 'bridge="dense" needs an encoder with a state: take bridge="none"'),
        ({"bridge": "final"}, r'bridge="final" .* \(h \[4\]\) into the decoder\'s \(c \[4\], h \[4\]\): .* take bridge="dense"'),
        ({"bridge": "final", "cell": Bidirectional(GRU_E), "decoder": GRU_E}, r"\(h \[4\], h \[4\]\) into .* \(h \[4\]\)"),
        ({"tied": "target"}, "a tied projection needs embedding_size equal to the decoder's output size: they are 3 and 4"),
        ({"tied": "all"}, 'tied="all" needs one vocabulary for source and target, they have 9 and 8 symbols'),
        ({"start_symbol": 8}, "symbol 8 is not in the target vocabulary of 8 symbols"),
        ({"end_symbol": -1}, "symbol -1 is not in the target vocabulary"),
        ({"forbidden": tuple(range(8))}, "all 8 symbols of the target vocabulary are forbidden"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"coverage_loss": 1.0}, "coverage_loss needs a decoder with attention"),
        ({"coverage_loss": -3.0}, "coverage_loss is -3.0, it must be at least 0 and finite"),
        ({"sampling": "row"}, "sampling='row'"),
        ({"source_size": 0}, "size=0"),
        ({"tied": "all", "encoder": Features(size=E)}, 'tied="all" needs an encoder that reads symbols through an embedding'),
        (
            {"tied": "all", "encoder": Symbols(size=VT, embedding_size=5, cell=Elman(input_size=5, hidden_size=H))},
            'tied="all" needs one embedding_size for source and target, they are 5 and 3',
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(fields, line):
    with pytest.raises(InputError, match=line) as caught:
        model_of(**{"cell": GRU_E, "decoder": LSTM_E} | fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("batch", "line"),
    [
        ({"source": jnp.array([[1]])}, 'sources have no "source_lengths"'),
        ({"source": jnp.array([[1.0]]), "source_lengths": jnp.array([1])}, "they must be integers"),
        ({"source": jnp.array([1]), "source_lengths": jnp.array([1])}, r"sources have shape \(1,\)"),
        ({"source": jnp.array([[1]]), "source_lengths": jnp.array([2])}, "lengths holds 2"),
        ({"source": jnp.array([[9]]), "source_lengths": jnp.array([1])}, "sources hold symbol 9, the vocabulary has 0 to 8"),
    ],
)
def test_a_wrong_source_is_refused_in_one_line(batch, line):
    model = MODELS["plain"]
    with pytest.raises(InputError, match=line):
        model.start(initial(model), batch)


def test_a_model_without_attention_has_no_weights():
    model = MODELS["plain"]
    assert not model.attends
    memory, state, token = model.start(initial(model), BATCH)
    with pytest.raises(InputError, match="this model has no attention"):
        model.attend(initial(model), memory, state, token)
    with pytest.raises(InputError, match="this model has no attention"):
        model.attended(memory)
