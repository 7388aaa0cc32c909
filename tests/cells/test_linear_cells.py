"""Linear recurrences: float64 NumPy twins, the backend that runs them, and gates that saturate."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag

from seqjax import LRU, LSTM, QRNN, RGLRU, S4D, SRU, Chain, Convolution, InputError, MinGRU, MinLSTM, explain, unroll
from tests import oracles


def s(a):
    return 1 / (1 + np.exp(-a))


def positive(a):
    return np.where(a >= 0, a + 0.5, s(a))


def gates(p, x, count):
    return np.split(x @ p["input_kernel"] + p["bias"], count)


def bypass(p, x):
    return x @ p["bypass_kernel"] if "bypass_kernel" in p else x


def min_gru(p, x, h):
    z, n = gates(p, x, 2)
    h = (1 - s(z)) * h + s(z) * positive(n)
    return (h,), h


def min_lstm(p, x, h):
    f, i, n = gates(p, x, 3)
    h = (s(f) * h + s(i) * np.tanh(n)) / (s(f) + s(i))
    return (h,), h


def sru(p, x, c):
    n, f, r = gates(p, x, 3)
    c = s(f) * c + (1 - s(f)) * n
    return (c,), s(r) * np.tanh(c) + (1 - s(r)) * bypass(p, x)


def qrnn(pooling):
    def step(p, x, c):
        n, *i, f, o = gates(p, x, len(pooling) + 1) if "o" in pooling else (*gates(p, x, 2), None)
        c = s(f) * c + (s(i[0]) if i else 1 - s(f)) * np.tanh(n)
        return (c,), c if o is None else s(o) * c

    return step


def rg_lru(p, x, h):
    kernel = p["input_kernel"]
    if kernel.ndim == 3:  # a block for each head, with those of both gates side by side
        kernel = np.concatenate([block_diag(*of_gate) for of_gate in np.split(kernel, 2, axis=2)], axis=1)
    r, i = gates(p | {"input_kernel": kernel}, x, 2)
    a = s(p["decay"]) ** (8 * s(r))
    h = a * h + np.sqrt(1 - a**2) * s(i) * bypass(p, x)
    return (h,), h


def lru(p, x, real, imaginary):
    size = len(p["log_decay"])
    b = p["input_kernel"][:, :size] + 1j * p["input_kernel"][:, size : 2 * size]
    c = p["output_kernel"][:size] - 1j * p["output_kernel"][size:]
    l = np.exp(-np.exp(p["log_decay"]) + 1j * np.exp(p["log_phase"]))  # noqa: E741
    h = l * (real + 1j * imaginary) + np.exp(p["log_scale"]) * (x @ b)
    return (h.real, h.imag), (h @ c).real + x @ p["input_kernel"][:, 2 * size :]


def s4d(p, x, real, imaginary):
    u, y, states = bypass(p, x), np.zeros(len(p["log_step"])), []
    for k, h in enumerate((real + 1j * imaginary).reshape(len(u), -1)):
        modes = slice(k * len(h), (k + 1) * len(h))
        a = -np.exp(p["log_decay"][modes]) + 1j * p["frequency"][modes]
        factor = np.exp(a * np.exp(p["log_step"][k]))
        states.append(factor * h + (factor - 1) / a * u[k])
        c = p["output_real"][modes] + 1j * p["output_imaginary"][modes]
        y[k] = 2 * (c * states[-1]).sum().real + p["feed_through"][k] * u[k]
    h = np.concatenate(states)
    return (h.real, h.imag), y


SIZES, SQUARE = {"input_size": 4, "hidden_size": 5}, {"input_size": 4, "hidden_size": 4}
TWINS = {
    "min_gru": (MinGRU(**SIZES), min_gru),
    "min_lstm": (MinLSTM(**SIZES, activation="tanh"), min_lstm),
    "sru": (SRU(**SIZES, activation="tanh"), sru),
    "sru_square": (SRU(**SQUARE, activation="tanh"), sru),
    "qrnn_f": (QRNN(**SIZES, pooling="f"), qrnn("f")),
    "qrnn_fo": (QRNN(**SIZES), qrnn("fo")),
    "qrnn_ifo": (QRNN(**SIZES, pooling="ifo"), qrnn("ifo")),
    "rg_lru": (RGLRU(**SIZES), rg_lru),
    "rg_lru_heads": (RGLRU(input_size=4, hidden_size=6, heads=2), rg_lru),
    "lru": (LRU(**SIZES, state_size=3), lru),
    "s4d": (S4D(**SIZES, state_size=3), s4d),
}


@pytest.mark.parametrize("name", TWINS)
def test_equals_its_numpy_twin(name, x64):
    """Random masks and resets, both directions, in float64, from a state that is not 0."""
    cell, twin = TWINS[name]
    rng = np.random.default_rng(3)
    params = {n: rng.normal(size=a.shape) for n, a in jax.eval_shape(cell.init, jax.random.key(0)).items()}
    xs, mask, reset = rng.normal(size=(3, 7, 4)), rng.random((3, 7)) < 0.7, rng.random((3, 7)) < 0.3
    forms = jax.eval_shape(lambda: cell.initial_state(params, (3,)))
    state = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), forms)
    start, zeros = tuple(map(np.asarray, state)), tuple(np.zeros(a.shape) for a in state)
    for reverse in (False, True):
        options = {"mask": mask, "reset": reset, "reverse": reverse}
        actual = unroll(cell, params, xs, state, backend="linear", **options)
        expected = oracles.unroll(twin, params, xs, start, zeros, **options)
        for a, b in zip((*actual[0], actual[1]), (*expected[0], expected[1]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_gates_that_are_too_small_for_their_dtype_still_sum_to_one():
    """s(-200) is 0 in float32, and so is s(-201)."""
    cell = MinLSTM(input_size=1, hidden_size=1, activation="linear")
    params = {"input_kernel": jnp.zeros((1, 3)), "bias": jnp.array([-200.0, -201.0, 4.0])}

    def last(params, xs):
        return unroll(cell, params, xs)[1][0, -1, 0]

    y, (of_params, of_xs) = jax.jit(jax.value_and_grad(last, (0, 1)))(params, jnp.ones((1, 2, 1)))
    np.testing.assert_allclose(y, 4 * (1 - s(1.0) ** 2), rtol=1e-5)  # two steps, in each of which i is s(-1)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((of_params, of_xs)))


@pytest.mark.parametrize("name", ["rg_lru", "lru", "s4d"])
def test_decays_of_any_size_leave_values_and_gradients_finite(name):
    """Decay rates so large or so small that the factor rounds to 0 or 1, over 2,000 steps."""
    cell = TWINS[name][0]
    params = cell.init(jax.random.key(0))
    key = "decay" if name == "rg_lru" else "log_decay"
    sizes = jnp.array([-100.0, -20.0, 0.0, 20.0, 80.0])
    params[key] = jnp.resize(sizes, params[key].shape)
    total = lambda p, x: (unroll(cell, p, x)[1] ** 2).mean()  # noqa: E731
    value, gradients = jax.jit(jax.value_and_grad(total))(params, jnp.sin(jnp.arange(8000.0)).reshape(1, 2000, 4))
    assert np.isfinite(value)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(gradients))


def test_a_wider_window_is_a_causal_convolution_before(x64):
    """W_0 x[t-1] + W_1 x[t] in every gate, by a convolution to as many features as the window holds."""
    cell = QRNN(input_size=4, hidden_size=3, pooling="f")
    chain = Chain((Convolution(input_size=2, features=4, widths=(2,), causal=True, activation="linear"), cell))
    params = jax.tree.map(lambda a: a.astype(jnp.float64), chain.init(jax.random.key(0)))
    xs = np.random.default_rng(0).normal(size=(1, 5, 2))
    window = np.concatenate([np.concatenate([np.zeros((1, 1, 2)), xs[:, :-1]], 1), xs], axis=2)  # x[t-1], x[t]
    side_by_side = np.eye(4).reshape(2, 2, 4)
    kernels = jax.tree.leaves_with_path(params["0"])
    params["0"] = jax.tree.map(lambda a: jnp.asarray(side_by_side) if a.ndim == 3 else jnp.zeros_like(a), params["0"])
    assert sorted(a.ndim for _, a in kernels) == [1, 3]
    np.testing.assert_allclose(unroll(chain, params, xs)[1], unroll(cell, params["1"], window)[1], rtol=1e-12)


def test_explain_names_the_method_and_the_reasons_against_the_backend():
    cell = MinGRU(input_size=3, hidden_size=4)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((2, 5, 3))
    assert str(explain(cell, params, xs)[0]).startswith(f"{cell}: linear, a loop over the steps\n  not pallas: ")
    s4d = S4D(input_size=3, hidden_size=3, state_size=8)  # on a CPU
    reasons = explain(s4d, s4d.init(jax.random.key(0)), xs)[0].refused
    assert reasons["linear"] == "it would store 48 numbers of each step, and a loop makes them from 3"
    lstm = LSTM(input_size=3, hidden_size=4)
    assert explain(lstm, lstm.init(jax.random.key(0)), xs)[0].refused["linear"] == "it is not a LinearCell"
    own = Squared(input_size=3, hidden_size=4)
    assert explain(own, params, xs)[0].refused["linear"] == "it has a recur of its own"
    with pytest.raises(InputError, match=r"backend 'linear' cannot run .*: it has a recur of its own"):
        unroll(own, params, xs, backend="linear")


@dataclasses.dataclass(frozen=True)
class Squared(MinGRU):
    """Its recurrence is not linear."""

    def recur(self, params, state, z, **options):
        state, y = super().recur(params, state, z, **options)
        return state, y**2


@dataclasses.dataclass(frozen=True)
class WrongElements(MinGRU):
    """Its term has an axis too many."""

    def elements(self, params, z):
        a, b = super().elements(params, z)
        return a, b[..., None]


def test_elements_of_another_shape_are_refused_by_every_backend():
    cell = WrongElements(input_size=3, hidden_size=4)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((2, 5, 3))
    for backend in ("auto", "scan"):
        with pytest.raises(InputError, match=r"^WrongElements.elements gives \(float32\[.*, not b \[2, (5, )?4\] and a that"):
            unroll(cell, params, xs, backend=backend)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QRNN(3, 4, pooling="of"), "QRNN has pooling='of', it must be one of 'f', 'fo', 'ifo'"),
        (lambda: MinLSTM(3, 4, forget_bias=np.inf), "MinLSTM has forget_bias=inf, it must be a finite number"),
        (lambda: LRU(3, 4, radius=(0.9, 0.8)), "LRU has radius=(0.9, 0.8), it must be two increasing numbers from 0 to 1"),
        (lambda: LRU(3, 4, radius=(0.9,)), "LRU has radius=(0.9,), it must be two increasing numbers from 0 to 1"),
        (lambda: LRU(3, 4, max_phase=0), "LRU has max_phase=0, it must be an angle above 0"),
        (lambda: LRU(3, 4, state_size=0), "LRU has state_size=0, it must be a positive integer"),
        (
            lambda: S4D(3, 4, step_size=(0.1, 0.01)),
            "S4D has step_size=(0.1, 0.01), it must be two positive numbers, the larger last",
        ),
        (lambda: RGLRU(3, 0), "RGLRU has hidden_size=0, it must be a positive integer"),
        (lambda: RGLRU(4, 6, heads=4), "RGLRU has heads=4, it must divide hidden_size=6"),
        (lambda: RGLRU(4, 6, heads=3), "RGLRU has heads=3, it must divide input_size=4"),
    ],
)
def test_fields_that_are_refused(make, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        make()
