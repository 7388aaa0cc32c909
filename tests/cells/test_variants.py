"""Variants of the LSTM and the GRU, the multiplicative LSTM and sLSTM, against float64 NumPy twins of their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, SLSTM, Elman, InputError, MultiplicativeLSTM, Zoneout, unroll
from seqjax.activations import ACTIVATIONS
from tests.oracles import sigmoid

SIZES = {"input_size": 4, "hidden_size": 6}
SQUASHING = {"tanh": np.tanh, "linear": lambda a: a, "relu": lambda a: np.maximum(a, 0)}


def norm(a, scale, bias=0.0):
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5) * scale + bias


def per_gate(names, a):
    return dict(zip(names, np.split(a, len(names), axis=-1), strict=True))


def lstm(cell, p, x, c, h, gates=None, read=None):
    """Greff et al. 2015, section 2 and appendix; Sak et al. 2014; Ba et al. 2016. `read`: in place of h."""
    there = {"i": cell.input_gate, "f": cell.forget_gate and not cell.coupled, "g": True, "o": cell.output_gate}
    names = [name for name, is_there in there.items() if is_there]
    read = h if read is None else read
    of_x, of_h = x @ p["input_kernel"], heads_product(read, p["recurrent_kernel"])
    if cell.layer_norm:
        of_x, of_h = norm(of_x, p["input_scale"]), norm(of_h, p["recurrent_scale"])
    a = per_gate(names, of_x + of_h + p["bias"])
    others = [n for n in names if n != "g"]
    if cell.gate_recurrence:
        a |= {n: a[n] + more for n, more in per_gate(others, gates @ p["gate_recurrent_kernel"]).items()}
    peephole = per_gate(others, p["peepholes"]) if cell.peepholes else dict.fromkeys(others, 0.0)
    i = sigmoid(a["i"] + peephole["i"] * c) if "i" in a else np.ones_like(c)
    f = sigmoid(a["f"] + peephole["f"] * c) if "f" in a else 1 - i if cell.coupled else np.ones_like(c)
    c = f * c + i * SQUASHING[cell.input_activation](a["g"])
    o = sigmoid(a["o"] + peephole["o"] * c) if "o" in a else np.ones_like(c)
    h = o * SQUASHING[cell.output_activation](norm(c, p["cell_scale"], p["cell_bias"]) if cell.layer_norm else c)
    if cell.projection_size:
        h = h @ p["projection_kernel"]
    new = (c, h, np.concatenate([{"i": i, "f": f, "o": o}[n] for n in others], -1)) if cell.gate_recurrence else (c, h)
    return new, h


def heads_product(h, kernel):
    """h @ kernel; a kernel [N, K, nK] holds the gates of each of N heads side by side."""
    if kernel.ndim == 2:
        return h @ kernel
    count, size, _ = kernel.shape
    heads = [per_gate(range(kernel.shape[-1] // size), part @ k) for part, k in zip(np.split(h, count, -1), kernel, strict=True)]
    return np.concatenate([head[gate] for gate in heads[0] for head in heads], -1)


def multiplicative(cell, p, x, c, h, *more):
    """Krause et al. 2016."""
    m = (x @ p["multiplicative_input_kernel"]) * heads_product(h, p["multiplicative_recurrent_kernel"])
    return lstm(cell, p, x, c, h, *more, read=m)


def gru(cell, p, x, h):
    """Cho et al. 2014; Ba et al. 2016, supplementary material."""
    split = lambda a: np.split(a, [2 * cell.hidden_size], axis=-1)  # noqa: E731
    (x_rz, x_n), (scale_rz, scale_n), (bias_rz, bias_n) = map(split, (x @ p["input_kernel"], p["input_scale"], p["bias"]))
    h_rz = norm(h @ p["recurrent_kernel"], p["recurrent_scale"])
    r, z = map(sigmoid, np.split(norm(x_rz, scale_rz) + h_rz + bias_rz, 2, axis=-1))
    h_n = norm((h if cell.reset_after else r * h) @ p["candidate_kernel"], p["candidate_scale"])
    n = norm(x_n, scale_n) + bias_n + (r * (h_n + p["recurrent_bias"]) if cell.reset_after else h_n)
    h = (1 - z) * SQUASHING[cell.activation](n) + z * h
    return (h,), h


def slstm(cell, p, x, c, n, m, h):
    """Beck et al. 2024, equations 8 to 14, without their stabiliser: c and n times exp(m)."""
    i, f, g, o = np.split(x @ p["input_kernel"] + heads_product(h, p["recurrent_kernel"]) + p["bias"], 4, axis=-1)
    log_f = f if cell.forget_activation == "exp" else np.log(sigmoid(f))
    new_c = np.exp(log_f) * c * np.exp(m) + np.exp(i) * np.tanh(g)
    new_n = np.exp(log_f) * n * np.exp(m) + np.exp(i)
    h, m = sigmoid(o) * new_c / new_n, np.maximum(log_f + m, i)
    return (new_c * np.exp(-m), new_n * np.exp(-m), m, h), h


EVERYTHING = {"coupled": True, "peepholes": True, "gate_recurrence": True, "projection_size": 2, "layer_norm": True}
NO_GATES = {"input_gate": False, "forget_gate": False, "output_gate": False}
TWINS = {
    "no_input_gate": (LSTM(**SIZES, input_gate=False, peepholes=True), lstm),
    "no_forget_gate": (LSTM(**SIZES, forget_gate=False, gate_recurrence=True), lstm),
    "no_output_gate": (LSTM(**SIZES, output_gate=False, output_activation="linear", peepholes=True), lstm),
    "no_gate": (LSTM(**SIZES, **NO_GATES, input_activation="linear"), lstm),
    "coupled": (LSTM(**SIZES, coupled=True, heads=2), lstm),
    "peepholes": (LSTM(**SIZES, peepholes=True, heads=3, input_activation="relu"), lstm),
    "gate_recurrence": (LSTM(**SIZES, gate_recurrence=True), lstm),
    "layer_norm": (LSTM(**SIZES, layer_norm=True), lstm),
    "everything": (LSTM(**SIZES, **EVERYTHING), lstm),
    "multiplicative": (MultiplicativeLSTM(**SIZES, heads=2), multiplicative),
    "multiplicative_everything": (MultiplicativeLSTM(**SIZES, **EVERYTHING), multiplicative),
    "gru_layer_norm": (GRU(**SIZES, layer_norm=True, activation="relu"), gru),
    "gru_reset_before_layer_norm": (GRU(**SIZES, layer_norm=True, reset_after=False), gru),
    "slstm": (SLSTM(**SIZES, heads=3), slstm),
    "slstm_exp": (SLSTM(**SIZES, forget_activation="exp"), slstm),
}


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(size=a.shape), tree)


@pytest.mark.parametrize("name", TWINS)
def test_a_step_equals_its_numpy_twin(name, x64):
    """From a random state, with random parameters; sequences are the laws' part."""
    cell, twin = TWINS[name]
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 1)
    state = random_like(jax.eval_shape(lambda: cell.initial_state(params, (3,))), 2)
    x = np.random.default_rng(3).normal(size=(3, 4))
    actual = jax.jit(cell.step)(params, state, x)
    expected = twin(cell, params, x, *state)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_slstm_is_stable_where_its_exponentials_are_not():
    """Gates of exp(+-1000), and the first step after an input gate of exp(-1000): finite values and gradients."""
    cell = SLSTM(input_size=1, hidden_size=4, forget_activation="exp")
    params = jax.tree.map(lambda a: jnp.zeros(a.shape), jax.eval_shape(cell.init, jax.random.key(0)))
    params["bias"] = jnp.tile(jnp.array([-1000.0, 1000.0, 1000.0, -1000.0]), 4)  # of i, f, g and o: each of both signs
    value = lambda params: unroll(cell, params, jnp.ones((1, 3, 1)))[1].sum()  # noqa: E731
    loss, grads = jax.jit(jax.value_and_grad(value))(params)
    assert jnp.isfinite(jnp.array([loss, *(a.sum() for a in jax.tree.leaves(grads))])).all()
    state, _ = jax.jit(cell.step)(params, cell.initial_state(params), jnp.ones(1))
    np.testing.assert_array_equal(state.n, 1)


