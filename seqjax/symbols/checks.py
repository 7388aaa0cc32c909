"""Checks of symbol sequences (prompts, sources), and of the parts of a model that read and emit symbols."""

import jax.numpy as jnp
import numpy as np

from seqjax import masks
from seqjax.checks import as_array, concrete
from seqjax.errors import InputError
from seqjax.types import Array, Params


def check_sequences(batch: dict, name: str, size: int, *, called: str) -> tuple[Array, Array]:
    """The symbols batch[name] and batch[name + "_lengths"].

    Args:
        batch: a dict with name, integer [B, T], and name_lengths, integer [B].
        name: such as "tokens" or "source".
        size: V, symbols of the vocabulary.
        called: their name in an error, a plural.

    Returns:
        (symbols [B, T], lengths [B]).

    Raises:
        InputError: a missing key, a wrong shape or dtype, or a symbol outside the vocabulary (traced symbols are not checked).
    """
    for key in (name, f"{name}_lengths"):
        if key not in batch:
            raise InputError(f'{called} have no "{key}": give a dict with "{name}" [B, T] and "{name}_lengths" [B]')
    symbols = jnp.asarray(as_array(name, batch[name]))
    if symbols.ndim != 2 or not jnp.issubdtype(symbols.dtype, jnp.integer):
        raise InputError(f"{called} have shape {symbols.shape} and dtype {symbols.dtype}, they must be integers [B, T]")
    lengths, _ = masks.check(batch[f"{name}_lengths"], None, symbols.shape)
    present, counts = concrete(symbols), concrete(lengths)
    if present is not None and counts is not None:
        present = present[np.arange(present.shape[1]) < counts[:, None]]
        outside = present[(present < 0) | (present >= size)]
        if outside.size:
            raise InputError(f"{called} hold symbol {outside[0]}, the vocabulary has 0 to {size - 1}")
    return symbols, jnp.asarray(lengths)


def check_reads(cell, size: int, name: str, *, called: str):
    """Raise InputError unless a cell or layer reads `size` features; `name` is that size's field."""
    if cell.input_shape not in (None, (size,)):
        raise InputError(f"the {called} reads {cell.input_shape}, {name} is {size}: they must be equal")


def check_tied(embedding_size: int | None, output_size: int, *, of: str):
    """Raise InputError unless an embedding transposed can project outputs to symbols."""
    if embedding_size != output_size:
        sizes = f"{embedding_size} and {output_size}"
        raise InputError(f"a tied projection needs embedding_size equal to the {of}'s output size: they are {sizes}")


def check_shared_embedding(encoder: Params, target_size: int, embedding_size: int):
    """Raise InputError unless the embedding of an encoder, parameters or their shapes, can be the target's."""
    if "embedding" not in encoder:
        raise InputError('tied="all" needs an encoder that reads symbols through an embedding, such as Symbols')
    size, features = encoder["embedding"].shape
    if size != target_size:
        sizes = f"{size} and {target_size}"
        raise InputError(f'tied="all" needs one vocabulary for source and target, they have {sizes} symbols')
    if features != embedding_size:
        sizes = f"{features} and {embedding_size}"
        raise InputError(f'tied="all" needs one embedding_size for source and target, they are {sizes}')
