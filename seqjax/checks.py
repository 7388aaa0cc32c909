"""Checks of arguments: each raises InputError with one line that names the argument and the values it may have."""

import numbers
import operator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax.errors import InputError

LARGEST = 2**31  # upper bound of symbol ids: an int32 holds them


def as_integer(value) -> int | None:
    """The int of an integer: Python's, NumPy's, or an array of one that is not traced; None for anything else, a bool too."""
    is_array = getattr(value, "ndim", 0) or isinstance(value, jax.core.Tracer)
    if is_array or isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_number(value) -> float | int | None:
    """The int or float of a number: Python's, NumPy's, or an array of one that is not traced; None for anything else."""
    if (integer := as_integer(value)) is not None:
        return integer
    if isinstance(value, np.ndarray | jax.Array):
        is_number = not value.ndim and jnp.issubdtype(value.dtype, jnp.floating) and not isinstance(value, jax.core.Tracer)
    else:
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    return float(value) if is_number else None


def _store(owner, name: str, value):
    """Sets a field of a frozen dataclass, so that equal numbers of any library make equal values."""
    if name in getattr(owner, "__dataclass_fields__", ()):
        object.__setattr__(owner, name, value)


def check_size(owner, **sizes: int):
    """Raise InputError unless every named size is a positive integer; a field of `owner` then holds it as an int."""
    for name, size in sizes.items():
        integer = as_integer(size)
        if integer is None or integer < 1:
            raise InputError(f"{type(owner).__name__} has {name}={shown(size)}, it must be a positive integer")
        _store(owner, name, integer)


def check_sizes(owner, **sizes):
    """Raise InputError unless every named value is a tuple or list of positive integers; the field then holds a tuple of ints."""
    for name, values in sizes.items():
        if not isinstance(values, tuple | list):
            raise InputError(f"{type(owner).__name__} has {name}={shown(values)}, it must be a tuple of positive integers")
        for i, size in enumerate(values):
            check_size(owner, **{f"{name}[{i}]": size})
        _store(owner, name, tuple(map(operator.index, values)))


def check_heads(owner, hidden_size: int, heads: int):
    """Raise InputError unless `heads` is a positive integer that divides hidden_size."""
    check_size(owner, heads=heads)
    if hidden_size % heads:
        raise InputError(f"{type(owner).__name__} has heads={heads}, it must divide hidden_size={hidden_size}")


def check_choice(owner, choices: tuple, **values):
    """Raise InputError unless every named value is one of `choices`."""
    for name, value in values.items():
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise InputError(
                f"{type(owner).__name__} has {name}={shown(value)}, it must be one of {', '.join(map(repr, choices))}"
            )


def check_flag(owner, **flags: bool):
    """Raise InputError unless every named value is True or False; a field of `owner` then holds it as a bool."""
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise InputError(f"{type(owner).__name__} has {name}={shown(flag)}, it must be True or False")
        _store(owner, name, bool(flag))


def check_number(owner, **values: float):
    """Raise InputError unless every named value is a finite number; a field of `owner` then holds it as an int or float."""
    for name, value in values.items():
        number = as_number(value)
        if number is None or not np.isfinite(number):
            raise InputError(f"{type(owner).__name__} has {name}={shown(value)}, it must be a finite number")
        _store(owner, name, number)


def check_rate(owner, **rates: float):
    """Raise InputError unless every named rate is a number of at least 0 and below 1."""
    for name, rate in rates.items():
        number = as_number(rate)
        if number is None or not 0 <= number < 1:
            raise InputError(f"{type(owner).__name__} has {name}={shown(rate)}, it must be a number of at least 0 and below 1")
        _store(owner, name, number)


def shown(value) -> str:
    """A value as it stands in a message: one line of at most 60 characters; an array by its dtype and shape."""
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array {value.dtype}{list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_array(name: str, value) -> Any:
    """`value` as an array of JAX or NumPy, or a shape and dtype; lists and numbers become arrays.

    Raises:
        InputError: a value that is not an array of numbers, such as a list of lists of unequal lengths.
    """
    if isinstance(value, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return value
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if array.dtype.kind in "OUSM":
        raise InputError(f"{name} is {shown(value)}, it must be an array of numbers, all rows of one length")
    return array


def concrete(array) -> np.ndarray | None:
    """The values of an array, to check them; None where they are not known here: traced, a shape, or on other machines."""
    if isinstance(array, jax.core.Tracer | jax.ShapeDtypeStruct):
        return None
    return np.asarray(array) if not isinstance(array, jax.Array) or array.is_fully_addressable else None


def check_integers(**values) -> None:
    """Raise InputError unless every value is an integer."""
    for name, value in values.items():
        if as_integer(value) is None:
            raise InputError(f"{name} is {shown(value)}, it must be an integer")


def check_positive(**values) -> None:
    """Raise InputError unless every value is an integer of at least 1."""
    check_integers(**values)
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} is {value}, it must be at least 1")


def check_weights(**values) -> None:
    """Raise InputError unless every value is a finite number of at least 0."""
    for name, value in values.items():
        number = as_number(value)
        if number is None or not 0 <= number < np.inf:
            raise InputError(f"{name} is {shown(value)}, it must be at least 0 and finite")


def check_end(end):
    """Raise InputError unless `end` is None or a possible symbol id (the vocabulary's size is known only after a step)."""
    if end is not None:
        check_integers(end=end)
        if not 0 <= end < LARGEST:
            raise InputError(f"end is {end}, it must be a symbol of the vocabulary (None: nothing ends a row)")


def check_symbols(size: int, **arguments):
    """Raise InputError unless every named symbol is in the vocabulary of `size` symbols."""
    for name, symbols in arguments.items():
        symbols = np.ravel(as_array(name, symbols))
        if symbols.size and symbols.dtype.kind not in "iu":
            raise InputError(f"{name} is {shown(symbols)}, it must be symbol ids, integers from 0 to {size - 1}")
        outside = symbols[(symbols < 0) | (symbols >= size)]
        if outside.size:
            raise InputError(f"{name} names symbol {outside[0]}, the vocabulary has 0 to {size - 1}")


def check_key(name: str, key) -> None:
    """Raise InputError unless `key` is a typed key, or an array of them."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise InputError(f"{name} is {shown(key)}, it must be a typed key: give jax.random.key(seed)")


def kind_of(value) -> str:
    """The kind of a value that stands where a cell should: "a dict", or the class of cells that was not called."""
    return f"the class {value.__name__}: give {value.__name__}(...)" if isinstance(value, type) else f"a {type(value).__name__}"
