"""Rows of tables: the only place where a symbol becomes a vector."""

import jax.numpy as jnp

from seqjax.placement import automatic
from seqjax.types import Array


def look_up(table: Array, symbols: Array, *, last_is_outside: bool = False) -> Array:
    """The row of each symbol, as the product of its one-hot vector with the table; a symbol outside it gives a row of zeros.

    Value and gradient agree: the gradient of a row sums over the symbols that read it, and those outside read none.

    Args:
        table: [V, ...].
        symbols: integer, [...], of any integer dtype; -1 is outside, not the last row.
        last_is_outside: the table has [V + 1, ...] rows, and a symbol outside 0..V-1 reads the last one instead of zeros.

    Returns:
        [..., ...], the dtype of the table.

    Example:
        >>> look_up(jnp.eye(2), jnp.array([0, 1, 2, -1])).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    """
    table = jnp.asarray(table)
    size = table.shape[0] - last_is_outside
    symbols = symbols.astype(jnp.int32) if symbols.dtype.itemsize < 4 else symbols  # too narrow to compare with V
    rows = jnp.where((symbols >= 0) & (symbols < size), symbols, size).astype(jnp.int32)  # [...]
    fill = {"mode": "promise_in_bounds"} if last_is_outside else {"mode": "fill", "fill_value": 0}
    return automatic(lambda table, rows: table.at[rows].get(**fill), table, rows, rows=rows)
