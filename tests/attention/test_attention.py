"""Attention: the published equations in NumPy, and that padding is never attended to."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Elman, InputError, Stack, explain, unroll
from seqjax.attention import Additive, Attentive, Dot, General, Memory
from seqjax.attention.memory import masked_softmax
from seqjax.contracts import Cell
from seqjax.products import product

B, S, T, D, H, M = 3, 5, 4, 3, 4, 6
LENGTHS = np.array([5, 1, 0])


def perturbed(params, seed=0):
    """Every parameter moved off its initial value, so that one that is left out shows; in float64 if x64 is on."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a) + 0.3 * rng.normal(size=a.shape)), params)


def values(seed=0, size=M, lengths=LENGTHS, filler=np.nan):
    """[B, S, M] with `filler` behind each row's length, and the mask."""
    mask = np.arange(S) < lengths[:, None]
    return jnp.asarray(np.where(mask[..., None], np.random.default_rng(seed).normal(size=(B, S, size)), filler)), jnp.asarray(
        mask
    )


def inputs(seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(B, T, D)))


@functools.partial(jax.jit, static_argnums=0)
def attended(cell, params, xs, values, mask):
    """(state, outputs) of a cell that attends to the values."""
    return unroll(cell, params, xs, context=cell.remember(params, values, mask))


