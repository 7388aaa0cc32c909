"""Rematerialisation in chunks: derivatives are the same as without it, and memory grows as the square root of the steps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Elman, RecurrentDropout, Stack, unroll
from tests.catalog import leaving
from tests.recurrence.test_fused import (
    Case,
    Conditioned,
    along,
    drawn,
    gap,
    gradient,
    gradient_and_second,
    some_gradients,
    weighted,
)


def remat_gap(case, derivative, backend="fused"):
    """The gap between derivative(function)(params, xs, state) with and without rematerialisation."""
    stored = {option: value for option, value in case.options.items() if option != "remat"}
    return gap(*(jax.jit(derivative(case.value(backend, options)))(*case.arguments) for options in (case.options, stored)))


def parameters(cell):
    """Parameters in float64."""
    return drawn(jax.eval_shape(cell.init, jax.random.key(0)), np.random.default_rng(0), 0.4, jnp.float64)


CHUNKS = {  # (remat, reverse, steps): the last chunk shorter, as long as the others, or the only one
    "3 of 7": (3, False, 7),
    "sqrt of 11": ("sqrt", True, 11),
    "4 of 1": (4, True, 1),
    "3 of 7, reverse": (3, True, 7),
    "sqrt of 9": ("sqrt", False, 9),
    "1 of 4": (1, True, 4),
    "50 of 5": (50, False, 5),
}


def noisy_case(chunks):
    """Lengths, resets, noise, a carried state."""
    remat, reverse, steps = CHUNKS[chunks]
    cell = RecurrentDropout(GRU(input_size=2, hidden_size=3), 0.3)
    return Case(cell, steps, dtype=jnp.float64, reverse=reverse, remat=remat)


@pytest.mark.parametrize("chunks", ["sqrt of 11", "4 of 1"])
def test_gradients(chunks, x64):
    assert remat_gap(noisy_case(chunks), gradient) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
@pytest.mark.parametrize("chunks", leaving("3 of 7", of=CHUNKS))
def test_all_derivatives(backend, chunks, x64):
    def together(f):
        return lambda *args: (jax.jvp(f, args, along(args)), gradient_and_second(f)(*args))

    assert remat_gap(noisy_case(chunks), together, backend) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
def test_reverse_over_reverse(backend, x64):
    case = Case(LSTM(input_size=2, hidden_size=3), 7, dtype=jnp.float64, remat=3)
    assert remat_gap(case, lambda f: gradient(lambda *args: weighted(gradient(f)(*args))), backend) <= 1e-12


@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
@pytest.mark.parametrize("mapped", leaving(1, of=[1, 2, 3]))
def test_vmap(backend, mapped, x64):
    """Over parameters; over inputs and state; over all three."""
    case = Case(LSTM(input_size=2, hidden_size=3), 7, dtype=jnp.float64, remat=3)
    axes = {1: (0, None, None), 2: (None, 0, 0), 3: (0, 0, 0)}[mapped]
    many = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.arguments)
    case.arguments = tuple(a if axis == 0 else b for a, b, axis in zip(many, case.arguments, axes, strict=True))
    assert remat_gap(case, lambda f: jax.vmap(gradient(f), axes), backend) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("backend", leaving("fused", of=["fused", "scan"]))
def test_frozen_arguments_change_no_gradient(backend, x64):
    """Frozen parameters, inputs or state; tokens, which have no gradient; no steps."""
    case = Case(LSTM(input_size=2, hidden_size=3), 7, dtype=jnp.float64, remat="sqrt")
    one, of_kernel = jax.jit(some_gradients(case.value(backend)))(*case.arguments)
    del case.options["remat"]
    expected = jax.jit(gradient(case.value(backend)))(*case.arguments)
    assert gap((one, of_kernel), (expected, expected[0]["recurrent_kernel"])) <= 1e-12

    cell = LSTM(input_size=3, hidden_size=4)
    for steps in (0, 5):
        tokens = np.arange(2 * steps).reshape(2, steps) % 3

        def states(params, remat, tokens=tokens):
            return weighted(unroll(cell, params, tokens, remat=remat, backend=backend, collect="states"))

        gradients = jax.jit(lambda p, f=states: [jax.grad(f)(p, remat) for remat in ("sqrt", None)])
        assert gap(*gradients(parameters(cell))) <= 1e-12


def test_collected_states_with_counts(x64):
    """States hold integers: the number of real steps in each row's noise."""
    cell = Stack((RecurrentDropout(LSTM(input_size=3, hidden_size=4), 0.3),))
    params, xs = parameters(cell), jnp.sin(jnp.arange(42.0)).reshape(2, 7, 3)

    def value(params, remat):
        states = unroll(cell, params, xs, key=jax.random.key(1), remat=remat, collect="states", lengths=[7, 4])
        return weighted(states), states

    run = jax.jit(jax.grad(value, has_aux=True), static_argnums=1)
    chunked, stored = (run(params, remat) for remat in ("sqrt", None))
    assert gap(chunked, stored) <= 1e-12
    _, (_, states) = chunked
    counts = [a for a in jax.tree.leaves(states) if jnp.issubdtype(a.dtype, jnp.integer)]
    assert [c.tolist() for c in counts] == [[[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 4, 4, 4]]]


