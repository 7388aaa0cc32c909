"""What the options of every search are checked by, and the arrays they become."""

from typing import Any

import numpy as np

from seqjax.errors import InputError


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
