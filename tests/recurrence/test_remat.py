"""Recomputed pieces: the derivatives are those of the whole, and memory grows as the square root of the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Elman, RecurrentDropout, Stack, unroll
from tests.catalog import leaving
from tests.recurrence.test_fused import Case, Conditioned, gap, gradient, weighted


def remat_gap(case, derivative, backend="fused"):
    """Between the recomputed and the stored, of derivative(function)(params, xs, state)."""
    remat = case.options.pop("remat")
    found = []
    for option in (remat, None):
        case.options["remat"] = option
        found.append(jax.jit(derivative(case.value(backend)))(*case.arguments))
    return gap(*found)


def made(cell):
    """Parameters in float64."""
    return jax.tree.map(lambda a: a.astype(jnp.float64), cell.init(jax.random.key(0)))


def along(arguments):
    return jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), arguments)


PIECES = {"3 of 7": (3, False, 7), "sqrt of 11": ("sqrt", True, 11), "50 of 5": (50, False, 5), "4 of 1": (4, True, 1)}
MORE_PIECES = {"3 of 7, reverse": (3, True, 7), "sqrt of 9": ("sqrt", False, 9), "1 of 4": (1, True, 4)}


@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
@pytest.mark.parametrize("pieces", leaving(*PIECES, of=PIECES | MORE_PIECES))
def test_all_derivatives(backend, pieces, x64):
    """Lengths, resets, noise, a carried state; the last piece shorter, the only one, or as long as the others."""
    remat, reverse, steps = (PIECES | MORE_PIECES)[pieces]
    cell = RecurrentDropout(GRU(input_size=2, hidden_size=3), 0.3)
    case = Case(cell, steps, dtype=jnp.float64, reverse=reverse, remat=remat)

    def forward(f):
        return lambda *args: jax.jvp(f, args, along(args))

    def together(f):
        return lambda *args: (f(*args), gradient(f)(*args), forward(f)(*args), forward(gradient(f))(*args))

    assert remat_gap(case, together, backend) <= 1e-12


@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
def test_reverse_over_reverse_and_vmap(backend, x64):
    case = Case(LSTM(input_size=2, hidden_size=3), 7, dtype=jnp.float64, remat=3)
    assert remat_gap(case, lambda f: gradient(lambda *args: weighted(gradient(f)(*args))), backend) <= 1e-12
    many = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.arguments)
    for axes in ((0, None, None), (None, 0, None), (0, 0, 0)):
        case = Case(LSTM(input_size=2, hidden_size=3), 7, dtype=jnp.float64, remat=3)
        case.arguments = tuple(a if axis == 0 else b for a, b, axis in zip(many, case.arguments, axes, strict=True))
        assert remat_gap(case, lambda f, axes=axes: jax.vmap(gradient(f), axes), backend) <= 1e-12


@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
def test_only_what_moves(backend, x64):
    """Frozen parameters, inputs or state; tokens, which have no gradient; no steps."""
    for argnums in (0, 1, 2):
        case = Case(LSTM(input_size=2, hidden_size=3), 7, dtype=jnp.float64, remat="sqrt")
        assert remat_gap(case, lambda f, n=argnums: jax.grad(f, argnums=n), backend) <= 1e-12
    cell = LSTM(input_size=3, hidden_size=4)
    params = made(cell)
    for steps in (0, 5):
        tokens = np.arange(2 * steps).reshape(2, steps) % 3
        of = [
            jax.grad(lambda p, r=r, t=tokens: weighted(unroll(cell, p, t, remat=r, backend=backend, collect="states")))(params)
            for r in ("sqrt", None)
        ]
        assert gap(*of) <= 1e-12


def test_collected_states_with_counts(x64):
    """States hold integers: the steps that a stream of noise has seen."""
    cell = Stack((RecurrentDropout(LSTM(input_size=3, hidden_size=4), 0.3),))
    params, xs = made(cell), jnp.sin(jnp.arange(42.0)).reshape(2, 7, 3)

    def states(params, remat):
        return unroll(cell, params, xs, key=jax.random.key(1), remat=remat, collect="states", lengths=[7, 4])

    found, wanted = (states(params, remat) for remat in ("sqrt", None))
    assert gap(found, wanted) <= 1e-12
    counts = [a for a in jax.tree.leaves(found[1]) if jnp.issubdtype(a.dtype, jnp.integer)]
    assert [c.tolist() for c in counts] == [[[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 4, 4, 4]]]
    found, wanted = (jax.grad(lambda p, r=r: weighted(states(p, r)))(params) for r in ("sqrt", None))
    assert gap(found, wanted) <= 1e-12


@pytest.mark.parametrize("reverse", [False, True])
def test_context_gradients_come_back_once(reverse, x64):
    cell = Conditioned(input_size=3, hidden_size=4)
    params, xs = made(cell), jnp.sin(jnp.arange(42.0)).reshape(2, 7, 3)
    reset = np.arange(14).reshape(2, 7) % 4 == 2

    def value(context, remat):
        return weighted(unroll(cell, params, xs, context=context, reset=reset, reverse=reverse, remat=remat))

    found = [jax.grad(value)({"h": jnp.cos(jnp.arange(8.0)).reshape(2, 4)}, remat) for remat in (3, None)]
    assert gap(*found) <= 1e-12


def test_bfloat16_sums_over_pieces_in_float32():
    """A gradient that adds many pieces keeps what bfloat16 can hold of it."""
    case = Case(Elman(input_size=3, hidden_size=4), 200, masked=False)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), case.arguments[:2])
    case.options["remat"] = 1
    found = jax.jit(jax.grad(case.value("fused")))(*half, case.arguments[2])
    case.options["remat"] = None
    stored = jax.jit(jax.grad(case.value("fused")))(*half, case.arguments[2])
    assert {g.dtype for g in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    assert gap(found, stored) <= 0.05


def temporary(part, steps, rows=4, size=32, given=(), **options):
    """Bytes that a compiled training step needs beyond xs, ys, their cotangents, and the parameters and theirs."""
    xs = jax.ShapeDtypeStruct((rows, steps, size), jnp.float32)
    params = jax.eval_shape(part.init, jax.random.key(0))
    forms = {"lengths": ((rows,), jnp.int32), "mask": ((rows, steps), jnp.bool_), "reset": ((rows, steps), jnp.bool_)}

    def training(params, xs, cotangent, given):
        ys, pull = jax.vjp(lambda p, x: unroll(part, p, x, **given, **options)[1], params, xs)
        return ys, *pull(cotangent)

    given = {name: jax.ShapeDtypeStruct(*forms[name]) for name in given}
    compiled = jax.jit(training).lower(params, xs, jax.ShapeDtypeStruct(xs.shape, xs.dtype), given).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("backend", ["fused", "scan"])
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_memory_grows_as_the_square_root(kind, backend):
    cell = kind(input_size=32, hidden_size=32)
    short, middle, long = (temporary(cell, steps, remat="sqrt", backend=backend) for steps in (1024, 16384, 262144))
    assert middle <= 4.2 * short
    assert long <= 4.2 * middle
    assert long < 262144 * 4 * 32 * 4 / 4  # a quarter of what xs takes
    assert temporary(cell, 16384, backend=backend) > 10 * temporary(cell, 1024, backend=backend)


@pytest.mark.parametrize("given", [("lengths",), ("mask", "reset")])
def test_memory_with_padding_grows_so_too(given):
    """Nothing beside xs and ys is as long as they: flags, a byte for each row and step, are a 128th of xs here."""
    cell, flags = GRU(input_size=32, hidden_size=32), 262144 * 4 * 2 * len(given)
    short, long = (temporary(cell, steps, given=given, remat="sqrt") for steps in (16384, 262144))
    assert long <= 4.2 * short + flags


def test_padding_in_pieces_reaches_nothing():
    """NaN where no step is real, in values and in gradients, of the last and shorter piece too."""
    case = Case(LSTM(input_size=3, hidden_size=4), 11)
    case.options |= {"lengths": np.array([11, 4, 0], np.int32), "remat": 4}
    real = np.arange(11) < np.array([[11], [4], [0]])
    params, xs, moving = case.arguments
    case.arguments = (params, jnp.where(real[..., None], xs, jnp.nan), moving)
    found = jax.jit(jax.value_and_grad(case.value("fused"), argnums=(0, 1, 2)))(*case.arguments)
    case.options["remat"] = None
    case.arguments = (params, xs, moving)
    assert gap(found, jax.value_and_grad(case.value("scan"), argnums=(0, 1, 2))(*case.arguments)) <= 1e-5
