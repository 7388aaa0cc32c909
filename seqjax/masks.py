"""Masks, which are made only in this file. True marks a real step, False padding.

A padded step computes something, and a gradient of 0 times an infinite derivative is NaN. So a padded step repeats the first
real step of its row: `run` in recurrence/engine.py fills what a composite or a layer reads, `run_steps` in recurrence/call.py
what a cell reads, its state and its context, and an attention's `remember` its memory.

Padding is set to zero in these places: `_unroll` in recurrence/engine.py (outputs), `run_steps` in recurrence/call.py (the same
in each chunk, with remat), the convolutions and heads of layers/ (what they read), and `Features` without a cell in
models/encoders.py (its values).
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import tree
from seqjax.checks import as_array, concrete
from seqjax.errors import InputError
from seqjax.types import Array, at_least_float32


@functools.partial(jax.jit, static_argnums=1)
def from_lengths(lengths: Array, steps: int) -> Array:
    """The mask of left-aligned sequences: `mask[b, t] = t < lengths[b]`.

    Args:
        lengths: integer, [...], in steps.
        steps: T.

    Returns:
        bool, [..., T].

    Example:
        >>> from_lengths(jnp.array([2, 0]), 3).astype(int).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    if jnp.iinfo(lengths.dtype).bits < 32:  # too narrow to count to T
        lengths = lengths.astype(jnp.int32)
    index = jax.lax.broadcasted_iota(lengths.dtype, (*lengths.shape, steps), lengths.ndim)
    return index < lengths[..., None]


def check(lengths, mask, leading: tuple[int, ...]) -> tuple[Any, Any]:
    """The arguments `lengths` and `mask` of sequences of shape `leading`, as arrays of JAX or NumPy.

    Args:
        lengths: integer, [*leading[:-1]], 0 <= lengths <= T, or None. Values are checked unless they are traced.
        mask: bool, [*leading], or None.
        leading: (B, T), or (T,) unbatched.

    Returns:
        (lengths, mask); None for one that is not given.

    Raises:
        InputError: both are given, or one has a wrong dtype, shape or value.
    """
    if lengths is not None and mask is not None:
        raise InputError("lengths and mask are both given: give one of them")
    if mask is not None:
        return None, check_flags("mask", mask, leading)
    if lengths is None:
        return None, None
    lengths = as_array("lengths", lengths)
    if lengths.dtype == np.float64 and not lengths.size:  # an empty list
        lengths = lengths.astype(np.int32)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise InputError(f"lengths has dtype {lengths.dtype}, it must be an integer dtype such as int32")
    if lengths.shape != leading[:-1]:
        raise InputError(f"lengths has shape {lengths.shape}, it must be {leading[:-1]}: one length for each row of xs")
    values = concrete(lengths)
    if values is not None and values.size and not (values.min() >= 0 and values.max() <= leading[-1]):
        wrong = values[(values < 0) | (values > leading[-1])]
        raise InputError(f"lengths holds {wrong[0]}, every length must be between 0 and the {leading[-1]} steps of xs")
    return lengths, None


def resolve(lengths, mask, leading: tuple[int, ...]) -> Array | None:
    """The mask of `lengths` or `mask`, which `check` checks: bool, [*leading]; None if neither is given: every step is real."""
    lengths, mask = check(lengths, mask, leading)
    if lengths is not None:
        return from_lengths(jnp.asarray(lengths), leading[-1])
    return None if mask is None else jnp.asarray(mask)


def resolve_reset(reset, leading: tuple[int, ...]) -> Array | None:
    """The checked `reset`: bool, [*leading], or None."""
    return None if reset is None else jnp.asarray(check_flags("reset", reset, leading))


def check_flags(name: str, flags, leading: tuple[int, ...]) -> Any:
    """The argument `name`, "mask" or "reset", as an array; raises InputError unless it is bool, [*leading]."""
    flags = as_array(name, flags)
    if flags.dtype != jnp.bool_:
        raise InputError(f"{name} has dtype {flags.dtype}, it must be bool (True marks {_MEANING[name]})")
    if flags.shape != leading:
        raise InputError(f"{name} has shape {flags.shape}, xs has {leading} (rows and steps): they must be equal")
    return flags


_MEANING = {"mask": "a real step", "reset": "the first step of a new sequence"}


def real_steps_before(mask: Array, *, reverse: bool = False) -> Array:
    """The number of real steps before each step, in the order of processing.

    Args:
        mask: bool, [B, T].
        reverse: True if steps are processed from the last to the first.

    Returns:
        int32, [B, T].
    """
    real = mask.astype(jnp.int32)
    total = jax.lax.cumsum(real, axis=real.ndim - 1, reverse=reverse)
    return total - real


def first_real_step(mask: Array, *, reverse: bool = False) -> Array:
    """The index of each row's first real step in the order of processing, int32 [B]; of a row without steps, some index."""
    steps = jnp.broadcast_to(jnp.arange(mask.shape[1], dtype=jnp.int32), mask.shape)  # [B, T]
    return jnp.max(jnp.where(mask, steps, 0), axis=1) if reverse else jnp.argmax(mask, axis=1).astype(jnp.int32)


