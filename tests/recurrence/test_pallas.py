"""The pallas backend equals the plain scan in every derivative, and both its kernels lower for CUDA.

Without an NVIDIA GPU the kernels are interpreted here, which is slow: few rows, steps and units. `benchmarks/gpu.sh` runs these
tests on a GPU, compiled, and compares larger sizes with the plain scan.
"""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from seqjax import GRU, LSTM, Elman, InputError, RecurrentDropout, explain, unroll
from seqjax.recurrence.custom_transpose import linear_map
from seqjax.recurrence.fused import in_place_scan
from seqjax.recurrence.gpu import devices, pallas, pallas_scan
from seqjax.recurrence.gpu.tiles import Unsupported
from tests.recurrence.test_fused import Case, gap, gradient, weighted

CELLS = {  # 4 units a head, padded to 16; once 16, whole
    "lstm": LSTM(input_size=3, hidden_size=4),
    "lstm_heads": LSTM(input_size=3, hidden_size=8, heads=2),
    "gru": GRU(input_size=3, hidden_size=16),
    "gru_heads": GRU(input_size=3, hidden_size=6, heads=3),
    "gru_reset_before": GRU(input_size=3, hidden_size=4, reset_after=False),
}
CASES = {  # fewer rows than a block of 16, a whole block, and more than one; every option once
    "lstm": {"rows": 2},
    "lstm_heads": {"rows": 17, "reverse": True},
    "gru": {"rows": 16, "masked": False, "remat": 2},
    "gru_heads": {"rows": 2},
    "gru_reset_before": {"rows": 2, "reverse": True},
}
ONE_OF_A_KIND = ("lstm", "gru_heads", "gru_reset_before")


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setattr(pallas, "INTERPRETED", devices.no_nvidia_gpu() is not None)


def gap_to_scan(case, derivative):
    return gap(*(jax.jit(derivative(case.value(b)))(*case.arguments) for b in ("pallas", "scan")))


@pytest.mark.parametrize("name", [n if n in ONE_OF_A_KIND else pytest.param(n, marks=pytest.mark.slow) for n in CELLS])
def test_equals_the_plain_scan(name):
    """Values, and gradients with respect to parameters, inputs and the initial state."""
    case = Case(CELLS[name], steps=3, **CASES[name])
    value_and_gradient = lambda f: jax.value_and_grad(f, argnums=(0, 1, 2))  # noqa: E731
    assert gap_to_scan(case, value_and_gradient) <= 1e-5


@pytest.mark.parametrize("name", ["lstm", pytest.param("gru_heads", marks=pytest.mark.slow)])
def test_bfloat16(name):
    """Products in bfloat16 and a float32 state: as near to the float32 scan as the bfloat16 scan is."""
    case = Case(CELLS[name], steps=3, rows=2)
    params, xs = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (case.params, case.xs))
    half = jax.jit(gradient(case.value("pallas")))(params, xs, case.arguments[2])
    full = jax.jit(gradient(case.value("scan")))(*case.arguments)
    assert {g.dtype for g in jax.tree.leaves(half[:2])} == {jnp.dtype(jnp.bfloat16)}
    assert gap(half, full) <= 0.05
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


@pytest.mark.slow
def test_gradient_of_one_argument():
    case = Case(GRU(input_size=3, hidden_size=4), steps=3)
    for argnums in (0, 1, 2):
        assert gap_to_scan(case, lambda f, n=argnums: jax.grad(f, argnums=n)) <= 1e-5


def test_collected_states_tokens_and_no_steps():
    cell = LSTM(input_size=3, hidden_size=4)
    params = cell.init(jax.random.key(0))
    for xs in (jnp.array([[0, 2, 1], [1, 1, 0]]), jnp.ones((2, 0, 3))):

        def value(params, backend, xs=xs):
            results = unroll(cell, params, xs, collect="states", backend=backend)
            return weighted(results), results

        assert (
            gap(*(jax.jit(jax.grad(value, has_aux=True), static_argnums=1)(params, backend) for backend in ("pallas", "scan")))
            <= 1e-5
        )


# ---- lowering for a GPU, without one


def lowered_for_cuda(function, arguments):
    """The program as text; from jax 0.11 on, Pallas needs to know the device."""
    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    ("name", "dtype"), [("lstm", "float32"), ("lstm_heads", "bfloat16"), ("gru", "bfloat16"), ("gru_reset_before", "float32")]
)
def test_lowers_for_cuda(name, dtype):
    """One kernel forward, another one backward, and no loop besides."""
    case = Case(CELLS[name], steps=5, rows=20, dtype=jnp.dtype(dtype))
    for derivative, kernels in ((lambda f: f, 1), (gradient, 2)):
        text = lowered_for_cuda(derivative(case.value("pallas")), case.arguments)
        assert len(re.findall(r"custom_call @__gpu\$xla\.gpu\.triton|triton_kernel_call", text)) == kernels
        assert "stablehlo.while" not in text


