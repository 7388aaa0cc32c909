"""The pallas backend: interpreted on CPU it equals the plain scan in every derivative, and both its kernels lower for CUDA.

Whether they are fast is not known here: that needs a GPU.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Elman, InputError, RecurrentDropout, explain, unroll
from seqjax.recurrence.custom_transpose import linear_map
from seqjax.recurrence.gpu import pallas, pallas_scan
from seqjax.recurrence.gpu.tiles import Unsupported
from tests.recurrence.test_fused import Case, gap, gradient, weighted

CELLS = {
    "lstm": LSTM(input_size=3, hidden_size=16),
    "lstm_heads": LSTM(input_size=3, hidden_size=12, heads=2),  # 6 units a head: padded to 16
    "gru": GRU(input_size=3, hidden_size=20),
    "gru_heads": GRU(input_size=3, hidden_size=6, heads=3),
    "gru_reset_before": GRU(input_size=3, hidden_size=16, reset_after=False),
}
CASES = {  # what is drawn for each: rows beside a block of 16 and over it, every option once
    "lstm": {"rows": 3, "masked": True},
    "lstm_heads": {"rows": 17, "masked": True, "reverse": True},
    "gru": {"rows": 16, "masked": False, "remat": 2},
    "gru_heads": {"rows": 2, "masked": True},
    "gru_reset_before": {"rows": 3, "masked": True, "reverse": True},
}


def gap_to_scan(case, derivative):
    return gap(*(jax.jit(derivative(case.value(b)))(*case.arguments) for b in ("pallas", "scan")))


@pytest.mark.parametrize("name", CELLS)
def test_equals_the_plain_scan(name):
    """Values, and gradients with respect to parameters, inputs and the state that is carried in."""
    case = Case(CELLS[name], steps=5, **CASES[name])
    value_and_gradient = lambda f: jax.value_and_grad(f, argnums=(0, 1, 2))  # noqa: E731
    assert gap_to_scan(case, value_and_gradient) <= 1e-5


@pytest.mark.parametrize("name", ["lstm", "gru_heads"])
def test_bfloat16(name):
    """Products in bfloat16 beside a float32 state: as near to the float32 scan as the bfloat16 scan is."""
    case = Case(CELLS[name], steps=5)
    params, xs = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (case.params, case.xs))
    found = jax.jit(gradient(case.value("pallas")))(params, xs, case.arguments[2])
    wanted = jax.jit(gradient(case.value("scan")))(*case.arguments)
    assert {g.dtype for g in jax.tree.leaves(found[:2])} == {jnp.dtype(jnp.bfloat16)}
    assert gap(found, wanted) <= 0.05
    state, ys = unroll(case.cell, params, xs, case.state, backend="pallas")
    assert (state.h.dtype, ys.dtype) == (jnp.float32, jnp.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "gru_heads"])
def test_forward_mode_second_order_and_vmap(name):
    case = Case(CELLS[name], steps=3)
    along = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), case.arguments)

    def forward(f):
        return lambda *args: jax.jvp(f, args, along)

    assert gap_to_scan(case, forward) <= 1e-5
    assert gap_to_scan(case, lambda f: forward(gradient(f))) <= 1e-5  # hessian-vector product, forward over reverse
    assert gap_to_scan(case, lambda f: gradient(lambda *args: weighted(gradient(f)(*args)))) <= 1e-5
    case.arguments = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.arguments)
    assert gap_to_scan(case, lambda f: jax.vmap(gradient(f))) <= 1e-5


def test_only_what_moves_is_differentiated():
    case = Case(GRU(input_size=3, hidden_size=4), steps=3)
    for argnums in (0, 1, 2):
        assert gap_to_scan(case, lambda f, n=argnums: jax.grad(f, argnums=n)) <= 1e-5


def test_collected_states_tokens_and_no_steps():
    cell = LSTM(input_size=3, hidden_size=4)
    params = cell.init(jax.random.key(0))
    for xs in (jnp.ones((2, 3, 3)), jnp.array([[0, 2, 1]]), jnp.ones((2, 0, 3))):
        both = [
            jax.value_and_grad(lambda p, b=b, x=xs: weighted(unroll(cell, p, x, collect="states", backend=b)))(params)
            for b in ("pallas", "scan")
        ]
        assert gap(*both) <= 1e-5


# ---- lowering for a GPU that is not here


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CELLS)
def test_lowers_for_cuda(name, dtype):
    """One kernel forward, a second one backward, no loop beside them."""
    case = Case(CELLS[name], steps=5, rows=20, dtype=dtype)
    for derivative, kernels in ((lambda f: f, 1), (gradient, 2)):
        traced = jax.jit(derivative(case.value("pallas"))).trace(*case.arguments)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        assert len(re.findall(r"custom_call @__gpu\$xla\.gpu\.triton|triton_kernel_call", text)) == kernels
        assert "stablehlo.while" not in text


def test_vmap_lowers_for_cuda():
    """Over parameters and rows: one more axis of the grid beside that of the heads."""
    case = Case(CELLS["lstm_heads"], steps=5)
    many = jax.tree.map(lambda a: jnp.stack([a, a]), case.arguments)
    text = jax.jit(jax.vmap(gradient(case.value("pallas")))).trace(*many).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("grid_z = 2 : i32") == 2


def test_on_another_device_than_it_was_chosen_for(monkeypatch):
    """Chosen as on a machine with a GPU, run on a CPU where its arguments are: a plain scan, with the same gradient."""
    monkeypatch.setattr(pallas, "supports", lambda cell, call: None)
    case = Case(GRU(input_size=3, hidden_size=4), steps=3, rows=5)
    assert explain(case.cell, *case.arguments[:2])[0].backend == "pallas"
    assert gap(*(jax.jit(gradient(case.value(b)))(*case.arguments) for b in ("auto", "scan"))) <= 1e-5
    text = jax.jit(gradient(case.value("auto"))).lower(*case.arguments).as_text()
    assert "stablehlo.while" in text
    assert "triton" not in text


# ---- what it refuses


def reason(cell, xs=None, **options):
    params = cell.init(jax.random.key(0))
    xs = jnp.ones((2, 3, *cell.input_shape)) if xs is None else xs
    with pytest.raises(InputError, match="backend 'pallas' cannot run") as error:
        unroll(cell, params, xs, backend="pallas", **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refused_with_a_reason():
    assert "it runs LSTM and GRU cells" in reason(Elman(input_size=3, hidden_size=4))
    assert "it runs LSTM and GRU cells" in reason(RecurrentDropout(LSTM(input_size=3, hidden_size=4), 0.3))
    assert "it takes no context" in reason(LSTM(input_size=3, hidden_size=4), context=jnp.ones((2, 1)))
    assert "float32 and bfloat16, not float16" in reason(GRU(input_size=3, hidden_size=4), jnp.ones((2, 3, 3), jnp.float16))
    assert "have one unit" in reason(GRU(input_size=3, hidden_size=4, heads=4))


def test_one_head_of_768_units_does_not_fit():
    """A kernel of [1024, 4096] after padding; twelve heads of 64 units are 64 KiB each."""
    assert "of 768 units takes 16384 KiB (padded to 1024 units)" in reason(LSTM(input_size=3, hidden_size=768))
    assert pallas_scan.too_large(64, 4, jnp.float32) is None


def test_chosen_on_a_cpu_only_by_name():
    cell = LSTM(input_size=3, hidden_size=4)
    choice = explain(cell, cell.init(jax.random.key(0)), jnp.ones((2, 3, 3)))[0]
    assert choice.backend != "pallas"
    assert "NVIDIA GPUs" in choice.refused["pallas"]


def test_a_step_that_is_not_row_wise_is_refused():
    def body(shared, own, state, inputs):
        return state.cumsum(axis=1) + inputs, state

    with pytest.raises(Unsupported, match="the operation cumsum, which is not row-wise"):
        pallas_scan.scan_on_chip(body, [], {}, {}, jnp.ones((2, 4)), jnp.ones((3, 2, 4)), reverse=False, interpret=True)


# ---- the linear map


def test_linear_map_uses_its_transpose_and_stays_differentiable():
    used = []

    def transposed(r, c):
        used.append(1)
        return r * c

    f = lambda r, x: linear_map(jnp.multiply, r, x, transposed=transposed) ** 2  # noqa: E731
    grads = jax.grad(f, (0, 1))
    assert [float(g) for g in grads(3.0, 2.0)] == [24.0, 36.0]
    assert used
    for second in (jax.jacfwd, jax.jacrev):
        found = np.asarray(second(lambda a: jnp.stack(grads(a[0], a[1])))(jnp.array([3.0, 2.0])))
        np.testing.assert_allclose(found, [[8, 24], [24, 18]])
    x = jnp.arange(3.0)
    np.testing.assert_allclose(jax.vmap(jax.grad(f, 1), (None, 0))(3.0, x), 18 * x)
    np.testing.assert_allclose(jax.grad(lambda r: jax.vmap(f, (None, 0))(r, x).sum())(3.0), 6 * (x**2).sum())
