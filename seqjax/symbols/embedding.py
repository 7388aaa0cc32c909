"""How symbols are read through an embedding."""

from typing import Any

from seqjax.thresholds import projects_table
from seqjax.types import Array, Params, float_dtype

LOOKED_UP = 512  # symbols up to which one product for all of them, before decoding, costs less than one a step


def read_symbols(part, params: Params, table: Array, tokens: Array) -> tuple[Params, Any]:
    """What to unroll to read tokens through an embedding: the part with E W in the place of W, or the rows of E.

        unroll(part, *read_symbols(part, params, E, tokens)) == unroll(part, params, E[tokens])

    Args:
        part: a Cell or a SequenceLayer.
        params: its parameters.
        table: E, [V, D].
        tokens: integer, [B, T].

    Returns:
        (params, xs).
    """
    embedded = part.embed(params, table) if projects_table(len(table), tokens.size) else None
    if embedded is None or float_dtype(embedded) != table.dtype:  # E W of bfloat16 is float32, and so would the outputs be
        return params, table[tokens]
    return embedded, tokens
