"""Arithmetic of gated cells: input products, gates and their record, layer normalisation, recurrent products with heads."""

import contextlib
import contextvars
import functools
import math

import jax
import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.products import affine, product
from seqjax.tables import look_up
from seqjax.thresholds import ROWS_PER_KERNEL_ROW, at_least
from seqjax.types import Array, Params, at_least_float32

_record: contextvars.ContextVar[dict | None] = contextvars.ContextVar("gates", default=None)
_hoisted: contextvars.ContextVar[bool] = contextvars.ContextVar("hoisted", default=False)


@contextlib.contextmanager
def recording_gates(name: str | None = None):
    """A context that yields a dict, to which the gates of every `recur` inside are added by name.

    Args:
        name: inside another such context, the entry under which the dict of a composite's part is kept there, unless the part
            has no gates; None: a record of its own.

    Example:
        >>> with recording_gates() as gates:
        ...     _ = gate_values(jnp.zeros(2), i="s", g="t")
        >>> {name: gate.tolist() for name, gate in gates.items()}
        {'i': [0.5], 'g': [0.0]}
    """
    outer, gates = _record.get(), {}
    token = _record.set(None if name is not None and outer is None else gates)
    try:
        yield gates
    finally:
        _record.reset(token)
    if name is not None and outer is not None and gates:
        outer[name] = gates


def record_gates(**gates: Array):
    """Adds gates to the record, if there is one; `gate_values` does this by itself.

    Args:
        **gates: each gate's value, [..., H], by its name in `Cell.gates`.

    Example:
        >>> with recording_gates() as gates:
        ...     record_gates(n=jnp.ones(1))
        >>> list(gates)
        ['n']
    """
    if (record := _record.get()) is not None:
        record.update(gates)


def over_stack(dot) -> bool:
    """True in a backend's loop over a stack of z; False in a step of its own, and in a loop whose steps project their input.

    Args:
        dot: the argument of `Cell.recur`.

    Example:
        >>> over_stack(product), over_stack(lambda h, kernel: product(h, kernel)), over_stack(without_stack(product))
        (False, True, False)
    """
    return dot is not product and not getattr(dot, "without_stack", False)


def without_stack(dot):
    """`dot` for a loop whose steps project their own input."""

    def marked(h, kernel):
        return dot(h, kernel)

    marked.without_stack = True
    return marked


def gate_values(z: Array, /, *, together: bool = True, **gates: str) -> tuple[Array, ...]:
    """The gates of a cell, each with its own squashing function, computed by one tanh.

        logistic(z) = tanh(z / 2) / 2 + 1/2

    Args:
        z: floating, [..., nH], n gates side by side.
        together: False: by one tanh for each gate, which XLA computes where the gate is used. A slice of a stack is read in one
            pass by one tanh alone.
        **gates: the name of each gate in the order of z, with "s" for the logistic function, "t" for tanh, or a name of
            `seqjax.activations.ACTIVATIONS`.

    Returns:
        The n gates in that order, [..., H] each.

    Example:
        >>> [gate.tolist() for gate in gate_values(jnp.zeros(2), i="s", g="t")]
        [[0.5], [0.0]]
    """
    kinds = tuple({"sigmoid": "s", "tanh": "t"}.get(kind, kind) for kind in gates.values())
    values = _squashed(z, kinds, together)
    record_gates(**dict(zip(gates, values, strict=True)))
    return values


def _squashed(z: Array, kinds: tuple[str, ...], together: bool) -> tuple[Array, ...]:
    """The gates of `gate_values`, from the kind of each."""
    size = z.shape[-1] // len(kinds)
    if not together:
        return tuple(_one_squashed(a, kind) for a, kind in zip(jnp.split(z, len(kinds), axis=-1), kinds, strict=True))
    if set(kinds) == {"s"}:
        scale = jnp.full((), 0.5, z.dtype)
    else:
        scale = jnp.concatenate([jnp.full(size, 0.5 if kind == "s" else 1.0, z.dtype) for kind in kinds])
    values = jnp.split(jnp.tanh(z * jnp.broadcast_to(scale, z.shape)), len(kinds), axis=-1)
    if not {"s", "t"}.issuperset(kinds):
        parts = jnp.split(z, len(kinds), axis=-1)
        values = [a if kind in "st" else _one_squashed(part, kind) for a, part, kind in zip(values, parts, kinds, strict=True)]
    return tuple(0.5 * a + 0.5 if kind == "s" else a for a, kind in zip(values, kinds, strict=True))


