"""Embedding: symbols as rows of a table, and dropout on inputs and outputs."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.recurrence.arguments import Embedded
from seqjax.tables import look_up
from seqjax.thresholds import projects_table
from seqjax.types import Array, Key, Params, float_dtype


def read_symbols(
    part, params: Params, table: Array, tokens: Array, *, dropout: float = 0.0, per: str = "step", key: Key | None = None
) -> tuple[Params | Embedded, Any]:
    """Parameters and inputs for reading embedded tokens: either W replaced by E W, or the embedded rows.

        unroll(part, *read_symbols(part, params, E, tokens)) == unroll(part, params, E[tokens])

    Args:
        part: a Cell or a SequenceLayer.
        params: its parameters.
        table: E, [V, D].
        tokens: integer, [B, T]; a row of zeros is read for one outside 0..V-1.
        dropout, per: rate and kind of the dropout on the rows, as in `Dropout`.
        key: feeds the dropout; None: no dropout.

    Returns:
        (params, xs), for `unroll`.
    """
    if key is not None and dropout:
        return params, dropped(look_up(table, tokens), dropout, per, key)
    embedded = part.embed(params, table) if projects_table(len(table), tokens.size) else None
    if embedded is None or float_dtype(embedded) != table.dtype:  # E W of bfloat16 is float32, and so would the outputs be
        return params, look_up(table, tokens)
    return Embedded(embedded, len(table)), tokens


def dropped(xs: Array, rate: float, per: str, key: Key | None) -> Array:
    """xs [B, T, ...] after `Dropout` over all steps at once; without a key, xs."""
    if key is None or not rate:
        return xs
    keys = jnp.broadcast_to(noise.reseed(noise.Noise.off(xs.shape[:1]), key).key[:, None], xs.shape[:2])  # [B, T]
    if per == "step":
        keys = noise.fold_counts(keys, jax.lax.broadcasted_iota(jnp.int32, xs.shape[:2], 1))
    return noise.drop(keys, rate, xs)
