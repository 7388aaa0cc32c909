"""What the options of every search are checked by, and the arrays they become."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from seqjax.errors import InputError
from seqjax.types import Array


def size_told(symbols: int) -> Array:
    """An empty array, [symbols, 0]: its shape tells outside of jit what only a step knows, and costs nothing."""
    return jnp.zeros((symbols, 0), bool)


def number(value, dtype) -> Any:
    """An array of NumPy: to make one on the device costs as much as several steps."""
    return np.asarray(value, dtype)


def check_attends(model, wanted: str) -> None:
    """Raises unless a decoder gives attention weights."""
    if not model.attends:
        raise InputError(
            f"{wanted} needs attention weights, and this {type(model).__name__} has none: give a model with attention"
        )