def _one_squashed(a: Array, kind: str) -> Array:
    """One gate; kind as for `gate_values`."""
    if kind == "s":
        return 0.5 * jnp.tanh(0.5 * a) + 0.5
    return jnp.tanh(a) if kind == "t" else ACTIVATIONS[kind](a)


def layer_norm(a: Array, scale: Array, bias: Array | None = None, epsilon: float = 1e-5) -> Array:
    """Layer normalisation over the last axis.

        y = (a - m) / sqrt(v + epsilon) * scale + bias,   m and v the mean and variance of a's last axis

    Args:
        a: [..., H], float32 or wider.
        scale: [H].
        bias: [H]; None: none.
        epsilon: keeps equal features finite.

    Returns:
        [..., H], the dtype of a.

    Example:
        >>> layer_norm(jnp.array([1.0, 3.0]), jnp.ones(2), jnp.ones(2)).round(3).tolist()
        [0.0, 2.0]

    Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    ys = _standardized(epsilon, a) * jnp.broadcast_to(scale.astype(a.dtype), a.shape)  # [..., H]
    return ys if bias is None else ys + jnp.broadcast_to(bias.astype(a.dtype), a.shape)


def _standardize(epsilon: float, a: Array) -> tuple[Array, Array]:
    """(a - m) / sqrt(v + epsilon), [..., H], and 1 / sqrt(v + epsilon), [..., 1]."""
    centred = a - jnp.broadcast_to(a.mean(-1, keepdims=True), a.shape)
    inverse = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + epsilon)
    return centred * jnp.broadcast_to(inverse, a.shape), inverse


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _standardized(epsilon: float, a: Array) -> Array:
    """(a - m) / sqrt(v + epsilon). Its derivative reads the result alone: on a CPU in half the time, with less memory."""
    return _standardize(epsilon, a)[0]


@_standardized.defjvp
def _(epsilon, primals, tangents):
    (a,), (da,) = primals, tangents
    y, inverse = _standardize(epsilon, a)
    spread = lambda row: jnp.broadcast_to(row, a.shape)  # noqa: E731
    means = da.mean(-1, keepdims=True), jnp.mean(y * da, axis=-1, keepdims=True)  # [..., 1] each
    return y, spread(inverse) * (da - spread(means[0]) - y * spread(means[1]))


def outnumbers(xs: Array, kernel: Array) -> bool:
    """True if xs has so many rows that work on the rows of `kernel` costs little beside work on each row of xs.

    A single step inside a loop has few rows: there XLA would repeat the work on the kernel at every step.

    Args:
        xs: floating [..., D], or integer tokens [...].
        kernel: [D, N].

    Example:
        >>> outnumbers(jnp.zeros((5, 100, 3)), jnp.zeros((3, 8))), outnumbers(jnp.zeros((5, 3)), jnp.zeros((3, 8)))
        (True, False)
    """
    leading = xs.shape if jnp.issubdtype(xs.dtype, jnp.integer) else xs.shape[:-1]
    return at_least(math.prod(leading), ROWS_PER_KERNEL_ROW * kernel.shape[0])


def input_product(kernel: Array, xs: Array) -> Array:
    """The product `xs @ kernel` without a bias; of tokens, the kernel's rows.

    Args:
        kernel: [D, N].
        xs: floating [..., D], or integer tokens [...]: zeros for a token outside 0..D-1.

    Returns:
        [..., N], float32 or wider.

    Example:
        >>> input_product(jnp.eye(2), jnp.array([0, 1])).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if jnp.issubdtype(xs.dtype, jnp.floating):
        return product(xs, kernel)
    return look_up(kernel, xs).astype(at_least_float32(kernel.dtype))


@contextlib.contextmanager
def hoisted_kernels(hoisted: bool = True):
    """A context in which a step's work on parameters alone is done before the loop, so that `project` may cut kernels.

    Args:
        hoisted: False: no such context.

    Example:
        >>> with hoisted_kernels():
        ...     print(kernels_are_hoisted())
        True
    """
    token = _hoisted.set(hoisted)
    try:
        yield
    finally:
        _hoisted.reset(token)


def kernels_are_hoisted() -> bool:
    """True inside `hoisted_kernels`."""
    return _hoisted.get()


