"""Readout: from a cell's output to the logits of every symbol."""

import jax.numpy as jnp
import numpy as np

from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.products import affine
from seqjax.types import Array, Key, Params


def init_readout(key: Key, features: int, size: int, *, tied: bool) -> Params:
    """`kernel` [features, V], unless it is an embedding transposed, and `bias` [V]."""
    params = {"bias": jnp.zeros(size)}
    return params if tied else params | {"kernel": glorot(key, (features, size))}


def read_out_symbols(params: Params, hs: Array, table: Array | None) -> Array:
    """Logits of every symbol.

        W h + b;  tied: W is the table transposed

    Args:
        params: from `init_readout`.
        hs: [..., H].
        table: the embedding, [V, H], if tied; None: params have a kernel.

    Returns:
        [..., V], float32 or wider.
    """
    return affine(hs, params["kernel"] if table is None else table.T, params["bias"])


def silence(logits: Array, silent: tuple[int, ...]) -> Array:
    """Logits [..., V] with -inf at the symbols that are never emitted."""
    never = np.isin(np.arange(logits.shape[-1]), silent)
    return jnp.where(jnp.broadcast_to(never, logits.shape), jnp.asarray(-jnp.inf, logits.dtype), logits)


def check_emitted(size: int, silent: tuple[int, ...], *others: int, vocabulary: str = "vocabulary"):
    """Raise InputError unless all symbols are in the vocabulary and at least one may be emitted."""
    if len(set(silent)) >= size:
        raise InputError(f"all {size} symbols of the {vocabulary} are forbidden: nothing could be emitted")
    for symbol in (*silent, *others):
        if not 0 <= symbol < size:
            raise InputError(f"symbol {symbol} is not in the {vocabulary} of {size} symbols")
