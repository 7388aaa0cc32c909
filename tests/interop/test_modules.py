"""seqjax cells as modules of Flax, trained in Flax's ways; modules of PyTorch and Keras where these are installed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from seqjax import GRU, LSTM, Bidirectional, Chain, Dropout, Elman, InputError, Stack, unroll
from seqjax.interop import flax, keras, torch

CELL = Stack((Dropout(0.5), GRU(input_size=2, hidden_size=3)))
XS, LENGTHS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 2)), jnp.float32), jnp.array([3, 1])


def check_outputs(ys, expected):
    """Outputs by name: without noise those of `unroll`, with noise others, and others again under another key."""
    np.testing.assert_allclose(ys["plain"], expected, rtol=1e-6)
    np.testing.assert_allclose(ys["off"], expected, rtol=1e-6)
    np.testing.assert_allclose(ys["stepped"], expected[:, 0], rtol=1e-6)
    assert not np.allclose(ys["noisy"], expected) and not np.allclose(ys["noisy"], ys["other"])
    assert not ys["noisy"][1, 1:].any()


def test_as_linen_trains_under_a_train_state():
    layer = flax.as_linen(CELL)

    @jax.jit
    def all_outputs(keys):
        params = layer.init(jax.random.PRNGKey(0), XS)["params"]  # an old key, such as many users of Flax have
        state = TrainState.create(apply_fn=layer.apply, params=params, tx=optax.sgd(0.05))

        def loss(params):
            noisy, other = (state.apply_fn({"params": params}, XS, lengths=LENGTHS, rngs={"dropout": key}) for key in keys)
            return (noisy**2).sum(), (noisy, other)

        (before, (noisy, other)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        after = state.apply_gradients(grads=grads)
        apply = lambda *args, **options: state.apply_fn({"params": state.params}, *args, **options)  # noqa: E731
        plain = apply(XS, lengths=LENGTHS, return_state=True)
        off = apply(XS, lengths=LENGTHS, deterministic=True, rngs={"dropout": keys[0]})
        _, stepped = apply(apply(2, method="start"), XS[:, 0], method="step")
        ys = {"plain": plain[1], "off": off, "noisy": noisy, "other": other, "stepped": stepped}
        return before, loss(after.params)[0], ys, plain[0], unroll(CELL, params, XS, lengths=LENGTHS)

    before, after, ys, end, (expected_end, expected) = all_outputs(jax.random.split(jax.random.key(1)))
    check_outputs(ys, expected)
    assert after < before
    np.testing.assert_allclose(end[1].h, expected_end[1].h, rtol=1e-6)


def test_as_nnx_trains_under_an_optimizer():
    @nnx.jit
    def all_outputs():
        layer = flax.as_nnx(CELL, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(layer, optax.sgd(0.05), wrt=nnx.Param)
        params = layer.arrays()
        expected = unroll(CELL, params, XS, lengths=LENGTHS)[1]
        layer.eval()
        ys = {"plain": layer(XS, lengths=LENGTHS), "stepped": layer.step(layer.start(2), XS[:, 0])[1]}
        layer.train()
        ys |= {"off": layer(XS, lengths=LENGTHS, deterministic=True), "other": layer(XS, lengths=LENGTHS)}

        def loss(layer):
            noisy = layer(XS, lengths=LENGTHS)
            return (noisy**2).sum(), noisy

        (_, ys["noisy"]), grads = nnx.value_and_grad(loss, has_aux=True)(layer)
        optimizer.update(layer, grads)
        return expected, ys, layer, params

    expected, ys, layer, params = all_outputs()
    check_outputs(ys, expected)
    assert not np.allclose(layer.arrays()["1"]["input_kernel"], params["1"]["input_kernel"])
    assert layer.rngs.count[...] == 2  # draws of noise


# Live, where the libraries are installed (`make bench` installs them).


def test_modules_of_torch():
    lib = pytest.importorskip("torch")
    nn, xs = lib.nn, np.array(XS)
    networks = {
        nn.RNN(2, 3, nonlinearity="relu", batch_first=True): Elman(2, 3, activation="relu"),
        nn.LSTM(2, 3, batch_first=True): LSTM(2, 3),
        nn.GRU(2, 3, 2, dropout=0.5, batch_first=True).eval(): Stack.of(GRU, (2, 3, 3), dropout=0.5),
        nn.GRU(2, 3, 2, bidirectional=True, batch_first=True): Chain((Bidirectional(GRU(2, 3)), Bidirectional(GRU(6, 3)))),
    }
    for module, cell in networks.items():
        assert torch.cell_of(module) == cell
        params = torch.from_torch(nn.ModuleDict({"a": module}), cell, prefix="a.")
        expected = module(lib.from_numpy(xs))[0].detach().numpy()
        np.testing.assert_allclose(unroll(cell, params, xs)[1], expected, rtol=0, atol=1e-6)
        module.load_state_dict(torch.to_torch(params, cell))
        np.testing.assert_allclose(module(lib.from_numpy(xs))[0].detach().numpy(), expected, rtol=0, atol=1e-6)
    for module, cell in {nn.RNNCell(2, 3): Elman(2, 3), nn.LSTMCell(2, 3): LSTM(2, 3), nn.GRUCell(2, 3): GRU(2, 3)}.items():
        assert torch.cell_of(module) == cell
        module.load_state_dict(torch.to_torch(torch.from_torch(module, cell), cell, one_step=True))
    half = torch.from_torch(nn.LSTM(2, 3, dtype=lib.bfloat16), LSTM(2, 3))
    assert {a.dtype for a in jax.tree.leaves(half)} == {jnp.bfloat16.dtype}
    assert torch.to_torch(half, LSTM(2, 3))["weight_ih_l0"].dtype == lib.bfloat16
    relu = nn.RNN(2, 3, nonlinearity="relu")
    for module, cell, message in [
        (
            relu,
            Elman(2, 3),
            r"^the module is Elman\(.*'relu'\), its weights were asked for as Elman\(input_size=2, hidden_size=3\)$",
        ),
        (nn.LSTM(2, 3, 2), LSTM(2, 3), "^the module has 2 layers, LSTM has 1$"),
        (nn.LSTM(2, 3), Bidirectional(LSTM(2, 3)), "^the module has 1 direction, Bidirectional has 2$"),
        (nn.Linear(2, 3), LSTM(2, 3), "^the state dict has no weight_ih_l0: it holds \\['bias', 'weight'\\]$"),
    ]:
        with pytest.raises(InputError, match=message):
            torch.from_torch(module, cell)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras with NumPy 2
def test_modules_of_keras(implicit_promotion, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    lib = pytest.importorskip("keras")
    layers, xs = lib.layers, np.asarray(XS)
    networks = {
        layers.SimpleRNN(3, activation="relu", return_sequences=True): Elman(2, 3, activation="relu"),
        layers.LSTM(3, return_sequences=True): LSTM(2, 3),
        layers.GRU(3, reset_after=False, return_sequences=True): GRU(2, 3, reset_after=False),
        layers.RNN(layers.GRUCell(3), return_sequences=True): GRU(2, 3),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="ave"): Bidirectional(LSTM(2, 3), merge="mean"),
    }

    def run(layer):
        with jax.numpy_rank_promotion("allow"):
            return np.asarray(layer(xs))

    for layer, cell in networks.items():
        expected = run(layer)
        if type(layer) is not layers.RNN:
            assert keras.cell_of(layer) == cell
        params = keras.from_keras(layer, cell)
        np.testing.assert_allclose(unroll(cell, params, xs)[1], expected, rtol=0, atol=1e-6)
        layer.set_weights(keras.to_keras(params, cell))
        np.testing.assert_allclose(run(layer), expected, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match=r"^LSTM is not built"):
        keras.cell_of(layers.LSTM(3))
    for wrap in (lambda layer: layer, layers.Bidirectional):
        with pytest.raises(InputError, match=r"^a cell has no go_backwards"):
            keras.cell_of(wrap(layers.LSTM(3, go_backwards=True)))
    layer = layers.LSTM(3, activation="relu")
    run(layer)
    assert keras.cell_of(layer) == LSTM(2, 3, input_activation="relu", output_activation="relu")
    with pytest.raises(InputError, match=r"^the module is LSTM\(.*'relu'\), its weights were asked for as LSTM\(.*_size=3\)$"):
        keras.from_keras(layer, LSTM(2, 3))