def project_input(params: Params, xs: Array, *, bias_row_from: int = 0) -> Array:
    """The part of a cell that sees only the input: `xs @ input_kernel + bias`.

    Args:
        params: with `input_kernel` [D, nH] and `bias` [nH].
        xs: floating [..., D], or integer tokens [...]: a row lookup, equal to the product with their one-hot vectors
            (zeros for a token outside 0..D-1).
        bias_row_from: if the result has at least this many entries, and xs many rows, a bias of the kernel's dtype is appended to
            the kernel as a row (and a 1 to floating xs), so that the matrix product adds it; else it is added to the product.

    Returns:
        [..., nH], float32 or wider.

    Example:
        >>> project_input({"input_kernel": jnp.eye(2), "bias": jnp.ones(2)}, jnp.array([0, 1])).tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """
    kernel, bias = params["input_kernel"], params["bias"]
    out = at_least_float32(kernel.dtype)
    if jnp.issubdtype(xs.dtype, jnp.floating):
        many = outnumbers(xs, kernel) and at_least(math.prod(xs.shape[:-1]) * kernel.shape[-1], bias_row_from)
        if bias.dtype != kernel.dtype or not many:
            return affine(xs, kernel, bias)
        ones = jnp.ones((*xs.shape[:-1], 1), kernel.dtype)  # a row of the kernel saves one pass over zs and one over its gradient
        return product(jnp.concatenate([xs.astype(kernel.dtype), ones], axis=-1), jnp.concatenate([kernel, bias[None]]))
    if outnumbers(xs, kernel):  # adding the bias to the kernel's rows takes fewer additions
        rows = jnp.pad(kernel.astype(out), ((0, 1), (0, 0)))  # [D + 1, nH]: the last is that of a token outside 0..D-1
        return look_up(rows + jnp.broadcast_to(bias.astype(out), rows.shape), xs, last_is_outside=True)
    zs = input_product(kernel, xs)
    return zs + jnp.broadcast_to(bias.astype(out), zs.shape)


def project_cut(params: Params, xs: Array, cuts: list[int]) -> tuple[Array, ...]:
    """`project_input`, cut into parts for products that a step makes one by one.

    Args:
        params: with `input_kernel` [D, nH] and `bias` [nH].
        xs: floating [..., D], or integer tokens [...].
        cuts: the columns at which the second part begins, the third, and so on.

    Returns:
        The parts, [..., columns] each. Of many rows, the kernel is cut, rather than its product with them.

    Example:
        >>> params = {"input_kernel": jnp.eye(2), "bias": jnp.ones(2)}
        >>> [part.tolist() for part in project_cut(params, jnp.array([0, 1]), [1])]
        [[[2.0], [1.0]], [[1.0], [2.0]]]
    """
    kernel, bias = params["input_kernel"], params["bias"]
    if not (kernels_are_hoisted() or outnumbers(xs, kernel)):
        return tuple(jnp.split(project_input(params, xs), cuts, axis=-1))
    parts = zip(jnp.split(kernel, cuts, axis=-1), jnp.split(bias, cuts), strict=True)
    return tuple(project_input({"input_kernel": k, "bias": b}, xs) for k, b in parts)


def recurrent_product(dot, h: Array, kernel: Array) -> Array:
    """The product `dot(h, kernel)` for all gates; with heads, a gate of a head reads the units of that head only.

    Args:
        dot: the argument of `Cell.recur`.
        h: [..., H].
        kernel: [H, nH]; with N heads [N, H/N, n H/N], a head's gates side by side.

    Returns:
        [..., nH], in the layout of z: each gate's hidden units side by side.

    Example:
        >>> kernel = jnp.array([[[1.0, 10.0]], [[2.0, 20.0]]])  # two heads of one unit, two gates
        >>> recurrent_product(product, jnp.ones(2), kernel).tolist()
        [1.0, 2.0, 10.0, 20.0]
    """
    if kernel.ndim == 2:
        return dot(h, kernel)
    heads, size, columns = kernel.shape
    return join_heads(dot(h.reshape(*h.shape[:-1], heads, size), kernel), columns // size)


def join_heads(products: Array, gates: int) -> Array:
    """The products of all heads, in the layout of z: each gate's hidden units side by side.

    Args:
        products: [..., N, n H/N], of N heads, a head's n gates side by side.
        gates: n.

    Returns:
        [..., nH].

    Example:
        >>> join_heads(jnp.array([[1.0, 10.0], [2.0, 20.0]]), gates=2).tolist()
        [1.0, 2.0, 10.0, 20.0]
    """
    *leading, heads, columns = products.shape
    by_gate = jnp.swapaxes(products.reshape(*leading, heads, gates, columns // gates), -3, -2)  # [..., n, N, H/N]
    return jax.lax.collapse(by_gate, len(leading))