def test_slstm_remembers_when_its_state_is_mixed_with_the_one_before():
    """The expectation of Zoneout mixes every array of the state, the stabiliser too."""
    cell = SLSTM(input_size=1, hidden_size=4, forget_bias=5.0)
    params, xs = cell.init(jax.random.key(0)), jnp.zeros((1, 20, 1)).at[:, 0].set(3.0)
    last, mixed = (unroll(c, params, xs)[1][0, -1] for c in (cell, Zoneout(cell, 0.05)))
    assert jnp.abs(last - mixed).max() < 0.1 * jnp.abs(last).max()


def test_variants_start_as_the_plain_cell_does():
    """Peepholes of 0, scales of 1; a coupled cell forgets at first as much as one with a forget gate."""
    params = LSTM(**SIZES, coupled=True, peepholes=True, layer_norm=True).init(jax.random.key(0))
    assert params["bias"].tolist() == [-1.0] * 6 + [0.0] * 12
    assert not params["peepholes"].any()
    assert (params["recurrent_scale"] == 1).all()


def test_split_gives_each_gate_its_own_parameters():
    cell = MultiplicativeLSTM(**SIZES, **EVERYTHING)
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 1)
    parts = cell.split(params)
    of_gates = {"input_kernel", "recurrent_kernel", "bias", "input_scale", "recurrent_scale"}
    assert set(parts["g"]) == of_gates
    assert set(parts["i"]) == of_gates | {"peepholes", "gate_recurrent_kernel"}
    assert set(parts["o"]) == set(parts["i"]) | {"projection_kernel", "cell_scale", "cell_bias"}
    assert set(parts["m"]) == {"multiplicative_input_kernel", "multiplicative_recurrent_kernel"}
    np.testing.assert_allclose(parts["o"]["peepholes"], params["peepholes"][6:], rtol=1e-6)
    np.testing.assert_allclose(parts["g"]["recurrent_kernel"], params["recurrent_kernel"][:, 6:12], rtol=1e-6)