@pytest.mark.parametrize("reverse", [False, True])
def test_context_gradients_come_back_once(reverse, x64):
    cell = Conditioned(input_size=3, hidden_size=4)
    params, xs = parameters(cell), jnp.sin(jnp.arange(42.0)).reshape(2, 7, 3)
    reset = np.arange(14).reshape(2, 7) % 4 == 2

    def value(context, remat):
        return weighted(unroll(cell, params, xs, context=context, reset=reset, reverse=reverse, remat=remat))

    run, context = jax.jit(jax.grad(value), static_argnums=1), {"h": jnp.cos(jnp.arange(8.0)).reshape(2, 4)}
    assert gap(run(context, 3), run(context, None)) <= 1e-12


def test_bfloat16_sums_over_chunks_in_float32():
    """The sum over many chunks is rounded to bfloat16 once."""
    case = Case(Elman(input_size=3, hidden_size=4), 200, masked=False)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), case.arguments[:2])
    case.options["remat"] = 1
    chunked = jax.jit(jax.grad(case.value("fused")))(*half, case.arguments[2])
    case.options["remat"] = None
    stored = jax.jit(jax.grad(case.value("fused")))(*half, case.arguments[2])
    assert {g.dtype for g in jax.tree.leaves(chunked)} == {jnp.dtype(jnp.bfloat16)}
    assert gap(chunked, stored) <= 0.05


def temporary(part, steps, rows=4, size=32, flags=(), **options):
    """Bytes that a compiled training step allocates besides xs, ys, the parameters, and the cotangents of these."""
    xs = jax.ShapeDtypeStruct((rows, steps, size), jnp.float32)
    params = jax.eval_shape(part.init, jax.random.key(0))
    shapes = {"lengths": ((rows,), jnp.int32), "mask": ((rows, steps), jnp.bool_), "reset": ((rows, steps), jnp.bool_)}

    def training(params, xs, cotangent, flags):
        ys, pull = jax.vjp(lambda p, x: unroll(part, p, x, **flags, **options)[1], params, xs)
        return ys, *pull(cotangent)

    flags = {name: jax.ShapeDtypeStruct(*shapes[name]) for name in flags}
    compiled = jax.jit(training).lower(params, xs, jax.ShapeDtypeStruct(xs.shape, xs.dtype), flags).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("call", leaving((LSTM, "fused"), (GRU, "scan"), of=itertools.product([LSTM, GRU], ["fused", "scan"])))
def test_memory_grows_as_the_square_root(call):
    """256 times the steps take 16 times the memory, a quarter of that of xs; without remat a 16th of the steps takes more."""
    kind, backend = call
    cell = kind(input_size=32, hidden_size=32)
    short, long = (temporary(cell, steps, remat="sqrt", backend=backend) for steps in (1024, 262144))
    assert long <= 17 * short
    assert long < 262144 * 4 * 32 * 4 / 4
    assert temporary(cell, 16384, backend=backend) > long


@pytest.mark.parametrize("flags", [("lengths",), ("mask", "reset")])
def test_memory_with_padding_grows_no_faster(flags):
    """No array besides xs and ys is as long as they are; flags, a byte for each row and step, are a 128th of xs here."""
    cell, size_of_flags = GRU(input_size=32, hidden_size=32), 262144 * 4 * 2 * len(flags)
    short, long = (temporary(cell, steps, flags=flags, remat="sqrt") for steps in (16384, 262144))
    assert long <= 4.2 * short + size_of_flags


def test_padding_in_chunks_reaches_nothing():
    """NaN at masked steps reaches no value and no gradient, in the last and shorter chunk too."""
    case = Case(LSTM(input_size=3, hidden_size=4), 11)
    case.options |= {"lengths": np.array([11, 4, 0], np.int32), "remat": 4}
    real = np.arange(11) < np.array([[11], [4], [0]])
    params, xs, state = case.arguments
    padded = jnp.where(real[..., None], xs, jnp.nan)
    chunked = jax.jit(jax.value_and_grad(case.value("fused"), argnums=(0, 1, 2)))(params, padded, state)
    case.options["remat"] = None
    assert gap(chunked, jax.jit(jax.value_and_grad(case.value("scan"), argnums=(0, 1, 2)))(params, xs, state)) <= 1e-5
