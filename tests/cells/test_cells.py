"""The cells against the lectures' worked example, float64 NumPy twins, and PyTorch."""

import copy
import dataclasses
import functools
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Bidirectional, Chain, Elman, InputError, Stack, unroll
from seqjax.cells.elman import ElmanState
from seqjax.cells.gru import GRUState
from seqjax.cells.lstm import LSTMState
from tests import oracles

GOLDENS = np.load(pathlib.Path(__file__).parent.parent / "goldens" / "torch_rnn.npz")
SIZES = {"input_size": 4, "hidden_size": 5}

TWINS = {
    "elman": (Elman(**SIZES), oracles.elman),
    "elman_relu": (Elman(**SIZES, activation="relu"), lambda p, x, h: oracles.elman(p, x, h, lambda a: np.maximum(a, 0))),
    "lstm": (LSTM(**SIZES), oracles.lstm),
    "gru": (GRU(**SIZES), oracles.gru_reset_after),
    "gru_reset_before": (GRU(**SIZES, reset_after=False), oracles.gru_reset_before),
}


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), tree)


@pytest.mark.parametrize(("name", "reverse"), [(name, False) for name in TWINS] + [("lstm", True)])
def test_equals_its_numpy_twin(name, reverse, x64):
    """Random masks and resets, in float64."""
    cell, twin = TWINS[name]
    rng = np.random.default_rng(3)
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 1)
    xs = rng.normal(size=(3, 7, 4))
    state = random_like(jax.eval_shape(lambda: cell.initial_state(params, (3,))), 2)
    initial = jax.tree.map(np.zeros_like, state)
    mask, reset = rng.random((3, 7)) < 0.7, rng.random((3, 7)) < 0.3
    actual = unroll(cell, params, xs, state, mask=mask, reset=reset, reverse=reverse)
    expected = oracles.unroll(twin, params, xs, tuple(state), tuple(initial), mask=mask, reset=reset, reverse=reverse)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-12, atol=1e-13)
    for a, b in zip(actual[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_the_slides_worked_example():
    """W_hh = W_xh = identity, b = 0: h is 0.76 for "person", then 0.64 and 0.76 for "person" and "holding"."""
    words = ["person", "holding", "dog"]
    cell = Elman(input_size=3, hidden_size=3, recurrent_init="identity")
    params = {"input_kernel": jnp.eye(3), "recurrent_kernel": jnp.eye(3), "bias": jnp.zeros(3)}
    one_hot = jax.nn.one_hot(jnp.array([words.index("person"), words.index("holding")]), 3)
    _, ys = unroll(cell, params, one_hot)
    np.testing.assert_allclose(ys, [[0.76, 0, 0], [0.64, 0.76, 0]], atol=0.005)
    _, tokens = unroll(cell, params, jnp.array([0, 1]))
    np.testing.assert_allclose(tokens, ys, rtol=1e-6)


def torch_case(name):
    return {key.split("/", 1)[1]: GOLDENS[key] for key in GOLDENS.files if key.startswith(name + "/")}


def from_torch(case, hidden, suffix=""):
    """PyTorch's weights as parameters: transposed, the two biases added up; a GRU keeps the recurrent bias of its candidate."""
    projection = {"projection_kernel": case[f"weight_hr{suffix}"].T} if f"weight_hr{suffix}" in case else {}
    w_ih, w_hh, b_ih, b_hh = (case[f"{n}{suffix}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    params = projection | {"input_kernel": w_ih.T, "recurrent_kernel": w_hh.T, "bias": b_ih + b_hh}
    if w_hh.shape[0] == 3 * hidden:
        params["bias"] = b_ih + np.where(np.arange(3 * hidden) < 2 * hidden, b_hh, 0)
        params["recurrent_kernel"], params["candidate_kernel"] = np.split(w_hh.T, [2 * hidden], axis=-1)
        params["recurrent_bias"] = b_hh[2 * hidden :]
    return params


def state_of(case, names, end=""):
    kinds = {"h": lambda h: ElmanState(h), "gru": lambda h: GRUState(h), "ch": lambda c, h: LSTMState(c, h)}
    arrays = [jnp.asarray(case[f"{'c' if n == 'c' else 'h'}{end or '0'}"]) for n in (("c", "h") if names == "ch" else ("h",))]
    return kinds[names](*arrays)


TORCH = {
    "tanh": (Elman(**SIZES), "h"),
    "relu": (Elman(**SIZES, activation="relu"), "h"),
    "lstm": (LSTM(**SIZES), "ch"),
    "gru": (GRU(**SIZES), "gru"),
    "lstmp": (LSTM(**SIZES, projection_size=3), "ch"),
}


@pytest.mark.parametrize("packed", ["", "_packed"])
@pytest.mark.parametrize("name", TORCH)
def test_equals_pytorch(name, packed, x64):
    """Outputs, final state, and the gradient of every weight, of the inputs and of the initial state."""
    cell, names = TORCH[name]
    case = torch_case(name + packed)
    lengths = jnp.asarray(case["lengths"]) if packed else None
    params, state, xs = from_torch(case, 5), state_of(case, names), jnp.asarray(case["xs"])
    weights = {n: case[f"loss_{n}"] for n in ("ys", "hT", "cT") if f"loss_{n}" in case}

    def loss(params, xs, state):
        end, ys = unroll(cell, params, xs, state, lengths=lengths)
        total = jnp.vdot(ys, weights["ys"]) + jnp.vdot(end.h, weights["hT"])
        return total + (jnp.vdot(end.c, weights["cT"]) if "cT" in weights else 0), (end, ys)

    grads, (end, ys) = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(params, xs, state)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)  # noqa: E731
    close(ys, case["ys"])
    close(end.h, case["hT"])
    close(grads[0]["input_kernel"].T, case["grad_weight_ih"])
    kernels = [grads[0][name] for name in ("recurrent_kernel", "candidate_kernel") if name in params]
    close(np.concatenate(kernels, axis=-1).T, case["grad_weight_hh"])
    close(grads[0]["bias"], case["grad_bias_ih"])
    if "projection_kernel" in params:
        close(grads[0]["projection_kernel"].T, case["grad_weight_hr"])
    if "recurrent_bias" in params:
        close(grads[0]["recurrent_bias"], case["grad_bias_hh"][-5:])
    close(grads[1], case["grad_xs"])
    close(grads[2].h, case["grad_h0"])
    if "cT" in weights:
        close(end.c, case["cT"])
        close(grads[2].c, case["grad_c0"])


@pytest.mark.parametrize("packed", ["", "_packed"])
def test_deep_bidirectional_equals_pytorch(packed, x64):
    case = torch_case("bilstm" + packed)
    lengths = jnp.asarray(case["lengths"]) if packed else None
    layers = Chain((Bidirectional(LSTM(**SIZES)), Bidirectional(LSTM(input_size=10, hidden_size=5))))
    directions = {"forward": "", "backward": "_reverse"}
    params = {str(n): {name: from_torch(case, 5, f"_l{n}{suffix}") for name, suffix in directions.items()} for n in range(2)}
    start = [LSTMState(jnp.asarray(case["c0"][i]), jnp.asarray(case["h0"][i])) for i in range(4)]
    state = ((start[0], start[1]), (start[2], start[3]))

    def loss(params, xs):
        end, ys = unroll(layers, params, xs, state, lengths=lengths)
        ends = jax.tree.leaves(end, is_leaf=lambda s: isinstance(s, LSTMState))
        total = jnp.vdot(ys, case["loss_ys"])
        total += sum(jnp.vdot(s.h, case["loss_hT"][i]) + jnp.vdot(s.c, case["loss_cT"][i]) for i, s in enumerate(ends))
        return total, (ends, ys)

    grads, (ends, ys) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, jnp.asarray(case["xs"]))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)  # noqa: E731
    close(ys, case["ys"])
    close(np.stack([s.h for s in ends]), case["hT"])
    close(grads[1], case["grad_xs"])
    for n in range(2):
        for name, suffix in directions.items():
            close(grads[0][str(n)][name]["recurrent_kernel"].T, case[f"grad_weight_hh_l{n}{suffix}"])
            close(grads[0][str(n)][name]["input_kernel"].T, case[f"grad_weight_ih_l{n}{suffix}"])


def test_the_lectures_mirrored_gru_is_the_same_cell(x64):
    """Deck 001 writes h = z * n + (1 - z) * h: our cell with the update gate's parameters negated."""
    cell = GRU(**SIZES)
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 4)
    mirrored = dict(params)
    for name in ("input_kernel", "recurrent_kernel", "bias"):
        r, z, n = np.split(np.asarray(params[name]), [5, 10], axis=-1)
        mirrored[name] = jnp.asarray(np.concatenate([r, -z, n], axis=-1))

    def mirror(p, x, h):
        zr, zz, zn = np.split(x @ p["input_kernel"] + p["bias"], 3, axis=-1)
        rr, rz = np.split(h @ p["recurrent_kernel"], 2, axis=-1)
        r, z = oracles.sigmoid(zr + rr), oracles.sigmoid(zz + rz)
        h = z * np.tanh(zn + r * (h @ p["candidate_kernel"] + p["recurrent_bias"])) + (1 - z) * h
        return (h,), h

    xs, zeros = np.random.default_rng(0).normal(size=(2, 6, 4)), np.zeros((2, 5))
    _, ys = unroll(cell, params, xs)
    _, expected = oracles.unroll(mirror, mirrored, xs, (zeros,), (zeros,))
    np.testing.assert_allclose(ys, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cell", [LSTM(**SIZES), GRU(**SIZES), Elman(**SIZES)], ids=lambda c: type(c).__name__)
def test_starts_as_documented(cell):
    params = jax.jit(cell.init)(jax.random.key(0))
    for gate, part in cell.split(params).items():
        kernel = np.asarray(part["recurrent_kernel"])
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(5), atol=1e-5)
        limit = np.sqrt(6 / (4 + 5))
        assert 0.5 * limit < np.abs(part["input_kernel"]).max() <= limit
        assert part["bias"].tolist() == [1.0 if (type(cell), gate) == (LSTM, "f") else 0.0] * 5


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))])
def test_a_copy_equals_its_cell(copied):
    cell = Stack((Elman(**SIZES), GRU(5, 2, heads=2)))
    assert copied(cell) == cell
    assert hash(copied(cell)) == hash(cell)


