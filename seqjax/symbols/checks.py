"""Checks of symbol sequences that are given to a model: prompts and sources."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax import masks
from seqjax.errors import InputError
from seqjax.types import Array


def check_sequences(batch: dict, name: str, size: int, *, called: str) -> tuple[Array, Array]:
    """The symbols batch[name] and batch[name + "_lengths"].

    Args:
        batch: a dict with name, integer [B, T], and name_lengths, integer [B].
        name: "tokens", "source".
        size: V, symbols of the vocabulary.
        called: a plural that an error calls them by.

    Returns:
        (symbols [B, T], lengths [B]).

    Raises:
        InputError: a key that is missing, a wrong shape or dtype, or a symbol outside the vocabulary (where it is not traced).
    """
    for key in (name, f"{name}_lengths"):
        if key not in batch:
            raise InputError(f'{called} have no "{key}": give a dict with "{name}" [B, T] and "{name}_lengths" [B]')
    symbols, lengths = jnp.asarray(batch[name]), jnp.asarray(batch[f"{name}_lengths"])
    if symbols.ndim != 2 or not jnp.issubdtype(symbols.dtype, jnp.integer):
        raise InputError(f"{called} have shape {symbols.shape} and dtype {symbols.dtype}, they must be integers [B, T]")
    real = masks.resolve(lengths, None, symbols.shape)
    if not isinstance(symbols, jax.core.Tracer) and not isinstance(lengths, jax.core.Tracer):
        present = np.asarray(symbols)[np.asarray(real)]
        outside = present[(present < 0) | (present >= size)]
        if outside.size:
            raise InputError(f"{called} hold symbol {outside[0]}, the vocabulary has 0 to {size - 1}")
    return symbols, lengths
