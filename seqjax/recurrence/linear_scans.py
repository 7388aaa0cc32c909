"""Linear recurrences over arrays, by a loop, in chunks, or in log T rounds; and their derivative, which is one too.

The derivative is not JAX's: reverse mode is the same recurrence in the opposite direction. It keeps a and the result, where JAX's
derivative of an associative scan keeps every round, and of a loop a copy of the states.

    g[t] = c[t] + a[t+1] g[t+1],   d b[t] = g[t],   d a[t] = g[t] h[t-1],   d h0 = a[0] g[0];   c: the cotangent of h
"""

import functools
import math
import operator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax import placement
from seqjax.annotations import public
from seqjax.checks import as_array, check_array
from seqjax.errors import InputError
from seqjax.recurrence.custom_transpose import with_linearization
from seqjax.thresholds import scan_method
from seqjax.types import Array, at_least_float32

Method = Literal["auto", "loop", "chunked", "associative"]


class _Arguments(NamedTuple):
    """One list for each argument: of one array, or of its index, tangent or cotangent, if it has one."""

    a: list
    b: list
    h0: list


@public
def linear_scan(
    a: ArrayLike, b: ArrayLike, h0: ArrayLike | None = None, *, method: Method = "auto", reverse: bool = False
) -> Array:
    """All states of a linear recurrence, entry by entry.

        h[t] = a[t] h[t-1] + b[t],   h[-1] = h0        (reverse: h[t] = a[t] h[t+1] + b[t],   h[T] = h0)

    The methods give the same values and derivatives; each derivative in reverse mode is a linear recurrence too. "loop" takes T
    steps; "chunked" takes about 2 sqrt(T), which run over all chunks of sqrt(T) steps at once; "associative" takes about 2 log T
    rounds, over half of the steps, a quarter, and so on. The last two multiply a over many steps: where |a| > 1, such a product
    may overflow before h does, and what depends on it is then infinite or NaN. "loop" makes no such products.

    Args:
        a: floating or complex, of the shape of b or one that broadcasts to it, such as [B, T, 1], [1, 1, H] or [H].
        b: floating or complex, [B, T, ...].
        h0: floating or complex, [B, ...]; None: zeros.
        method: "auto" is the fastest in the measurements of thresholds.py: "loop" on CPUs, otherwise "associative".
        reverse: from the last step to the first.

    Returns:
        [B, T, ...], float32 or wider, complex if an argument is.

    Raises:
        InputError: an array of another kind or shape, or an unknown method.

    Example:
        >>> linear_scan(jnp.array([0.5]), jnp.ones((1, 3, 1)), jnp.array([[2.0]]))[0, :, 0].tolist()
        [2.0, 2.0, 2.0]

    Blelloch 1990, "Prefix sums and their applications"; Martin, Cundy 2018, arXiv:1709.04057.
    """
    a, b = _numbers("a", a), _numbers("b", b)
    if b.ndim < 2:
        raise InputError(f"b is {b.dtype}{list(b.shape)}, it must be [B, T, ...]: rows and steps, then any other axes")
    h0 = jnp.zeros((b.shape[0], *b.shape[2:]), b.dtype) if h0 is None else _numbers("h0", h0)
    sizes = zip((1,) * (b.ndim - a.ndim) + a.shape, b.shape, strict=False)
    if a.ndim > b.ndim or not all(n == 1 or n == m for n, m in sizes):
        raise InputError(f"a has shape {a.shape}, which does not broadcast to that of b, {b.shape}")
    if h0.shape != (b.shape[0], *b.shape[2:]):
        raise InputError(f"h0 has shape {h0.shape}, it must be {(b.shape[0], *b.shape[2:])}: that of b without the steps")
    return placement.automatic(functools.partial(_jitted, method=method, reverse=reverse), a, b, h0, rows=b)


def _numbers(name: str, value) -> Array:
    """An argument as an array of JAX, floating or complex."""
    array = as_array(name, value)
    if not jnp.issubdtype(array.dtype, jnp.complexfloating):
        array = check_array(name, array, "floating", "...")
    return jnp.asarray(array)