def dense_twin(cell, params):
    """The cell with one head whose kernel is block-diagonal, and its parameters."""

    def dense(kernel):
        heads, size, columns = kernel.shape
        eye, of_gates = jnp.eye(heads, dtype=kernel.dtype), kernel.reshape(heads, size, columns // size, size)
        return jnp.einsum("nkgm,no->nkgom", of_gates, eye).reshape(heads * size, -1)

    return dataclasses.replace(cell, heads=1), {name: dense(a) if a.ndim == 3 else a for name, a in params.items()}


@pytest.mark.parametrize("cell", [LSTM, GRU, functools.partial(GRU, reset_after=False)], ids=["lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("backend", ["scan", "fused"])
def test_heads_equal_a_block_diagonal_kernel(cell, backend, x64):
    """Values, and gradients with respect to every parameter and input, for three heads."""
    cell = cell(input_size=4, hidden_size=6, heads=3)
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 1)
    xs = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, 4)))

    def loss(params, xs, dense):
        twin, twin_params = dense_twin(cell, params) if dense else (cell, params)
        state, ys = unroll(twin, twin_params, xs, lengths=jnp.array([5, 3]), backend=backend)
        return jnp.vdot(ys, jnp.sin(jnp.arange(60.0)).reshape(ys.shape)) + state.h.sum(), ys

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    actual, expected = (gradient(params, xs, dense) for dense in (False, True))
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_heads_start_orthogonal_and_split_by_gate():
    cell = GRU(input_size=4, hidden_size=9, heads=3)  # the recurrent bias is as long as the gates of one head together
    params = cell.init(jax.random.key(0))
    parts = cell.split(params)
    for gate, part in parts.items():
        for kernel in np.asarray(part["recurrent_kernel"]):
            np.testing.assert_allclose(kernel @ kernel.T, np.eye(3), atol=1e-5)
        assert part["bias"].shape == (9,)
        assert ("recurrent_bias" in part) == (gate == "n")
    np.testing.assert_array_equal(parts["z"]["recurrent_kernel"][1], params["recurrent_kernel"][1, :, 3:6])
    kernels = [np.ravel(params[name]) for name in ("recurrent_kernel", "candidate_kernel")]
    assert len(np.unique(np.concatenate(kernels))) == 81  # no two heads are copies


def test_split_puts_an_array_of_one_gate_with_the_last():
    params = GRU(**SIZES).init(jax.random.key(0))
    parts = GRU(**SIZES).split(params)
    assert set(parts["n"]) == {"input_kernel", "recurrent_kernel", "bias", "recurrent_bias"}
    assert set(parts["r"]) == {"input_kernel", "recurrent_kernel", "bias"}
    np.testing.assert_array_equal(parts["z"]["recurrent_kernel"], params["recurrent_kernel"][:, 5:10])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(input_size=0, hidden_size=3), "LSTM has input_size=0, it must be a positive integer"),
        (lambda: GRU(input_size=2, hidden_size=2.5), r"GRU\.hidden_size is 2\.5, it must be an integer"),
        (lambda: LSTM(input_size=2, hidden_size=6, heads=4), "LSTM has heads=4, it must divide hidden_size=6"),
        (lambda: GRU(input_size=2, hidden_size=6, heads=0), "GRU has heads=0, it must be a positive integer"),
        (lambda: Elman(input_size=2, hidden_size=2, activation="sin"), "activation='sin', it must be one of 'tanh', 'relu'"),
    ],
)
def test_impossible_fields(make, message):
    with pytest.raises(InputError, match=message):
        make()
