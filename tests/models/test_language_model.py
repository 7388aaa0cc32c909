"""The language model: its values, its refusals, and one pass against step by step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode, serial
from seqjax.cells.elman import Elman
from seqjax.cells.gru import GRU
from seqjax.cells.lstm import LSTM
from seqjax.compose import Stack
from seqjax.errors import InputError
from seqjax.layers import Bidirectional
from seqjax.losses import cross_entropy
from seqjax.models import language_model
from seqjax.models.language_model import LanguageModel

V, E, H = 7, 4, 6
TOKENS = jnp.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 2]], jnp.int32)

MODELS = {
    "one_hot": LanguageModel(vocabulary_size=V, cell=LSTM(input_size=V, hidden_size=H)),
    "embedded": LanguageModel(vocabulary_size=V, cell=GRU(input_size=E, hidden_size=H), embedding_size=E),
    "tied": LanguageModel(
        vocabulary_size=V, cell=Stack.of(LSTM, sizes=(E, H, E)), embedding_size=E, tied=True, start_symbol=0, forbidden=(1,)
    ),
    "noisy": LanguageModel(
        vocabulary_size=V,
        cell=Stack.of(GRU, sizes=(E, H, H), dropout=0.5),
        embedding_size=E,
        dropout=0.5,
        per="sequence",
        start_symbol=0,
    ),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def initial(model, seed=0):
    """Parameters drawn in NumPy, every bias off 0, so that a bias that is left out shows. Nothing is compiled."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0)))
    rng = np.random.default_rng(seed)
    scales = [0.3 if leaf.ndim < 2 else max(0.3, leaf.shape[0] ** -0.5) for leaf in leaves]
    return jax.tree.unflatten(
        tree, [jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype) for scale, leaf in zip(scales, leaves, strict=True)]
    )


# Values.


@every_model
def test_shapes_and_dtypes(model):
    params = initial(model)
    state, logits = model.apply(params, {"tokens": TOKENS})
    assert logits.shape == (2, 5, V)
    assert logits.dtype == jnp.float32
    expected = jax.eval_shape(lambda params: model.initial_state(params, 2), params)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, expected)


def test_logits_equal_the_equations_of_the_slides():
    model = LanguageModel(vocabulary_size=V, cell=Elman(input_size=V, hidden_size=H))
    params = initial(model)
    cell, out = params["cell"], params["projection"]
    _, logits = model.apply(params, {"tokens": TOKENS})
    for row, expected in zip(np.asarray(TOKENS), logits, strict=True):
        h = np.zeros(H)
        for t, token in enumerate(row):
            h = np.tanh(h @ cell["recurrent_kernel"] + cell["input_kernel"][token] + cell["bias"])
            np.testing.assert_allclose(expected[t], h @ out["kernel"] + out["bias"], atol=1e-5)


def test_one_hot_reads_what_an_identity_embedding_reads():
    plain = MODELS["one_hot"]
    params = initial(plain)
    looked_up = LanguageModel(vocabulary_size=V, cell=plain.cell, embedding_size=V)
    _, expected = plain.apply(params, {"tokens": TOKENS})
    _, logits = looked_up.apply(params | {"embedding": jnp.eye(V)}, {"tokens": TOKENS})
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert "embedding" not in params


def test_tied_projects_with_the_embedding():
    tied = MODELS["tied"]
    params = initial(tied)
    assert params["projection"].keys() == {"bias"}
    loose = LanguageModel(vocabulary_size=V, cell=tied.cell, embedding_size=E)
    untied = params | {"projection": {"bias": params["projection"]["bias"], "kernel": params["embedding"].T}}
    np.testing.assert_allclose(tied.apply(params, {"tokens": TOKENS})[1], loose.apply(untied, {"tokens": TOKENS})[1], atol=1e-6)
    grad = jax.grad(lambda params: tied.apply(params, {"tokens": TOKENS})[1].sum())(params)["embedding"]
    assert (jnp.abs(grad).sum(axis=1) > 0).all()  # also the rows of symbols that were never read: through the projection


def test_loss_is_the_cross_entropy_where_the_mask_is_true():
    model = MODELS["one_hot"]
    params, mask = initial(model), jnp.array([[True, True, False, True, True], [False, False, False, True, False]])
    batch = {"tokens": TOKENS, "target": jnp.roll(TOKENS, -1, axis=1), "target_mask": mask}
    _, logits = model.apply(params, batch)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    places = [(b, t) for b, t in itertools.product(range(2), range(5)) if mask[b, t]]
    loss = model.loss(logits, batch)
    np.testing.assert_allclose(loss.sum, -sum(log_p[b, t, batch["target"][b, t]] for b, t in places), rtol=1e-5)
    assert loss.weight == len(places) == 5