@pytest.mark.parametrize(("fields", "count"), [({}, 2), ({"output_activation": "linear"}, 1), ({"peepholes": True}, 5)])
def test_gates_are_squashed_together_where_they_can_be(fields, count):
    """In a loop over a stack of z one tanh serves all gates, and another the cell."""
    cell = LSTM(**SIZES, **fields)
    params = jax.eval_shape(cell.init, jax.random.key(0))
    state = jax.eval_shape(lambda: cell.initial_state(params, (3,)))
    step = lambda p, s, z: cell.recur(p, s, z, dot=lambda h, kernel: h @ kernel)  # noqa: E731
    program = jax.make_jaxpr(step)(params, state, jax.ShapeDtypeStruct((3, 24), jnp.float32))
    assert sum(eqn.primitive.name == "tanh" for eqn in program.eqns) == count


@pytest.mark.parametrize(
    ("cell", "fields", "message"),
    [
        (
            LSTM,
            {"coupled": True, "forget_gate": False},
            "LSTM has coupled=True and forget_gate=False, which exclude",
        ),
        (LSTM, {"coupled": True, "input_gate": False}, "LSTM has coupled=True and input_gate=False"),
        (
            LSTM,
            {"peepholes": True} | dict.fromkeys(("input_gate", "forget_gate", "output_gate"), False),
            "=True and output_gate=F",
        ),
        (LSTM, {"layer_norm": True, "heads": 2}, "LSTM has layer_norm=True and heads=2"),
        (LSTM, {"gate_recurrence": True, "heads": 2}, "LSTM has gate_recurrence=True and heads=2"),
        (MultiplicativeLSTM, {"projection_size": 4, "heads": 2}, "MultiplicativeLSTM has projection_size=4 and heads=2"),
        (LSTM, {"projection_size": 6}, "LSTM has projection_size=6 and hidden_size=6, which exclude each other: a projection"),
        (LSTM, {"projection_size": 0}, "LSTM has projection_size=0, it must be a positive integer"),
        (LSTM, {"input_activation": "sin"}, "LSTM has input_activation='sin', it must be one of 'tanh', 'relu'"),
        (LSTM, {"peepholes": "yes"}, "peepholes is 'yes', it must be True or False"),
        (GRU, {"layer_norm": True, "heads": 3}, "GRU has layer_norm=True and heads=3"),
        (SLSTM, {"forget_activation": "tanh"}, "forget_activation='tanh', it must be one of 'sigmoid', 'exp'"),
    ],
)
def test_impossible_variants(cell, fields, message):
    with pytest.raises(InputError, match=message):
        cell(**SIZES, **fields)


@pytest.mark.parametrize("name", ["gelu", "hard_tanh", "linear"])
def test_activations_by_name(name):
    x = jnp.array([[-2.0, 0.5]])
    params = {"input_kernel": jnp.eye(2), "recurrent_kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    cell = Elman(input_size=2, hidden_size=2, activation=name)
    np.testing.assert_allclose(cell.step(params, cell.initial_state(params, (1,)), x)[1], ACTIVATIONS[name](x), rtol=1e-6)
