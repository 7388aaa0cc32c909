"""The result of a search, and helpers that all searches share."""

from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np

from seqjax.contracts import AttendingDecoder, Decoder
from seqjax.errors import InputError
from seqjax.types import Array


class Decoded(NamedTuple):
    """Symbols chosen by a search: one output for each row of the batch, or from `beam` N hypotheses, best first.

    Args:
        tokens: int32, [B, L], from `beam` [B, N, L]: the symbols emitted, `end` included; 0 from `lengths` on.
            The prompt is not repeated.
        lengths: int32, [B] or [B, N]: symbols emitted, `end` included; 0 for a missing hypothesis.
        scores: floating, [B] or [B, N]: log-probability of those symbols under the decoder's own distribution, in nats
            (temperature, filters and constraints change the choice, not the score); from `beam` with its penalties, the value
            that the search maximised. -inf for a missing hypothesis.
    """

    tokens: Array
    lengths: Array
    scores: Array


def attending(model: Decoder, option: str) -> AttendingDecoder:
    """The model, as a decoder that attends.

    Args:
        model: a decoder.
        option: the option that needs attention, named in the error.

    Raises:
        InputError: the model has no attention.
    """
    if not model.attends:
        kind = type(model).__name__
        raise InputError(f"{option} needs attention weights, and this {kind} has none: give a model with attention")
    return cast(AttendingDecoder, model)


def host_array(value: Any, dtype: Any) -> Any:
    """A NumPy array for a compiled function: making the array on the device would cost as much as several steps."""
    return np.asarray(value, dtype)


def size_marker(symbols: int) -> Array:
    """An empty array, [V, 0]: its shape carries the vocabulary's size out of jit, and costs nothing."""
    return jnp.zeros((symbols, 0), bool)
