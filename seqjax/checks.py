"""Checks of arguments: each raises InputError with one line that names the argument and the values it may have."""

import numpy as np

from seqjax.errors import InputError

LARGEST = 2**31  # upper bound of symbol ids: an int32 holds them


def check_size(owner, **sizes: int):
    """Raise InputError unless every named size is a positive integer."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"{type(owner).__name__} has {name}={size!r}, it must be a positive integer")


def check_heads(owner, hidden_size: int, heads: int):
    """Raise InputError unless `heads` is a positive integer that divides hidden_size."""
    check_size(owner, heads=heads)
    if hidden_size % heads:
        raise InputError(f"{type(owner).__name__} has heads={heads}, it must divide hidden_size={hidden_size}")


def check_choice(owner, choices: tuple, **values):
    """Raise InputError unless every named value is one of `choices`."""
    for name, value in values.items():
        if value not in choices:
            raise InputError(f"{type(owner).__name__} has {name}={value!r}, it must be one of {', '.join(map(repr, choices))}")


def check_rate(owner, **rates: float):
    """Raise InputError unless every named rate is a number of at least 0 and below 1."""
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise InputError(f"{type(owner).__name__} has {name}={rate!r}, it must be a number of at least 0 and below 1")


def check_integers(**values) -> None:
    """Raise InputError unless every value is an integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name} is {value!r}, it must be an integer")


def check_positive(**values) -> None:
    """Raise InputError unless every value is an integer of at least 1."""
    check_integers(**values)
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} is {value}, it must be at least 1")


def check_weights(**values) -> None:
    """Raise InputError unless every value is a finite number of at least 0."""
    for name, value in values.items():
        if not 0 <= value < np.inf:
            raise InputError(f"{name} is {value}, it must be at least 0 and finite")


def check_end(end):
    """Raise InputError unless `end` is None or a possible symbol id (the vocabulary's size is known only after a step)."""
    if end is not None:
        check_integers(end=end)
        if not 0 <= end < LARGEST:
            raise InputError(f"end is {end}, it must be a symbol of the vocabulary (None: nothing ends a row)")


def check_symbols(size: int, **arguments):
    """Raise InputError unless every named symbol is in the vocabulary of `size` symbols."""
    for name, symbols in arguments.items():
        symbols = np.ravel(symbols)
        outside = symbols[(symbols < 0) | (symbols >= size)]
        if outside.size:
            raise InputError(f"{name} names symbol {outside[0]}, the vocabulary has 0 to {size - 1}")
