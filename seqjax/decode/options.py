"""What the options of every search are checked by, and the arrays they become."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from seqjax.errors import InputError
from seqjax.types import Array

LARGEST = 2**31  # what a symbol is below, in any vocabulary: an int32 holds it


def check_integers(**values) -> None:
    """Raises unless every value is an integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name} is {value!r}, it must be an integer")


def check_positive(**values) -> None:
    """Raises unless every value is an integer, at least 1."""
    check_integers(**values)
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} is {value}, it must be at least 1")


def check_weights(**values) -> None:
    """Raises unless every value is a finite number, at least 0."""
    for name, value in values.items():
        if not 0 <= value < np.inf:
            raise InputError(f"{name} is {value}, it must be at least 0 and finite")


def check_end(end):
    """Raises unless `end` is None, or may be a symbol: whether the vocabulary has it is known after a step."""
    if end is not None:
        check_integers(end=end)
        if not 0 <= end < LARGEST:
            raise InputError(f"end is {end}, it must be a symbol of the vocabulary (None: nothing ends a row)")


def check_symbols(size: Array, **given):
    """Raises where a symbol, of those given by name, is none of the vocabulary that `size_told` tells of."""
    for name, symbols in given.items():
        symbols = np.ravel(symbols)
        outside = symbols[(symbols < 0) | (symbols >= size.shape[0])]
        if outside.size:
            raise InputError(f"{name} names symbol {outside[0]}, the vocabulary has 0 to {size.shape[0] - 1}")


def size_told(symbols: int) -> Array:
    """An empty array, [symbols, 0]: its shape tells outside of jit what only a step knows, and costs nothing."""
    return jnp.zeros((symbols, 0), bool)


def number(value, dtype) -> Any:
    """An array of NumPy: to make one on the device costs as much as several steps."""
    return np.asarray(value, dtype)


def attends(model) -> bool:
    """Whether a decoder gives attention weights."""
    return hasattr(model, "weights") and getattr(model, "attends", True)


def check_attends(model, wanted: str) -> None:
    """Raises unless a decoder gives attention weights."""
    if not attends(model):
        raise InputError(
            f"{wanted} needs attention weights, and this {type(model).__name__} has none: give a model with attention"
        )