def test_chunks_with_the_state_carried_are_one_pass():
    model = MODELS["tied"]
    params = initial(model)
    _, expected = model.apply(params, {"tokens": TOKENS})
    state, first = model.apply(params, {"tokens": TOKENS[:, :2]})
    _, second = model.apply(params, {"tokens": TOKENS[:, 2:]}, state=state)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), expected, atol=1e-6)


def test_reset_forgets_what_came_before():
    model = MODELS["embedded"]
    params, reset = initial(model), jnp.zeros((2, 5), bool).at[:, 3].set(True)
    _, logits = model.apply(params, {"tokens": TOKENS, "reset": reset})
    _, fresh = model.apply(params, {"tokens": TOKENS[:, 3:]})
    np.testing.assert_allclose(logits[:, 3:], fresh, atol=1e-6)
    assert not np.allclose(model.apply(params, {"tokens": TOKENS})[1][:, 3:], fresh, atol=1e-3)


def test_init_scale_bounds_every_parameter():
    model = LanguageModel(vocabulary_size=V, cell=LSTM(input_size=V, hidden_size=40), init_scale=0.08)
    for leaf in jax.tree.leaves(model.init(jax.random.key(0))):
        assert jnp.abs(leaf).max() <= 0.08 and jnp.std(leaf) > 0  # the biases too


@every_model
def test_it_is_a_value_and_json(model):
    assert serial.from_json(serial.to_json(model)) == model
    assert hash(serial.from_json(serial.to_json(model))) == hash(model)


# Dropout: from the key alone.


def test_dropout_comes_from_the_key_and_from_nothing_else():
    model = MODELS["noisy"]
    params, batch = initial(model), {"tokens": TOKENS}

    def logits(key):
        return model.apply(params, batch, key=key)[1]

    quiet, one, two = logits(None), logits(jax.random.key(1)), logits(jax.random.key(2))
    np.testing.assert_array_equal(quiet, logits(None))
    np.testing.assert_array_equal(one, logits(jax.random.key(1)))
    assert not np.allclose(one, two) and not np.allclose(one, quiet)
    dry = LanguageModel(vocabulary_size=V, cell=Stack.of(GRU, sizes=(E, H, H)), embedding_size=E)
    cells = {str(i): params["cell"]["1"][part] for i, part in enumerate(sorted(params["cell"]["1"]))}
    np.testing.assert_allclose(quiet, dry.apply(params | {"cell": cells}, batch)[1], atol=1e-6)


def test_dropout_falls_on_the_embedding_and_on_the_output():
    rate, size = 0.25, 100
    cell = Elman(input_size=size, hidden_size=size)
    model = LanguageModel(vocabulary_size=size, cell=cell, embedding_size=size, dropout=rate)
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    inner = params["cell"]["1"] | {"input_kernel": jnp.eye(size)}
    projection = {"kernel": jnp.eye(size), "bias": jnp.zeros(size)}
    params |= {"cell": {"1": inner}, "projection": projection, "embedding": jnp.full((size, size), 0.1)}
    _, logits = model.apply(params, {"tokens": TOKENS}, key=jax.random.key(0))
    survivors = np.tanh(0.1 / (1 - rate)) / (1 - rate)
    assert np.isclose(logits, 0, atol=1e-6).sum() + np.isclose(logits, survivors, atol=1e-5).sum() == logits.size
    assert abs((np.asarray(logits) != 0).mean() - (1 - rate) ** 2) < 0.04  # both masks: 0.5625