@functools.partial(jax.jit, static_argnames=("method", "reverse"))
def _jitted(a: Array, b: Array, h0: Array, *, method: Method, reverse: bool) -> Array:
    dtype = at_least_float32(jnp.result_type(a, b, h0))
    a, b, h0 = (x.astype(dtype) for x in (a.reshape((1,) * (b.ndim - a.ndim) + a.shape), b, h0))
    if isinstance(b.shape[1], int) and not b.shape[1]:
        return b
    name = scan_method(b.shape[1]) if method == "auto" else method
    run, pull_back = METHODS[name if isinstance(b.shape[1], int) else "loop"]

    def value(arguments):
        [a], [b], [h0] = arguments
        return [run(a, b, h0, reverse)]

    def linearize(arguments, active):
        hs = run_all(arguments)  # not `value`: its second derivative would be that of a loop that writes in place

        def push(residuals, tangents):
            ([a], [b], [h0]), [hs] = residuals
            moved = tangents.b[0] if tangents.b else placement.full(b)
            if tangents.a:
                moved = moved + tangents.a[0] * _before(hs, h0, reverse)
            return [plain(a, moved, tangents.h0[0] if tangents.h0 else placement.full(h0), reverse)]

        def pull(residuals, cotangents):
            ([a], _, [h0]), [hs] = residuals
            found = pull_back(a, hs, h0, cotangents[0], reverse, bool(active.a))
            return _Arguments(*([d] if which else [] for d, which in zip(found, active, strict=True)))

        return hs, hs, push, pull

    run_all = with_linearization(value, linearize)
    return run_all(_Arguments([a], [b], [h0]))[0]


# Each method below: a [B or 1, T or 1, ...], b [B, T, ...], h0 [B, ...], all of one dtype, and T at least 1.


def plain(a: Array, b: Array, h0: Array, reverse: bool) -> Array:
    """The reference: `jax.lax.scan` over the steps, which JAX can differentiate and transpose."""

    def step(h, a_and_b):
        h = a_and_b[0] * h + a_and_b[1]
        return h, h

    a = jnp.broadcast_to(a, (*a.shape[:1], *b.shape[1:]))  # [B or 1, T, ...]
    return jnp.swapaxes(jax.lax.scan(step, h0, (jnp.swapaxes(a, 0, 1), jnp.swapaxes(b, 0, 1)), reverse=reverse)[1], 0, 1)


def _loop(a, b, h0, reverse, times=operator.mul):
    """The states, each written in place of the b that it was made of."""
    steps = b.shape[1]

    def step(k, carry):
        h, hs = carry
        t = steps - 1 - k if reverse else k
        # without the barrier XLA computes h at each use, the second after its b is overwritten: it copies all b at every step
        h = jax.lax.optimization_barrier(times(_at(a, t), h) + _at(hs, t))
        return h, _put(hs, h, t)

    return jax.lax.fori_loop(0, steps, step, (h0, b))[1]


def _loop_back(a, hs, h0, c, reverse, with_a):
    """(d a or None, d b, d h0) in one loop: `_loop` backwards."""
    steps = hs.shape[1]
    constant = a.shape[1] == 1  # the same a at every step: one sum
    d_a = placement.full(h0 if constant else a) if with_a else None

    def step(k, carry):
        d_h, d_b, d_a = carry
        t = k if reverse else steps - 1 - k
        g = _at(c, t) + d_h
        if with_a:
            earlier = jnp.minimum(t + 1, steps - 1) if reverse else jnp.maximum(t - 1, 0)
            before = jnp.where(t == (steps - 1 if reverse else 0), h0, _at(hs, earlier))
            d_a = d_a + g * before if constant else _put(d_a, _sum_to(g * before, _at(a, 0).shape), t)
        return _at(a, t) * g, _put(d_b, g, t), d_a

    d_h, d_b, d_a = jax.lax.fori_loop(0, steps, step, (placement.full(h0), placement.full(c), d_a))
    return _sum_to(d_a[:, None], a.shape) if constant and with_a else d_a, d_b, d_h


def _back(run, a, hs, h0, c, reverse, with_a):
    """(d a or None, d b, d h0) by the forward method, in the other direction."""
    steps = a.shape[1]
    later = a if steps == 1 else _before(a, a[:, 0], not reverse)  # a[t+1]; that of the last step meets d h = 0
    g = run(later, c, placement.full(h0), not reverse)
    first = -1 if reverse else 0
    d_h0 = a[:, first] * g[:, first]
    return _sum_to(g * _before(hs, h0, reverse), a.shape) if with_a else None, g, d_h0