def at_steps(values, index: Array):
    """One step of each row: leaves [B, T, ...] and an index [B] to leaves [B, ...]."""

    def pick(a):
        return jnp.take_along_axis(a, tree.expand_right(index, a.ndim), axis=1)[:, 0]

    return jax.tree.map(pick, values)


def from_real_rows(values, mask: Array, otherwise=None):
    """Replace the rows without real steps by the first row that has some. No gradient reaches that row.

    Args:
        values: a pytree of arrays [B, ...].
        mask: bool, [B, T], True at real steps.
        otherwise: the same pytree, for use where no row has a real step; None: `values`.

    Returns:
        The same pytree.
    """
    has_steps = jnp.any(mask, axis=1)  # [B]
    rows = jnp.arange(mask.shape[0], dtype=jnp.int32)  # [B]
    first = jnp.min(jnp.where(has_steps, rows, mask.shape[0]), initial=mask.shape[0])
    is_first = rows == first  # by reductions: rows on several devices then exchange one row

    def replace(a, other):
        row = jnp.where(tree.expand_right(is_first, a.ndim), a, jnp.zeros((), a.dtype))
        row = jnp.any(row, axis=0) if a.dtype == jnp.bool_ else row.sum(axis=0, dtype=a.dtype)
        row = jnp.where(jnp.any(has_steps), row[None], other)  # [B, ...]
        return jnp.where(tree.expand_right(has_steps, a.ndim), a, jax.lax.stop_gradient(row))

    return jax.tree.map(replace, values, values if otherwise is None else otherwise)


def first_steps(xs: Array, mask: Array, *, reverse: bool = False) -> Array:
    """The filling of padding: the first real step of each row in the order of processing, outside of differentiation.

    A row without real steps takes that of another row; if no row has any, some numbers that are not 0 nor equal to each other.

    Args:
        xs: [B, T, ...], T at least 1.
        mask: bool, [B, T], True at real steps.
        reverse: True if steps are processed from the last to the first.

    Returns:
        [B, ...], the dtype of xs.

    Example:
        >>> xs, mask = jnp.array([[1.0, 2.0, 9.0], [9.0, 9.0, 9.0]]), jnp.array([[True, True, False], [False] * 3])
        >>> first_steps(xs, mask).tolist(), first_steps(xs, mask, reverse=True).tolist()
        ([1.0, 1.0], [2.0, 2.0])
    """
    xs = jax.lax.stop_gradient(xs)
    first = at_steps(xs, first_real_step(mask, reverse=reverse))  # [B, ...]
    return from_real_rows(first, mask, jnp.broadcast_to(_in_general_position(xs.shape[2:], xs.dtype), first.shape))


def fill(xs: Array, mask: Array, *, reverse: bool = False) -> Array:
    """Replace padding, NaN included, by `first_steps`; arguments as there."""
    return jnp.where(tree.expand_right(mask, xs.ndim), xs, first_steps(xs, mask, reverse=reverse)[:, None])


def _in_general_position(shape: tuple[int, ...], dtype) -> Array:
    """A vector shorter than 1 of different positive numbers; of integers 0, 1, 2, 0, ..."""
    index = np.arange(math.prod(shape)).reshape(shape)
    numbers = index % 3 if jnp.issubdtype(dtype, jnp.integer) else (2 + np.cos(1 + index)) / 4 / math.sqrt(max(index.size, 1))
    return jnp.asarray(numbers, dtype)


def last(ys, lengths=None, mask=None, *, batched: bool | None = None):
    """The last real step of every row, for many-to-one models; zeros for a row without steps.

    Args:
        ys: a pytree of arrays [B, T, ...], or unbatched [T, ...].
        lengths: integer, [B], unbatched []; or None.
        mask: bool, [B, T], unbatched [T]; or None. Without lengths and mask every step is real.
        batched: whether ys has a batch axis. None: it has one if lengths or mask have; without these, ys of rank 1 has none,
            of rank 3 and above has one, and of rank 2, which may be [B, T] or [T, H], is refused.

    Returns:
        The same pytree with leaves [B, ...], unbatched [...].

    Raises:
        InputError: lengths and mask together, or a wrong dtype, shape or value; rank 2 where nothing tells the batch axis.

    Example:
        >>> last(jnp.arange(6.0).reshape(2, 3), lengths=jnp.array([2, 3])).tolist()
        [1.0, 5.0]
        >>> last(jnp.arange(6.0).reshape(3, 2), batched=False).tolist()  # [T, H], as `unroll` of [T, D] gives it
        [4.0, 5.0]
    """
    return _over_steps(_last, "last", ys, lengths, mask, batched)