# Wrong sizes and symbols.


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"cell": GRU(input_size=5, hidden_size=H)}, r"the cell reads \(5,\), one-hot symbols .* 7 features: they must be equal"),
        ({"embedding_size": E}, r"the cell reads \(7,\), the embedding .* 4 features"),
        ({"tied": True}, "tied=True needs an embedding"),
        ({"tied": True, "embedding_size": V}, "a tied projection needs embedding_size equal .* they are 7 and 6"),
        ({"start_symbol": 7}, "symbol 7 is not in the vocabulary of 7"),
        ({"forbidden": (-1,)}, "symbol -1 is not in the vocabulary of 7"),
        ({"vocabulary_size": 0}, "vocabulary_size"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_sizes_and_symbols_that_do_not_fit_are_refused_in_one_line(fields, line):
    with pytest.raises(InputError, match=line) as caught:
        model = LanguageModel(**{"vocabulary_size": V, "cell": GRU(input_size=V, hidden_size=H)} | fields)
        model.init(jax.random.key(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "lengths", "line"),
    [
        ([[1, 2]], [3], "3"),
        ([[1, 2]], [-1], "-1"),
        ([[1, 2]], [1, 1], "lengths"),
        ([[1.0, 2.0]], [1], "prompts have shape .* float32, they must be integers"),
        ([1, 2], [2], r"prompts have shape \(2,\)"),
        ([[1, 2]], [0], "a prompt is empty and the vocabulary has no start symbol"),
    ],
)
def test_a_wrong_prompt_is_refused_in_one_line(tokens, lengths, line):
    model = MODELS["one_hot"]
    with pytest.raises(InputError, match=line) as caught:
        model.start(initial(model), {"tokens": jnp.array(tokens), "tokens_lengths": jnp.array(lengths)})
    assert "\n" not in str(caught.value)


# start and step.


def prompts(*rows, width=None):
    width = max(map(len, rows)) if width is None else width
    padded = [list(row) + [6] * (width - len(row)) for row in rows]  # symbols behind a prompt must not matter
    return {
        "tokens": jnp.array(padded, jnp.int32).reshape(len(rows), width),
        "tokens_lengths": jnp.array([*map(len, rows)], jnp.int32),
    }


@every_model
def test_start_and_step_are_apply(model):
    params, text = initial(model), np.asarray(TOKENS)
    opening = [] if model.start_symbol is None else [model.start_symbol]
    _, expected = model.apply(params, {"tokens": jnp.array([opening + row.tolist() for row in text])})
    _, state, token = model.start(params, prompts(*text[:, :2].tolist()))
    assert token.tolist() == text[:, 1].tolist()
    step = jax.jit(model.step)
    for t in range(1, 5):
        state, logits = step(params, (), state, token)
        emitted = np.isin(np.arange(V), (*opening, *model.forbidden), invert=True)
        np.testing.assert_allclose(logits[:, emitted], expected[:, t + len(opening)][:, emitted], atol=1e-5)
        assert np.isneginf(logits[:, ~emitted]).all()
        token = TOKENS[:, min(t + 1, 4)]


@every_model
def test_prompts_of_many_lengths_are_each_read_alone(model):
    rows = [[3, 1, 4, 5], [2], [5, 5, 2]] + ([] if model.start_symbol is None else [[]])
    params = initial(model)
    together = decode.greedy(model, params, prompts(*rows), max_length=9)
    wider = decode.greedy(model, params, prompts(*rows, width=7), max_length=9)
    assert wider.tokens.tolist() == together.tokens.tolist()
    for i, row in enumerate(rows):
        alone = decode.greedy(model, params, prompts(row), max_length=9)
        assert together.tokens[i].tolist() == alone.tokens[0].tolist()
        np.testing.assert_allclose(together.scores[i], alone.scores[0], rtol=1e-5)


@every_model
def test_greedy_is_the_argmax_of_step_with_its_log_probability(model):
    params, end = initial(model, seed=3), 4
    decoded = decode.greedy(model, params, prompts([3, 5], [2, 2], [6]), max_length=12, end=end)
    _, state, token = model.start(params, prompts([3, 5], [2, 2], [6]))
    expected, scores, live, step = [[], [], []], np.zeros(3), np.ones(3, bool), jax.jit(model.step)
    for _ in range(12):
        state, logits = step(params, (), state, token)  # () looks nothing up
        logits = np.asarray(logits, np.float64)
        token = jnp.asarray(logits.argmax(axis=1), jnp.int32)
        log_p = logits.max(axis=1) - np.log(np.exp(logits).sum(axis=1))
        for row in np.flatnonzero(live):
            expected[row].append(int(token[row]))
            scores[row] += log_p[row]
        live &= np.asarray(token) != end
    assert decoded.lengths.tolist() == [*map(len, expected)]
    assert decoded.tokens.tolist() == [row + [0] * (12 - len(row)) for row in expected]
    np.testing.assert_allclose(decoded.scores, scores, rtol=1e-5)


def test_a_small_vocabulary_is_looked_up_and_a_large_one_is_not():
    token = jnp.array([2, 5], jnp.int32)
    for model in MODELS.values():
        params = initial(model)
        memory, state, _ = model.start(params, prompts([1], [3]))
        assert all(leaf.shape[0] == V + 1 for leaf in jax.tree.leaves(memory))
        assert bool(jax.tree.leaves(memory)) == (model.embedding_size is not None)
        for actual, expected in zip(
            jax.tree.leaves(model.step(params, memory, state, token)),
            jax.tree.leaves(model.step(params, (), state, token)),
            strict=True,
        ):
            np.testing.assert_allclose(actual, expected, atol=1e-6)
    large = LanguageModel(vocabulary_size=5000, cell=GRU(input_size=E, hidden_size=H), embedding_size=E)
    assert large.start(initial(large), prompts([1]))[0] == ()


def test_samples_after_prompts_of_many_lengths_are_those_of_each_alone():
    model = MODELS["tied"]
    rows, params, key = [[3, 2, 4, 5], [2], [], [5, 5, 2]], initial(model), jax.random.key(5)
    together = decode.sample(model, params, prompts(*rows), max_length=9, key=key, temperature=0.8, top_k=4)
    for i, row in enumerate(rows):
        same_place = prompts(*[row] * len(rows))  # row i draws with the i-th key
        alone = decode.sample(model, params, same_place, max_length=9, key=key, temperature=0.8, top_k=4)
        assert together.tokens[i].tolist() == alone.tokens[i].tolist()


def test_a_long_prompt_is_read_in_pieces(monkeypatch):
    model = LanguageModel(vocabulary_size=V, cell=GRU(input_size=V, hidden_size=H), start_symbol=0)
    params, rows = model.init(jax.random.key(0)), ([3, 2, 4, 5, 2, 3, 3, 5, 4, 2, 5], [2, 4], [], [4, 4, 3, 2])
    _, expected, token = model.start(params, prompts(*rows))
    language_model._read.clear_cache()
    monkeypatch.setattr(language_model, "PIECE", 4)
    _, state, again = model.start(params, prompts(*rows))
    language_model._read.clear_cache()
    np.testing.assert_array_equal(again, token)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, expected)


