"""The largest values over all symbols of several beams."""

import jax
import jax.numpy as jnp

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
