"""Linear recurrences over arrays: every method against a NumPy loop, values and derivatives, and where products overflow."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import InputError, linear_scan
from seqjax.recurrence.linear_scans import METHODS, plain
from tests.catalog import leaving

# steps, shape of a beside b [2, T, 3], dtype, reverse
CASES = {
    "4096 steps": (4096, (2, 4096, 3), "float32", False),
    "complex": (37, (2, 37, 3), "complex64", True),
    "the same a at every step": (37, (3,), "complex64", False),
    "one a for all rows and units": (37, (1, 37, 1), "float32", True),
    "one step": (1, (2, 1, 3), "float32", True),
}


def numbers(rng, shape, dtype, modulus=1.0):
    """Numbers of a modulus, of random signs or phases."""
    turns = np.exp(2j * np.pi * rng.random(shape)) if dtype == "complex64" else rng.choice([-1, 1], shape)
    return (modulus * turns).astype(dtype)


def arrays(steps, shape, dtype):
    rng = np.random.default_rng(steps)
    a = numbers(rng, shape, dtype, rng.uniform(0.99, 1, shape))
    return a, *(numbers(rng, s, dtype, rng.normal(size=s)) for s in ((2, steps, 3), (2, 3), (2, steps, 3)))


def by_hand(a, b, h0, c, reverse):
    """(h, d a, d b, d h0) of sum(c h) in float64, by a loop forwards and one backwards."""
    a, b, h0, c = (x.astype(np.promote_types(x.dtype, np.float64)) for x in (np.broadcast_to(a, b.shape), b, h0, c))
    order = range(b.shape[1])[:: -1 if reverse else 1]
    hs, d_a, d_b, h = np.zeros_like(b), np.zeros_like(b), np.zeros_like(b), h0
    for t in order:
        h = hs[:, t] = a[:, t] * h + b[:, t]
    g = np.zeros_like(h0)
    for i, t in enumerate(order[::-1]):
        g = d_b[:, t] = c[:, t] + g
        before = order[::-1][i + 1] if i + 1 < len(order) else None
        d_a[:, t], g = g * (h0 if before is None else hs[:, before]), a[:, t] * g
    return hs, d_a, d_b, g


def summed_to(array, shape):
    """The gradient of an array that was broadcast from this shape."""
    shape = (1,) * (array.ndim - len(shape)) + shape
    return array.sum(tuple(i for i, n in enumerate(shape) if n == 1 and array.shape[i] > 1), keepdims=True)


def close(actual, expected, tolerance=2e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_every_method_equals_a_loop_by_hand_and_so_do_its_derivatives(name):
    steps, shape, dtype, reverse = CASES[name]
    a, b, h0, c = arrays(steps, shape, dtype)
    hs, d_a, d_b, d_h0 = by_hand(a, b, h0, c, reverse)
    expected = hs, summed_to(d_a, shape).reshape(shape), d_b, d_h0

    @jax.jit
    def all_methods(a, b, h0, c):
        results = {}
        for method in METHODS:
            scan = functools.partial(linear_scan, method=method, reverse=reverse)
            total = lambda a, b, h0, scan=scan: (c * scan(a, b, h0)).sum()  # noqa: E731
            _, pull = jax.vjp(total, a, b, h0)
            one = jnp.ones((), b.dtype)
            results[method] = (scan(a, b, h0), *pull(one)), jax.jvp(total, (a, b, h0), (a, b, h0))[1]
        return results

    for reverse_mode, forward_mode in all_methods(a, b, h0, c).values():
        for actual, right in zip(reverse_mode, expected, strict=True):
            close(actual, right)
        along = sum((np.asarray(d, np.complex128) * x).sum() for d, x in zip(expected[1:], (a, b, h0), strict=True))
        scale = sum(np.abs(d * x).sum() for d, x in zip(expected[1:], (a, b, h0), strict=True))
        assert abs(np.asarray(forward_mode) - along) <= 1e-5 * scale


@pytest.mark.parametrize("method", leaving("loop", of=METHODS))
def test_vmap_second_order_and_the_gradient_of_some_arguments_are_those_of_jax(method, x64):
    a, b, h0, c = (jnp.asarray(x, jnp.float64) for x in arrays(5, (2, 5, 3), "float32"))

    def results(scan):
        total = lambda a, h0: (c * scan(a, b, h0) ** 2).sum()  # noqa: E731
        hessian = jax.hessian(lambda h0: jax.grad(total)(a, h0).sum())(h0)
        mapped = jax.vmap(jax.grad(total, (0, 1)), (0, None))(jnp.stack([a, a / 2]), h0)
        return hessian, mapped, jax.grad(total, 1)(a, h0), jax.jacfwd(total)(a, h0)

    by_jax = lambda a, b, h0: plain(a, b, h0, False)  # noqa: E731
    actual, expected = jax.jit(lambda: [results(functools.partial(linear_scan, method=method)), results(by_jax)])()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), actual, expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_products_of_a_that_overflow_do_not_make_nan_of_zeros(reverse):
    """3^4096 is infinite in float32; h is not, since it is 0 until the last steps."""
    b = np.zeros((1, 4096, 1), np.float32)
    b[:, 2 if reverse else -3] = 1.0
    expected = np.zeros(4096, np.float32)
    expected[:3] = [9, 3, 1]
    for method in METHODS:
        hs = linear_scan(jnp.array([3.0]), b, method=method, reverse=reverse)[0, :, 0]
        assert hs.tolist() == (expected if reverse else expected[::-1]).tolist(), method


def test_factors_that_underflow_leave_the_term_of_each_step():
    for method in METHODS:
        hs = linear_scan(jnp.full(1, 1e-30), jnp.ones((1, 64, 1)), jnp.ones((1, 1)), method=method)
        assert hs.min() == hs.max() == 1, method


def test_narrow_arrays_are_summed_in_float32():
    hs = linear_scan(jnp.ones(1, jnp.bfloat16), jnp.ones((1, 300, 1), jnp.bfloat16))
    assert hs.dtype == jnp.float32
    assert hs[0, -1, 0] == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fft"}, "method is 'fft', it must be one of 'auto', 'loop', 'chunked', 'associative'"),
        ({"a": np.ones((2, 4, 3))}, "a has shape (2, 4, 3), which does not broadcast to that of b, (2, 5, 3)"),
        ({"a": np.ones((1, 2, 5, 3))}, "a has shape (1, 2, 5, 3), which does not broadcast to that of b, (2, 5, 3)"),
        ({"a": np.ones(3, int)}, "a is int64[3], it must be floating [...]"),
        ({"a": "x"}, "a is 'x', it must be an array of numbers, all rows of one length"),
        ({"b": np.ones(5)}, "b is float32[5], it must be [B, T, ...]: rows and steps, then any other axes"),
        ({"h0": np.ones(3)}, "h0 has shape (3,), it must be (2, 3): that of b without the steps"),
        ({"reverse": 2}, "reverse is 2, it must be True or False"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=f"^.*{re.escape(message)}$"):
        linear_scan(**{"a": np.ones(3), "b": np.ones((2, 5, 3))} | arguments)
