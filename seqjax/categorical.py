"""Draws from a categorical distribution, each by one uniform number and the cumulative distribution."""

import jax
import jax.numpy as jnp

from seqjax.thresholds import at_least
from seqjax.types import Array

_LARGEST_UNBLOCKED = 512  # symbols up to which one cumulative sum costs less than two, over blocks and within one


def quantile(p: Array, chance: Array) -> Array:
    """The symbol at which the cumulative distribution passes `chance`; a draw from p if `chance` is uniform in [0, 1).

        the first v with  p_0 + .. + p_v > chance * (p_0 + .. + p_{V-1})

    A large vocabulary is summed by blocks, then within one block, which on a CPU takes a tenth of the time of one cumulative
    sum. A symbol of probability 0 is never chosen, however the sums are rounded.

    Args:
        p: floating, [B, V], at least 0, not all 0 in any row; rows need not sum to 1.
        chance: floating, [B], 0 <= chance < 1.

    Returns:
        int32 [B].

    Example:
        >>> quantile(jnp.array([[1.0, 0.0, 3.0]] * 3), jnp.array([0.0, 0.2, 0.3])).tolist()
        [0, 0, 2]
    """
    rows, symbols = p.shape
    chance = chance.astype(p.dtype)
    if not at_least(symbols, _LARGEST_UNBLOCKED + 1):
        return _first_above(p, chance * p.sum(axis=1))[0]
    size = 1 << symbols.bit_length() // 2  # about sqrt(V)
    blocks = -(-symbols // size)
    padded = jnp.pad(p, ((0, 0), (0, blocks * size - symbols))).reshape(rows, blocks, size)
    block_sums = padded.sum(axis=2)  # [B, blocks]
    threshold = chance * block_sums.sum(axis=1)
    block, before = _first_above(block_sums, threshold)
    within = jnp.take_along_axis(padded, block[:, None, None], axis=1)[:, 0]  # [B, size]
    return block * size + _first_above(within, threshold - before)[0]


def _first_above(parts: Array, threshold: Array) -> tuple[Array, Array]:
    """The first index with a part above 0 and a cumulative sum above the threshold, and the sum before that index.

    Args:
        parts: [B, N], at least 0.
        threshold: [B].
    """
    sums = jnp.cumsum(parts, axis=1)
    indices = jax.lax.broadcasted_iota(jnp.int32, parts.shape, 1)
    first = jnp.where((parts > 0) & (sums > threshold[:, None]), indices, parts.shape[1]).min(axis=1)
    index = jnp.minimum(first, jnp.where(parts > 0, indices, 0).max(axis=1))  # rounding may leave every sum below the threshold
    at = index[:, None]
    return index, (jnp.take_along_axis(sums, at, axis=1) - jnp.take_along_axis(parts, at, axis=1))[:, 0]
