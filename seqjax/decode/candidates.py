"""The largest values over all symbols of several beams."""

import jax
import jax.numpy as jnp

from seqjax.placement import varying_as
from seqjax.types import Array


def largest(values: Array, k: int) -> tuple[Array, Array]:
    """The k largest values of each row, ties to the smaller index.

    Symbols are cut into blocks. The k largest values are in the k blocks with the largest maxima, so that only those are
    sorted: a maximum over all symbols takes a tenth of the time of a top-k on a CPU.

    Args:
        values: floating, [n, B, V]: of n beams, every next symbol.
        k: at most n.

    Returns:
        ([B, k] values in falling order, [B, k] int32 indices beam * V + symbol).

    Example:
        >>> best, index = largest(jnp.array([[[0.0, 5.0, 1.0]], [[4.0, 5.0, 2.0]]]), 2)
        >>> best.tolist(), index.tolist()
        ([[5.0, 5.0]], [[1, 4]])
    """
    beams, rows, symbols = values.shape
    size = 1 << symbols.bit_length() // 2  # about sqrt(V): as many blocks as symbols in one
    blocks = -(-symbols // size)
    padded = jnp.pad(values, ((0, 0), (0, 0), (0, blocks * size - symbols)), constant_values=-jnp.inf)
    # [n, B, blocks] -> [B, n * blocks]
    maxima = padded.reshape(beams, rows, blocks, size).max(axis=-1).transpose(1, 0, 2).reshape(rows, beams * blocks)
    _, block = jax.lax.top_k(maxima, k)
    block = jnp.sort(block, axis=1)[..., None]  # [B, k, 1], in order of their indices: ties go to the smaller one
    # [B, k, size]: every symbol of those blocks
    column = block % blocks * size + jax.lax.broadcasted_iota(jnp.int32, (rows, k, size), 2)
    beam, symbol = jnp.broadcast_to(block // blocks, column.shape), jnp.minimum(column, symbols - 1)
    row = jax.lax.broadcasted_iota(jnp.int32, column.shape, 0)
    in_blocks = jnp.where(column < symbols, values[beam, row, symbol], -jnp.inf).reshape(rows, k * size)
    best, position = jax.lax.top_k(in_blocks, k)
    return best, jnp.take_along_axis((beam * symbols + symbol).reshape(rows, k * size), position, axis=1)


def largest_of_banks(values: Array, bank: Array, k: int, banks: int, count: Array) -> tuple[Array, Array, Array, Array]:
    """The k largest values where every bank gives its largest, then every bank its second, and so on.

    Args:
        values: floating, [n, B, V].
        bank: int32, [n, B, V]: the bank of each value, from 0; of a number of `count` or more: the last.
        k: at most n.
        banks: static, at least count.
        count: int32, [], banks in use.

    Returns:
        ([B, k] values, [B, k] int32 indices as from `largest`), and the same of bank 0 alone.

    Post, Vilar 2018, "Fast lexically constrained decoding with dynamic beam allocation".
    """
    bank = jnp.minimum(bank, count - 1)

    def of_bank(number, best):
        one = largest(jnp.where(bank == number, values, -jnp.inf), k)
        return jax.tree.map(lambda leaf, new: leaf.at[:, number].set(new), best, one)

    shape = (values.shape[1], banks, k)
    nothing = varying_as((jnp.full(shape, -jnp.inf, values.dtype), jnp.zeros(shape, jnp.int32)), values)
    best, index = jax.lax.fori_loop(0, count, of_bank, nothing)  # [B, banks, k]
    rank = jnp.where(best > -jnp.inf, jax.lax.broadcasted_iota(jnp.int32, shape, 2), k)
    flat = [leaf.reshape(shape[0], banks * k) for leaf in (rank, -best, index)]
    _, cost, chosen = (leaf[:, :k] for leaf in jax.lax.sort(flat, num_keys=3))
    return -cost, chosen, best[:, 0], index[:, 0]