# Oracles: one row, plain NumPy.


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, c, h, z):
    i, f, g, o = np.split(z + h @ p["recurrent_kernel"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def gru(p, h, z):
    r, u, n = np.split(z, 3)
    of_r, of_u = np.split(h @ p["recurrent_kernel"], 2)
    r, u = sigmoid(r + of_r), sigmoid(u + of_u)
    return (1 - u) * np.tanh(n + r * (h @ p["candidate_kernel"] + p["recurrent_bias"])) + u * h


def test_bahdanau_is_the_published_equations(x64):
    attention = Additive(query_size=H, memory_size=M, hidden_size=7)
    cell = Attentive(cell=GRU(input_size=D, hidden_size=H), attention=attention, output_size=2, order="before")
    params = perturbed(jax.jit(cell.init)(jax.random.key(0)))
    padded, mask = values()
    xs = inputs()
    _, ys = attended(cell, params, xs, padded, mask)
    p = jax.tree.map(np.asarray, params)
    a, out = p["attention"], p["output"]
    for b, length in enumerate(LENGTHS):
        memory, h = np.asarray(padded[b, :length]), np.zeros(H)
        for t, x in enumerate(np.asarray(xs[b])):
            weights, read = np.zeros(0), np.zeros(M)
            if length:
                weights = softmax(np.tanh(h @ a["query_kernel"] + memory @ a["memory_kernel"]) @ a["score_kernel"])
                read = weights @ memory
            h = gru(p["cell"], h, x @ p["cell"]["input_kernel"] + p["cell"]["bias"] + read @ p["feed_kernel"])
            np.testing.assert_allclose(ys.weights[b, t, :length], weights, atol=1e-12)
            assert not ys.weights[b, t, length:].any()
            expected = np.tanh(np.concatenate([h, read]) @ out["kernel"] + out["bias"])
            np.testing.assert_allclose(ys.output[b, t], expected, atol=1e-12)


@pytest.mark.parametrize(("score", "feeding"), [("dot", True), ("scaled", False), ("general", True)])
def test_luong_is_the_published_equations(score, feeding, x64):
    size = M if score == "general" else H
    attention = (
        General(query_size=H, memory_size=M) if score == "general" else Dot(query_size=H, memory_size=H, scaled=score == "scaled")
    )
    cell = Attentive(cell=LSTM(input_size=D, hidden_size=H), attention=attention, output_size=2, input_feeding=feeding)
    params = perturbed(jax.jit(cell.init)(jax.random.key(0)))
    padded, mask = values(size=size)
    xs = inputs()
    _, ys = attended(cell, params, xs, padded, mask)
    p = jax.tree.map(np.asarray, params)
    for b, length in enumerate(LENGTHS):
        memory, c, h, o = np.asarray(padded[b, :length]), np.zeros(H), np.zeros(H), np.zeros(2)
        for t, x in enumerate(np.asarray(xs[b])):
            z = x @ p["cell"]["input_kernel"] + p["cell"]["bias"] + (o @ p["feed_kernel"] if feeding else 0)
            c, h = lstm(p["cell"], c, h, z)
            weights, read = np.zeros(0), np.zeros(size)
            if length:
                keys = memory @ p["attention"]["memory_kernel"] if score == "general" else memory
                weights = softmax(keys @ h / (np.sqrt(H) if score == "scaled" else 1))
                read = weights @ memory
            o = np.tanh(np.concatenate([h, read]) @ p["output"]["kernel"] + p["output"]["bias"])
            np.testing.assert_allclose(ys.weights[b, t, :length], weights, atol=1e-12)
            np.testing.assert_allclose(ys.output[b, t], o, atol=1e-12)


def test_coverage_adds_up_the_weights_before(x64):
    attention = Additive(query_size=H, memory_size=M, hidden_size=7, coverage=True)
    cell = Attentive(cell=Elman(input_size=D, hidden_size=H), attention=attention, output_size=2)
    params = perturbed(jax.jit(cell.init)(jax.random.key(0)))
    padded, mask = values()
    memory = cell.remember(params, padded, mask)
    state, ys = unroll(cell, params, inputs(), context=memory)
    np.testing.assert_allclose(state.coverage, ys.weights.sum(1), atol=1e-12)
    p, covered = jax.tree.map(np.asarray, params["attention"]), np.asarray(ys.weights[0].cumsum(0) - ys.weights[0])
    _, hs = unroll(cell, params, inputs(), context=memory, collect="states")
    for t in range(T):
        inner = np.asarray(hs.cell.h[0, t]) @ p["query_kernel"] + np.asarray(padded[0]) @ p["memory_kernel"]
        expected = softmax(np.tanh(inner + covered[t][:, None] * p["coverage_kernel"]) @ p["score_kernel"])
        np.testing.assert_allclose(ys.weights[0, t], expected, atol=1e-12)


CELLS = {
    "bahdanau": Attentive(
        cell=GRU(input_size=D, hidden_size=H),
        attention=Additive(query_size=H, memory_size=M, hidden_size=7, coverage=True),
        output_size=2,
        order="before",
    ),
    "luong": Attentive(cell=LSTM(input_size=D, hidden_size=H), attention=General(query_size=H, memory_size=M), output_size=2),
    "not_fed": Attentive(
        cell=LSTM(input_size=D, hidden_size=H),
        attention=General(query_size=H, memory_size=M, scaled=True),
        output_size=2,
        input_feeding=False,
    ),
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


@every_cell
def test_padding_is_never_attended(cell):
    """Values in padding reach no value and no gradient; a row that is all padding reads 0."""
    params = perturbed(jax.jit(cell.init)(jax.random.key(0)))

    def value(padded, mask):
        _, ys = unroll(cell, params, inputs().astype(jnp.float32), context=cell.remember(params, padded, mask))
        return sum(jnp.vdot(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape), y) for y in jax.tree.leaves(ys)), ys

    dirty, mask = values()
    value_and_grad = jax.jit(jax.value_and_grad(value, has_aux=True))
    clean = jnp.where(mask[..., None], dirty, 7.0)
    ((_, ys), grads), ((_, of_clean), _) = (value_and_grad(a.astype(jnp.float32), mask) for a in (dirty, clean))
    assert all(np.isfinite(a).all() for a in (*ys[:2], grads))
    assert not grads[~mask].any() and grads[mask].all()
    assert not ys.weights[2].any() and (ys.weights[1, :, 0] == 1).all()
    jax.tree.map(np.testing.assert_array_equal, ys, of_clean)


@every_cell
def test_parameters_have_finite_gradients_where_nothing_can_be_attended(cell):
    params = perturbed(jax.jit(cell.init)(jax.random.key(0)))
    nothing = jnp.zeros((B, S), bool)

    def value(params):
        _, ys = unroll(cell, params, inputs().astype(jnp.float32), context=cell.remember(params, jnp.ones((B, S, M)), nothing))
        return ys.output.sum() + ys.weights.sum()

    grads = jax.jit(jax.grad(value))(params)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(grads))
    assert jnp.abs(grads["cell"]["input_kernel"]).sum() > 0


@every_cell
def test_places_behind_the_longest_row_change_nothing(cell):
    params = perturbed(jax.jit(cell.init)(jax.random.key(0)))
    padded, mask = values(lengths=np.array([3, 2, 1]))
    xs = inputs().astype(jnp.float32)
    memories = [cell.remember(params, padded[:, :n].astype(jnp.float32), mask[:, :n]) for n in (3, 5)]
    short, long = (unroll(cell, params, xs, context=memory)[1] for memory in memories)
    np.testing.assert_allclose(long.output, short.output, atol=1e-6)
    np.testing.assert_allclose(long.weights[..., :3], short.weights, atol=1e-6)


def test_the_softmax_of_large_and_of_no_scores():
    scores = jnp.array([[1e30, -1e30, 0.0], [1e30, 5.0, 4.0], [jnp.nan, jnp.nan, jnp.nan]])
    mask = jnp.array([[True, True, True], [False, True, True], [False, False, False]])
    weights, pull = jax.vjp(lambda s: masked_softmax(s, mask), scores)
    np.testing.assert_allclose(weights, [[1, 0, 0], [0, *softmax(np.array([5.0, 4.0]))], [0, 0, 0]], atol=1e-6)
    (grads,) = pull(jnp.full((3, 3), 1e20))
    assert jnp.isfinite(grads).all() and not grads[~mask].any()
    assert masked_softmax(jnp.zeros((2, 0)), jnp.zeros((2, 0), bool)).shape == (2, 0)


def test_the_recurrence_is_fused_and_results_not_fed_back_are_computed_outside_it():
    xs = inputs().astype(jnp.float32)
    for name, cell in CELLS.items():
        params = cell.init(jax.random.key(0))
        padded, mask = values()
        [choice] = explain(cell, params, xs, context=cell.remember(params, padded.astype(jnp.float32), mask))
        assert choice.backend == "fused"
        assert (choice.cell == cell.cell) == (name == "not_fed")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"attention": Additive(query_size=5, memory_size=M, hidden_size=2)}, r"query_size is 5, the cell gives \(4,\)"),
        ({"order": "during"}, "order='during', it must be one of 'after', 'before'"),
        ({"attention": GRU(input_size=1, hidden_size=1)}, "it must be an Attention"),
        ({"output_size": 0}, "output_size=0"),
        ({"cell": Stack((Elman(input_size=D, hidden_size=5),))}, r"query_size is 4, the cell gives \(5,\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(fields, line):
    fitting = {"cell": Elman(input_size=D, hidden_size=H), "attention": General(query_size=H, memory_size=M), "output_size": 2}
    with pytest.raises(InputError, match=line) as caught:
        Attentive(**fitting | fields)
    assert "\n" not in str(caught.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total(Cell):
    """The sum of scalar inputs, in a state that is a bare array [..., H]."""

    input_shape = ()

    def init(self, key):
        return {}

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        return jnp.zeros((*batch_shape, H))

    def recur(self, params, state, z, *, dot=product, context=None):
        state = state + z[..., None]
        return state, state


def test_cells_that_cannot_be_fed_or_have_no_h_are_refused():
    attention = General(query_size=H, memory_size=M)
    with pytest.raises(
        InputError, match=r"a feed needs a cell that projects to floating vectors, Total\(\) projects to float32\(\)"
    ):
        Attentive(cell=Total(), attention=attention, output_size=2)
    with pytest.raises(InputError, match='this state has no h: take another cell, or order="after"'):
        Attentive(cell=Total(), attention=attention, output_size=2, order="before")
    Attentive(cell=Total(), attention=attention, output_size=2, input_feeding=False)


def test_dot_needs_equal_sizes_and_a_context_is_a_memory():
    with pytest.raises(InputError, match="they are 4 and 6: make them equal, or take General"):
        Dot(query_size=H, memory_size=M)
    cell = CELLS["luong"]
    with pytest.raises(InputError, match="context is the memory that remember gives, not a NoneType"):
        unroll(cell, cell.init(jax.random.key(0)), inputs().astype(jnp.float32))
    assert isinstance(cell.remember(cell.init(jax.random.key(0)), *values(filler=0.0)), Memory)