def test_an_empty_prompt_begins_with_the_start_symbol():
    model = MODELS["tied"]
    params = initial(model)
    state, expected = model.apply(params, {"tokens": jnp.array([[model.start_symbol]])})
    for width in (0, 3):
        _, state, token = model.start(params, prompts([], width=width))
        assert token.tolist() == [model.start_symbol]
        for leaf, fresh in zip(jax.tree.leaves(state), jax.tree.leaves(model.initial_state(params, 1)), strict=True):
            np.testing.assert_array_equal(leaf, fresh)
        _, logits = model.step(params, (), state, token)
        np.testing.assert_allclose(logits[0, 2:], expected[0, 0, 2:], atol=1e-5)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 3.0}, {"top_p": 1.0}, {"top_k": V}])
def test_start_symbol_and_padding_are_never_emitted(options):
    model = MODELS["tied"]
    params = initial(model)
    bias = params["projection"]["bias"].at[jnp.array([0, 1])].set(50.0)  # they would be likeliest by far
    params |= {"projection": {"bias": bias}}
    samples = decode.sample(model, params, prompts(*[[3]] * 20), max_length=30, key=jax.random.key(0), **options)
    assert set(np.unique(samples.tokens)) <= set(range(2, V))
    assert np.isfinite(samples.scores).all()


def test_prompts_outside_the_vocabulary_are_refused():
    model = LanguageModel(vocabulary_size=3, cell=GRU(input_size=3, hidden_size=4))
    params = model.init(jax.random.key(0))
    for wrong in (9, -2):
        with pytest.raises(InputError, match=f"prompts hold symbol {wrong}, the vocabulary has 0 to 2"):
            decode.greedy(model, params, {"tokens": jnp.array([[1, wrong]]), "tokens_lengths": jnp.array([2])}, max_length=2)
    with pytest.raises(InputError, match='prompts have no "tokens_lengths"'):
        decode.greedy(model, params, {"tokens": jnp.array([[1]])}, max_length=2)


def test_a_layer_in_place_of_the_cell_is_refused():
    with pytest.raises(InputError, match="LanguageModel wraps a cell, and a Bidirectional is not one"):
        LanguageModel(vocabulary_size=3, cell=Bidirectional(GRU(input_size=3, hidden_size=4)))


def test_masked_logits_pass_nothing_on():
    logits, mask = jnp.array([[[1.0, 2.0], [jnp.nan, 0.0]]]), jnp.array([[True, False]])
    grads = jax.grad(lambda x: cross_entropy(x, jnp.array([[0, 1]]), mask).mean)(logits)
    assert jnp.isfinite(grads).all() and not grads[0, 1].any()