def test_vmap_lowers_for_cuda():
    """Over parameters and rows: one more axis of the grid, besides that of the heads."""
    case = Case(CELLS["lstm_heads"], steps=5)
    many = jax.tree.map(lambda a: jnp.stack([a, a]), case.arguments)
    text = lowered_for_cuda(jax.vmap(gradient(case.value("pallas"))), many)
    assert text.count("grid_z = 2 : i32") == 2


def test_without_a_derivative_fused_is_the_plain_scan_on_a_gpu(monkeypatch):
    """The same operations, but for transposes that cancel each other; `auto` takes it where `pallas` cannot run."""
    monkeypatch.setattr(in_place_scan, "in_place", lambda: False)  # as on a GPU
    case = Case(LSTM(input_size=3, hidden_size=300), steps=5, reverse=True)
    fused, plain = (lowered_for_cuda(case.value(backend), case.arguments) for backend in ("auto", "scan"))
    assert explain(case.cell, *case.arguments[:2])[0].backend == "fused"
    operations = [Counter(re.findall(r"= (?:stablehlo|chlo)\.(?!transpose)(\w+)", text)) for text in (fused, plain)]
    assert operations[0] == operations[1]
    assert operations[0]["while"] == 1


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="its arguments must lie on a CPU")
def test_on_another_device_than_it_was_chosen_for(monkeypatch):
    """Chosen for the default GPU but run on the CPU that holds the arguments, it is a plain scan with the same gradient."""
    monkeypatch.setattr(pallas, "INTERPRETED", False)
    monkeypatch.setattr(pallas, "supports", lambda cell, call: None)
    case = Case(GRU(input_size=3, hidden_size=4), steps=3, rows=5)
    assert explain(case.cell, *case.arguments[:2])[0].backend == "pallas"
    assert gap(*(jax.jit(gradient(case.value(b)))(*case.arguments) for b in ("auto", "scan"))) <= 1e-5
    text = jax.jit(gradient(case.value("auto"))).lower(*case.arguments).as_text()
    assert "stablehlo.while" in text
    assert "triton" not in text


# ---- refusals


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
    assert "it runs no variants" in reason(LSTM(input_size=3, hidden_size=4, peepholes=True))
    assert "it takes no context" in reason(LSTM(input_size=3, hidden_size=4), context=jnp.ones((2, 1)))
    assert "float32 and bfloat16, not float16" in reason(GRU(input_size=3, hidden_size=4), jnp.ones((2, 3, 3), jnp.float16))
    assert "have one unit" in reason(GRU(input_size=3, hidden_size=4, heads=4))


def test_one_head_of_768_units_does_not_fit():
    """A kernel of [1024, 4096] after padding; twelve heads of 64 units are 64 KiB each."""
    assert "of 768 units takes 16384 KiB (padded to 1024 units)" in reason(LSTM(input_size=3, hidden_size=768))
    assert pallas_scan.too_large(64, 4, jnp.float32) is None


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs a default device without CUDA")
def test_refused_without_an_nvidia_gpu(monkeypatch):
    cell = LSTM(input_size=3, hidden_size=4)
    assert explain(cell, cell.init(jax.random.key(0)), jnp.ones((2, 3, 3)))[0].backend == "fused"
    monkeypatch.setattr(pallas, "INTERPRETED", False)
    assert "it is for NVIDIA GPUs" in reason(cell, jnp.ones((2, 4, 3)))


def test_a_step_that_is_not_row_wise_is_refused():
    def body(shared, row_constants, state, inputs):
        return state.cumsum(axis=1) + inputs, state

    with pytest.raises(Unsupported, match="the operation cumsum, which is not row-wise"):
        pallas_scan.scan_on_chip(body, [], {}, {}, jnp.ones((2, 4)), jnp.ones((3, 2, 4)), reverse=False, interpret=True)


# ---- the linear map


def test_linear_map_uses_its_transpose_and_stays_differentiable():
    calls = []

    def transposed(r, c):
        calls.append(1)
        return r * c

    f = lambda r, x: linear_map(jnp.multiply, r, x, transposed=transposed) ** 2  # noqa: E731
    grads = jax.jit(jax.grad(f, (0, 1)))
    assert [float(g) for g in grads(3.0, 2.0)] == [24.0, 36.0]
    assert calls
    for second in (jax.jacfwd, jax.jacrev):
        second_derivatives = np.asarray(jax.jit(second(lambda a: jnp.stack(grads(a[0], a[1]))))(jnp.array([3.0, 2.0])))
        np.testing.assert_allclose(second_derivatives, [[8, 24], [24, 18]])
    x = np.arange(3, dtype=np.float32)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(f, 1), (None, 0)))(3.0, x), 18 * x)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda r: jax.vmap(f, (None, 0))(r, x).sum()))(3.0), 6 * (x**2).sum())