def masked_mean(ys: Array, lengths=None, mask=None, *, batched: bool | None = None) -> Array:
    """The mean over the real steps of every row; zeros for a row without steps.

    Args:
        ys: [B, T, ...], or unbatched [T, ...], floating.
        lengths, mask, batched: as for `last`.

    Returns:
        [B, ...], unbatched [...], the dtype of ys.

    Raises:
        InputError: as `last`; integers.

    Example:
        >>> masked_mean(jnp.array([[1.0, 3.0, jnp.nan]]), lengths=jnp.array([2])).tolist()
        [2.0]
    """
    return _over_steps(_mean, "masked_mean", ys, lengths, mask, batched)


def masked_max(ys: Array, lengths=None, mask=None, *, batched: bool | None = None) -> Array:
    """The maximum over the real steps of every row; zeros for a row without steps.

    Args:
        ys: [B, T, ...], or unbatched [T, ...], floating or integer.
        lengths, mask, batched: as for `last`.

    Returns:
        [B, ...], unbatched [...], the dtype of ys.

    Raises:
        InputError: as `last`.

    Example:
        >>> masked_max(jnp.array([[-1.0, -3.0, 9.0]]), lengths=jnp.array([2])).tolist()
        [-1.0]
    """
    return _over_steps(_max, "masked_max", ys, lengths, mask, batched)


def _over_steps(reduce, name: str, ys, lengths, mask, batched: bool | None):
    """reduce(y [B, T, ...], mask [B, T] or None) of every leaf of ys."""
    ys = jax.tree.map(lambda y: jnp.asarray(as_array("ys", y)), ys)
    leaves = jax.tree.leaves(ys)
    if batched is None:
        batched = _has_batch_axis(name, leaves, lengths, mask)
    axes = 2 if batched else 1
    for y in leaves:
        if y.ndim < axes or y.shape[:axes] != leaves[0].shape[:axes]:
            expected = f"{'[B, T, ...]' if batched else '[T, ...]'} with the same {'B and T' if batched else 'T'} in every leaf"
            raise InputError(f"{name} got ys of shape {y.shape}, it must be {expected}")
    if not leaves:
        return ys
    mask = resolve(lengths, mask, leaves[0].shape[:axes])
    if batched:
        return jax.tree.map(lambda y: reduce(y, mask), ys)
    return jax.tree.map(lambda y: reduce(y[None], None if mask is None else mask[None])[0], ys)


def _has_batch_axis(name: str, leaves: list, lengths, mask) -> bool:
    """True for ys [B, T, ...], False for [T, ...]."""
    shapes = {y.ndim: y.shape for y in leaves}
    if lengths is not None or mask is not None:
        given, flags = ("lengths", lengths) if mask is None else ("mask", mask)
        rank = as_array(given, flags).ndim + (mask is None)
        if rank == 1 and max(shapes, default=1) > 2:
            shape = shapes[max(shapes)]
            raise InputError(f"{name} got ys of shape {shape} and {given} of one row: say batched=False if ys is [T, ...]")
        return rank != 1
    if 2 in shapes:
        shape = shapes[2]
        raise InputError(f"{name} got ys of shape {shape}, [B, T] or [T, H]: say batched=True or batched=False, or give lengths")
    return 1 not in shapes


def _last(y: Array, mask: Array | None) -> Array:
    if not y.shape[1]:
        return jnp.zeros(y.shape[:1] + y.shape[2:], y.dtype)
    if mask is None:
        return y[:, -1]
    return tree.zero_where_not(jnp.any(mask, axis=1), at_steps(y, first_real_step(mask, reverse=True)))


def _mean(y: Array, mask: Array | None) -> Array:
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise InputError(f"masked_mean got ys of dtype {y.dtype}, it must be floating: cast it first")
    flags, wide = _real_steps(y, mask), at_least_float32(y.dtype)
    total = jnp.sum(jnp.where(flags, y, jnp.zeros((), y.dtype)), axis=1, dtype=wide)
    count = jnp.sum(flags, axis=1, dtype=jnp.int32)
    return (total / jnp.maximum(count, 1).astype(wide)).astype(y.dtype)


def _max(y: Array, mask: Array | None) -> Array:
    flags = _real_steps(y, mask)
    if jnp.issubdtype(y.dtype, jnp.floating):
        lowest = jnp.asarray(-jnp.inf, y.dtype)
    elif jnp.issubdtype(y.dtype, jnp.integer):
        lowest = jnp.asarray(jnp.iinfo(y.dtype).min, y.dtype)
    else:
        raise InputError(f"masked_max got ys of dtype {y.dtype}, it must be floating or integer")
    highest = jnp.max(jnp.where(flags, y, lowest), axis=1, initial=lowest)
    return jnp.where(jnp.any(flags, axis=1), highest, jnp.zeros((), y.dtype))


def _real_steps(y: Array, mask: Array | None) -> Array:
    """The mask, or all True, with unit axes up to the rank of y: [B, T, 1, ...]."""
    return tree.expand_right(jnp.ones(y.shape[:2], jnp.bool_) if mask is None else mask, y.ndim)
