"""MGU, MUT1 to MUT3, IndRNN, the recurrent highway cell and ConvLSTM: float64 NumPy twins, Flax, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import MGU, MUT1, MUT2, MUT3, ConvLSTM, IndRNN, InputError, RecurrentHighway, explain, unroll
from seqjax.cells.conv_lstm import convolve, patches
from seqjax.cells.hidden import HiddenState
from tests import oracles
from tests.catalog import CATALOG
from tests.oracles import sigmoid

SIZES = {"input_size": 4, "hidden_size": 5}
SQUARE = {"input_size": 5, "hidden_size": 5}


def relu(a):
    return np.maximum(a, 0)


def cut(a):
    """[..., nH] to n arrays [..., H]."""
    return np.split(a, a.shape[-1] // 5, axis=-1)


def mgu(p, x, h):
    x_f, x_n = cut(x @ p["input_kernel"] + p["bias"])
    f = sigmoid(x_f + h @ p["recurrent_kernel"])
    h = (1 - f) * h + f * np.tanh(x_n + (f * h) @ p["candidate_kernel"])
    return (h,), h


def mgu_flax(p, x, h):
    x_f, x_n = cut(x @ p["input_kernel"] + p["bias"])
    f = sigmoid(x_f + h @ p["recurrent_kernel"])
    h = (1 - f) * np.tanh(x_n + f * (h @ p["candidate_kernel"] + p["recurrent_bias"])) + f * h
    return (h,), h


def mut1(p, x, h):
    (w_z, w_r), (b_z, b_r, b_n) = cut(p["input_kernel"]), cut(p["bias"])
    z, r = sigmoid(x @ w_z + b_z), sigmoid(x @ w_r + h @ p["recurrent_kernel"] + b_r)
    h = np.tanh((r * h) @ p["candidate_kernel"] + np.tanh(x) + b_n) * z + h * (1 - z)
    return (h,), h


def mut2(p, x, h):
    (w_z, w_n), (u_z, u_r), (b_z, b_r, b_n) = cut(p["input_kernel"]), cut(p["recurrent_kernel"]), cut(p["bias"])
    z, r = sigmoid(x @ w_z + h @ u_z + b_z), sigmoid(x + h @ u_r + b_r)
    h = np.tanh((r * h) @ p["candidate_kernel"] + x @ w_n + b_n) * z + h * (1 - z)
    return (h,), h


def mut3(p, x, h):
    (w_z, w_r, w_n), (b_z, b_r, b_n) = cut(p["input_kernel"]), cut(p["bias"])
    z = sigmoid(x @ w_z + np.tanh(h) @ p["update_recurrent_kernel"] + b_z)
    r = sigmoid(x @ w_r + h @ p["recurrent_kernel"] + b_r)
    h = np.tanh((r * h) @ p["candidate_kernel"] + x @ w_n + b_n) * z + h * (1 - z)
    return (h,), h


def ind_rnn(p, x, h):
    h = relu(x @ p["input_kernel"] + p["recurrent_weights"] * h + p["bias"])
    return (h,), h


def recurrent_highway(p, x, h):
    a = x @ p["input_kernel"]
    for kernel, bias in (("recurrent_kernel", "bias"), ("layer2_recurrent_kernel", "bias2")):
        n, t = cut(a + h @ p[kernel] + p[bias])
        h, a = np.tanh(n) * sigmoid(t) + h * (1 - sigmoid(t)), 0
    return (h,), h


def convolved(xs, kernel):
    """[*spatial, C] with [*widths, C, N], place by place."""
    ys = np.zeros((*xs.shape[:-1], kernel.shape[-1]))
    for place in np.ndindex(xs.shape[:-1]):
        for offset in np.ndindex(kernel.shape[:-2]):
            at = tuple(i + k - (width - 1) // 2 for i, k, width in zip(place, offset, kernel.shape, strict=False))
            if all(0 <= i < size for i, size in zip(at, xs.shape, strict=False)):
                ys[place] += xs[at] @ kernel[offset]
    return ys


def conv_lstm(p, x, c, h):
    recurrent = p["recurrent_kernel"].reshape(*p["input_kernel"].shape[:-2], h.shape[-1], -1)
    i, f, g, o = np.split(convolved(x, p["input_kernel"]) + convolved(h, recurrent) + p["bias"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


TWINS = {
    "mgu": (MGU(**SIZES), mgu),
    "mgu_flax": (MGU(**SIZES, form="flax"), mgu_flax),
    "mut1": (MUT1(**SQUARE), mut1),
    "mut2": (MUT2(**SQUARE), mut2),
    "mut3": (MUT3(**SIZES), mut3),
    "ind_rnn": (IndRNN(**SIZES), ind_rnn),
    "recurrent_highway": (RecurrentHighway(**SIZES, depth=2), recurrent_highway),
    "conv_lstm": (ConvLSTM(2, 3, spatial_shape=(4, 3), kernel_size=(3, 2)), conv_lstm),
}


def random_like(shapes, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(size=a.shape), shapes)


def floats_like(cell):
    """Parameters of `init`'s form, float32; nothing is compiled."""
    return jax.tree.map(jnp.float32, random_like(jax.eval_shape(cell.init, jax.random.key(0)), 0))