def _chunked(a, b, h0, reverse):
    """Every chunk from h = 0, with the product of its a; the state at each edge; and every chunk again, from its edge."""
    if reverse:
        return _reversed(_chunked, a, b, h0)
    rows, steps, *rest = b.shape
    length = math.isqrt(steps - 1) + 1
    chunks = -(-steps // length)
    missing = [(0, 0), (0, chunks * length - steps)] + [(0, 0)] * len(rest)
    a = a[:, :, None] if a.shape[1] == 1 else jnp.pad(a, missing).reshape(a.shape[0], chunks, length, *a.shape[2:])
    b = jnp.pad(b, missing).reshape(rows, chunks, length, *rest)

    def summed(t, carry):
        product, h = carry  # [B or 1, chunks or 1, ...] and [B, chunks, ...]
        return _at(a, t, 2) * product, _at(a, t, 2) * h + _at(b, t, 2)

    def step(t, carry):
        h, hs = carry  # [B, chunks, ...], [B, chunks, length, ...]
        h = _at(a, t, 2) * h + _at(hs, t, 2)
        return h, _put(hs, h, t, 2)

    first = a[:, :, 0]
    product, h = jax.lax.fori_loop(1, length, summed, (first, b[:, :, 0]))
    product = jnp.broadcast_to(product, (product.shape[0], chunks, *product.shape[2:]))
    edges = _before(_loop(product, h, h0, False, _times), h0, False)  # [B, chunks, ...]
    return jax.lax.fori_loop(0, length, step, (edges, b))[1].reshape(rows, chunks * length, *rest)[:, :steps]


def _associative(a, b, h0, reverse):
    """Pairs of steps as one step, the states after every pair in this way, and from them the states between."""
    if reverse:
        return _reversed(_associative, a, b, h0)
    return _pairwise(a, jnp.concatenate([b[:, :1] + (a[:, 0] * h0)[:, None], b[:, 1:]], axis=1))


def _pairwise(a, b):
    steps = b.shape[1]
    if steps == 1:
        return b
    pairs, (a_even, a_odd) = steps // 2, (a, a) if a.shape[1] == 1 else (a[:, ::2], a[:, 1::2])
    after_pairs = _pairwise(a_odd * a_even[:, :pairs], _times(a_odd, b[:, : 2 * pairs : 2]) + b[:, 1::2])  # h[1], h[3], ...
    rest = (steps - 1) // 2
    between = _times(a_even if a.shape[1] == 1 else a_even[:, 1:], after_pairs[:, :rest]) + b[:, 2::2]
    between = jnp.concatenate([b[:, :1], between], axis=1)  # h[0], h[2], ...
    joined = jnp.stack([between[:, :pairs], after_pairs], axis=2).reshape(b.shape[0], 2 * pairs, *b.shape[2:])
    return jnp.concatenate([joined, between[:, pairs:]], axis=1) if steps % 2 else joined


def _times(a, h):
    """a h, and 0 where h is, even if a product of several a has overflowed."""
    return jnp.where(h == 0, jnp.zeros((), h.dtype), a * h)


def _reversed(method, a, b, h0):
    return jnp.flip(method(jnp.flip(a, 1), jnp.flip(b, 1), h0, False), 1)


def _before(hs, h0, reverse):
    """The state before each step."""
    return jnp.concatenate([hs[:, 1:], h0[:, None]] if reverse else [h0[:, None], hs[:, :-1]], axis=1)


def _sum_to(values, shape):
    """The sum over the axes along which an array of this shape was broadcast."""
    axes = [axis for axis, (n, m) in enumerate(zip(values.shape, shape, strict=True)) if m == 1 and n != 1]
    return values.sum(axes, keepdims=True) if axes else values


def _at(stack, t, axis=1):
    """Step t of a stack; of one that is the same at every step, that."""
    if isinstance(stack.shape[axis], int) and stack.shape[axis] == 1:
        return jax.lax.index_in_dim(stack, 0, axis, keepdims=False)
    return jax.lax.dynamic_index_in_dim(stack, t, axis, keepdims=False, allow_negative_indices=False)


def _put(stack, step, t, axis=1):
    return jax.lax.dynamic_update_index_in_dim(stack, step, t, axis, allow_negative_indices=False)


METHODS = {
    "loop": (_loop, _loop_back),
    "chunked": (_chunked, functools.partial(_back, _chunked)),
    "associative": (_associative, functools.partial(_back, _associative)),
}
