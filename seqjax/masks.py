"""Masks, which are made only in this file. True marks a real step, False padding.

Padding is set to zero in these places: `_unroll` in recurrence/engine.py (inputs before the loop, outputs after it),
`run_steps` in recurrence/call.py (the same in each chunk, with remat), an attention's `remember` (its memory), the
convolutions and heads of layers/ (what they read), and `Features` without a cell in models/encoders.py (its values).
"""

import functools

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax import tree
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


def resolve(lengths, mask, leading: tuple[int, ...]) -> Array | None:
    """The checked mask, from `lengths` or from `mask`, of sequences of shape `leading`.

    Args:
        lengths: integer, [*leading[:-1]], 0 <= lengths <= T, or None. Values are checked unless they are traced.
        mask: bool, [*leading], or None.
        leading: (B, T), or (T,) unbatched.

    Returns:
        bool, [*leading]; None if neither is given: then every step is real.

    Raises:
        InputError: both are given, or one has a wrong dtype, shape or value.
    """
    if lengths is not None and mask is not None:
        raise InputError("lengths and mask are both given: give one of them")
    if mask is not None:
        return _flags("mask", mask, leading)
    if lengths is None:
        return None
    lengths = lengths if isinstance(lengths, jax.Array) else jnp.asarray(np.asarray(lengths))
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise InputError(f"lengths has dtype {lengths.dtype}, it must be an integer dtype such as int32")
    if lengths.shape != leading[:-1]:
        raise InputError(f"lengths has shape {lengths.shape}, it must be {leading[:-1]}: one length for each row of xs")
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        values = np.asarray(lengths)
        wrong = values[(values < 0) | (values > leading[-1])]
        if wrong.size:
            raise InputError(f"lengths holds {wrong[0]}, every length must be between 0 and the {leading[-1]} steps of xs")
    return from_lengths(lengths, leading[-1])


def resolve_reset(reset, leading: tuple[int, ...]) -> Array | None:
    """The checked `reset`: bool, [*leading], or None."""
    return None if reset is None else _flags("reset", reset, leading)


def _flags(name: str, flags, leading: tuple[int, ...]) -> Array:
    flags = flags if isinstance(flags, jax.Array) else jnp.asarray(np.asarray(flags))
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


def last(ys, lengths=None, mask=None):
    """The last real step of every row, for many-to-one models; zeros for a row without steps.

    Args:
        ys: a pytree of arrays [B, T, ...].
        lengths: integer, [B], or None.
        mask: bool, [B, T], or None. Without lengths and mask every step is real.

    Returns:
        The same pytree with leaves [B, ...].

    Raises:
        InputError: lengths and mask together, or a wrong dtype, shape or value.

    Example:
        >>> last(jnp.arange(6.0).reshape(2, 3), lengths=jnp.array([2, 3])).tolist()
        [1.0, 5.0]
    """
    leading = jax.tree.leaves(ys)[0].shape[:2]
    mask = resolve(lengths, mask, leading)
    if not leading[1]:
        return jax.tree.map(lambda y: jnp.zeros(y.shape[:1] + y.shape[2:], y.dtype), ys)
    if mask is None:
        return jax.tree.map(lambda y: y[:, -1], ys)
    steps = jnp.arange(leading[1], dtype=jnp.int32)
    index = jnp.max(jnp.where(mask, jnp.broadcast_to(steps, leading), -1), axis=1)  # [B]; -1 for a row without steps

    def pick(y):
        at = tree.expand_right(jnp.maximum(index, 0), y.ndim)
        row = jnp.take_along_axis(y, at, axis=1)[:, 0]  # [B, ...]
        return tree.zero_where_not(index >= 0, row)

    return jax.tree.map(pick, ys)


def masked_mean(ys: Array, lengths=None, mask=None) -> Array:
    """The mean over the real steps of every row; zeros for a row without steps.

    Args:
        ys: [B, T, ...], floating.
        lengths, mask: as for `last`.

    Returns:
        [B, ...], the dtype of ys.

    Raises:
        InputError: lengths and mask together, or a wrong dtype, shape or value.

    Example:
        >>> masked_mean(jnp.array([[1.0, 3.0, jnp.nan]]), lengths=jnp.array([2])).tolist()
        [2.0]
    """
    flags = _real_steps(ys, lengths, mask)  # [B, T, 1, ...]
    wide = at_least_float32(ys.dtype)
    total = jnp.sum(jnp.where(flags, ys, jnp.zeros((), ys.dtype)), axis=1, dtype=wide)
    count = jnp.sum(flags, axis=1, dtype=jnp.int32)
    return (total / jnp.maximum(count, 1).astype(wide)).astype(ys.dtype)


def masked_max(ys: Array, lengths=None, mask=None) -> Array:
    """The maximum over the real steps of every row; zeros for a row without steps.

    Args:
        ys: [B, T, ...], floating.
        lengths, mask: as for `last`.

    Returns:
        [B, ...], the dtype of ys.

    Raises:
        InputError: lengths and mask together, or a wrong dtype, shape or value.

    Example:
        >>> masked_max(jnp.array([[-1.0, -3.0, 9.0]]), lengths=jnp.array([2])).tolist()
        [-1.0]
    """
    flags = _real_steps(ys, lengths, mask)  # [B, T, 1, ...]
    highest = jnp.max(jnp.where(flags, ys, jnp.asarray(-jnp.inf, ys.dtype)), axis=1, initial=-jnp.inf)
    return jnp.where(jnp.any(flags, axis=1), highest, jnp.zeros((), ys.dtype))


def _real_steps(ys: Array, lengths, mask) -> Array:
    """The mask of `lengths` or `mask`, all True if neither is given, with unit axes up to the rank of ys."""
    mask = resolve(lengths, mask, ys.shape[:2])
    return tree.expand_right(jnp.ones(ys.shape[:2], jnp.bool_) if mask is None else mask, ys.ndim)