@pytest.mark.parametrize("name", TWINS)
def test_equals_its_numpy_twin(name, x64):
    """Random masks and resets, in float64."""
    cell, twin = TWINS[name]
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 1)
    state = random_like(jax.eval_shape(lambda: cell.initial_state(params, (3,))), 2)
    rng = np.random.default_rng(3)
    xs, mask, reset = rng.normal(size=(3, 6, *cell.input_shape)), rng.random((3, 6)) < 0.7, rng.random((3, 6)) < 0.3
    final, ys = unroll(cell, params, xs, state, mask=mask, reset=reset)
    expected = oracles.unroll(twin, params, xs, tuple(state), tuple(map(np.zeros_like, state)), mask=mask, reset=reset)
    for a, b in zip((*final, ys), (*expected[0], expected[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_the_flax_form_of_the_minimal_gated_unit_is_that_of_flax():
    from flax import linen as nn

    cell, module = MGU(input_size=3, hidden_size=4, form="flax", forget_bias=1.0), nn.MGUCell(features=4)
    params, h, x = floats_like(cell), jnp.linspace(-1, 1, 8).reshape(2, 4), jnp.linspace(-2, 2, 6).reshape(2, 3)
    (w_f, w_n), (b_f, b_n) = jnp.split(params["input_kernel"], 2, axis=-1), jnp.split(params["bias"], 2)
    variables = {
        "if": {"kernel": w_f, "bias": b_f},
        "in": {"kernel": w_n, "bias": b_n},
        "hf": {"kernel": params["recurrent_kernel"]},
        "hn": {"kernel": params["candidate_kernel"], "bias": params["recurrent_bias"]},
    }
    _, expected = module.apply({"params": variables}, h, x)
    np.testing.assert_allclose(cell.step(params, HiddenState(h), x)[1], expected, rtol=1e-5, atol=1e-6)
    assert cell.init(jax.random.key(0))["bias"].tolist() == [1.0] * 4 + [0.0] * 4


@pytest.mark.parametrize("widths", [(3,), (2, 3), (2, 1, 3)])
def test_a_convolution_is_a_product_with_patches(widths):
    rng = np.random.default_rng(0)
    xs, kernel = rng.normal(size=(2, *(4, 3, 2)[: len(widths)], 2)), rng.normal(size=(*widths, 2, 5))
    by_patches = patches(jnp.asarray(xs, jnp.float32), widths) @ kernel.reshape(-1, 5).astype(np.float32)
    by_convolution = convolve(jnp.asarray(xs, jnp.float32), jnp.asarray(kernel, jnp.float32))
    expected = np.stack([convolved(row, kernel) for row in xs])
    np.testing.assert_allclose(by_patches, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_convolution, expected, rtol=1e-4, atol=1e-5)


def test_frames_of_bytes_are_read_as_fractions():
    cell = ConvLSTM(1, 2, spatial_shape=(3,))
    params = floats_like(cell)
    xs = np.arange(0, 240, 20, dtype=np.uint8).reshape(4, 3, 1)
    as_floats = cell.project(params, jnp.asarray(xs / np.float32(255)))
    np.testing.assert_allclose(cell.project(params, jnp.asarray(xs)), as_floats, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, cell in CATALOG.items() if getattr(cell, "gates", ())])
def test_split_puts_every_entry_into_one_gate(name):
    cell = CATALOG[name]
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    params = jax.tree.map(lambda a: np.arange(a.size, dtype=np.float32).reshape(a.shape), shapes)
    views = cell.split(params)
    assert {gate for gate, view in views.items() if view} >= set(cell.gates)  # the multiplicative LSTM has a view of its m too
    parts, whole = (np.sort(np.concatenate([np.ravel(a) for a in jax.tree.leaves(tree)])) for tree in (views, params))
    np.testing.assert_array_equal(parts, whole)


def test_mut3_splits_by_name():
    params = floats_like(MUT3(**SIZES))
    views = MUT3(**SIZES).split(params)
    kernels = {"z": "update_recurrent_kernel", "r": "recurrent_kernel", "n": "candidate_kernel"}
    for number, (gate, name) in enumerate(kernels.items()):
        assert set(views[gate]) == {"input_kernel", name, "bias"}
        np.testing.assert_array_equal(views[gate][name], params[name])
        np.testing.assert_array_equal(views[gate]["input_kernel"], params["input_kernel"][:, 5 * number : 5 * number + 5])


def test_the_fused_backend_runs_every_cell_with_a_recurrent_kernel():
    for name, (cell, _) in TWINS.items():
        params = jax.eval_shape(cell.init, jax.random.key(0))
        xs = jnp.zeros((2, 3, *cell.input_shape))
        params = jax.tree.map(lambda a: jnp.zeros(a.shape), params)
        assert explain(cell, params, xs)[0].backend == ("scan" if name == "ind_rnn" else "fused"), name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MGU(2, 3, form="gru"), "MGU has form='gru', it must be one of 'zhou', 'flax'"),
        (lambda: MGU(2, 0), "MGU has hidden_size=0, it must be a positive integer"),
        (lambda: MUT1(2, 3), "MUT1 adds its input to hidden units, and has input_size=2 and hidden_size=3: they must be equal"),
        (lambda: MUT2(4, 3), "MUT2 adds its input to hidden units, and has input_size=4 and hidden_size=3: they must be equal"),
        (lambda: IndRNN(2, 3, activation="gelu2"), "IndRNN has activation='gelu2', it must be one of "),
        (
            lambda: IndRNN(2, 3, recurrent_range=(1.0, 0.0)),
            r"recurrent_range=\(1.0, 0.0\), it must be two finite numbers, the lower",
        ),
        (lambda: IndRNN(2, 3, recurrent_range=(1.0,)), "it must be two finite numbers, the lower first"),
        (lambda: RecurrentHighway(2, 3, depth=0), "RecurrentHighway has depth=0, it must be a positive integer"),
        (lambda: ConvLSTM(1, 2, spatial_shape=()), r"ConvLSTM has spatial_shape=\(\), it must have one to three axes"),
        (lambda: ConvLSTM(1, 2, spatial_shape=(2, 2, 2, 2)), "it must have one to three axes"),
        (lambda: ConvLSTM(1, 2, spatial_shape=8), r"ConvLSTM\.spatial_shape is 8, it must be a tuple of integers"),
        (
            lambda: ConvLSTM(1, 2, spatial_shape=(8,), kernel_size=0),
            r"ConvLSTM has kernel_size\[0\]=0, it must be a positive integer",
        ),
        (
            lambda: ConvLSTM(1, 2, spatial_shape=(8,), kernel_size=(3, 3)),
            r"kernel_size=\(3, 3\) and spatial_shape=\(8,\): give one",
        ),
        (
            lambda: ConvLSTM(1, 2, spatial_shape=(8,), kernel_size="3"),
            "kernel_size='3', it must be an integer, or one for each axis",
        ),
    ],
)
def test_impossible_fields(make, message):
    with pytest.raises(InputError, match=message):
        make()
