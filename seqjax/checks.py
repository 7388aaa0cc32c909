"""Checks of arguments: each raises InputError with one line that names the argument and the values it may have.

JAX is not imported here, because data and measures are checked too: where it has not been imported, no array is one of its own.
"""

import functools
import operator
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqjax.errors import InputError

LARGEST = 2**31  # upper bound of symbol ids: an int32 holds them
ArrayKind = Literal["floating", "integer", "bool", "numeric"]


def is_traced(value) -> bool:
    """True for an array of JAX whose values are known only when the compiled program runs."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def is_array(value) -> bool:
    """True for an array of NumPy or JAX, and for a shape and dtype."""
    jax = sys.modules.get("jax")
    return isinstance(value, np.ndarray) or (jax is not None and isinstance(value, jax.Array | jax.ShapeDtypeStruct))


def as_integer(value) -> int | None:
    """The int of an integer: Python's, NumPy's, or an array of one that is not traced; None for anything else, a bool too."""
    if getattr(value, "ndim", 0) or isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        return None
    try:
        return operator.index(value)
    except TypeError:  # JAX's error for a traced value is one
        return None


def as_number(value) -> float | int | None:
    """The int or float of a number: Python's, NumPy's, or an array of one that is not traced; None for anything else."""
    if (integer := as_integer(value)) is not None:
        return integer
    if isinstance(value, bool | np.bool_ | str | bytes) or getattr(value, "ndim", 0) or is_traced(value):
        return None
    if (is_array(value) or isinstance(value, np.generic)) and kind_of_dtype(value.dtype) != "floating":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


@functools.cache
def kind_of_dtype(dtype) -> str:
    """ "floating", "integer" or "bool"; of another dtype its name."""
    name = str(getattr(dtype, "name", dtype))
    return _KINDS.get(re.split("[^a-z]", name)[0], name)


_KINDS = {"float": "floating", "bfloat": "floating", "int": "integer", "uint": "integer", "bool": "bool"}


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


def check_rules(owner, **rules: tuple[bool, str]):
    """Raise InputError unless every named field of `owner` keeps its rule: (True if it does, the rule after "it must be")."""
    for name, (holds, rule) in rules.items():
        if not holds:
            raise InputError(f"{name} is {shown(getattr(owner, name))}, it must be {rule}")


def check_heads(owner, heads: int, **sizes: int):
    """Raise InputError unless `heads` is a positive integer that divides every named size."""
    check_size(owner, heads=heads)
    for name, size in sizes.items():
        if size % heads:
            raise InputError(f"{type(owner).__name__} has heads={heads}, it must divide {name}={size}")


def refuse_together(owner, field: str, other: str, reason: str):
    """Raise InputError: two fields of `owner` have values that exclude each other."""
    values = " and ".join(f"{name}={shown(getattr(owner, name))}" for name in (field, other))
    raise InputError(f"{type(owner).__name__} has {values}, which exclude each other: {reason}")


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
        if number is None or not abs(number) < np.inf:
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
    if is_array(value):
        return f"an array {value.dtype}{list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_path(path) -> Path:
    """A path on this machine, in which ~ is the home folder.

    Raises:
        InputError: neither a text nor a Path.

    Example:
        >>> as_path("~/a.txt").name, as_path("~/a.txt").is_absolute()
        ('a.txt', True)
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"the path is {shown(path)}, it must be a text or a Path")
    return Path(os.path.expanduser(path))


def as_array(name: str, value) -> Any:
    """`value` as an array of JAX or NumPy, or a shape and dtype; lists and numbers become arrays.

    Raises:
        InputError: a value that is not an array of numbers, such as a list of lists of unequal lengths.
    """
    array = value
    if not is_array(value):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError):
            array = np.asarray(None)
    if isinstance(array, np.ndarray) and array.dtype.kind in "OUSM":
        raise InputError(f"{name} is {shown(value)}, it must be an array of numbers, all rows of one length")
    return array


def check_array(name: str, value, kind: ArrayKind, *shape: int | str) -> Any:
    """`value` as an array of JAX or NumPy of a kind of dtype and a shape.

    Args:
        name: of the argument.
        value: an array, a list or a number; an empty list is of any kind.
        kind: of the dtype; "numeric" is floating or integer.
        *shape: the size of each axis, a letter where it may be any; "..." as the first stands for any number of axes.

    Raises:
        InputError: another kind or shape.

    Example:
        >>> check_array("labels", [[0, 1]], "integer", "B", 3)
        Traceback (most recent call last):
        seqjax.errors.InputError: labels is int64[1, 2], it must be integer [B, 3]
    """
    array = as_array(name, value)
    axes, given = shape, tuple(array.shape)
    if shape[:1] == ("...",):
        axes = shape[1:]
        given = given[max(len(given) - len(axes), 0) :]
    fits = len(given) == len(axes) and all(isinstance(n, str) or n == m for n, m in zip(axes, given, strict=True))
    found = kind_of_dtype(array.dtype)
    right = found == kind or (kind == "numeric" and found in ("floating", "integer"))
    if not fits or not (right or (isinstance(value, list | tuple) and not array.size)):
        form = f"{array.dtype}{list(array.shape)}" if array.ndim else f"{shown(value)}, a number"
        words = "numbers" if kind == "numeric" else kind
        raise InputError(f"{name} is {form}, it must be {words} [{', '.join(map(str, shape))}]")
    if not right:
        array = array.astype({"floating": np.float32, "bool": np.bool_}.get(kind, np.int32))
    return array


def check_values(name: str, values, right: str, is_right: Callable[[np.ndarray], np.ndarray], counted=None):
    """Raise InputError unless every value of an array is right; traced values are not checked.

    Args:
        name: of the argument.
        values: an array.
        right: the values that are right, for the message.
        is_right: a function that returns True for each value that is right.
        counted: bool, of the shape of values: False where a value does not count; None: all do.

    Example:
        >>> check_values("ages", np.array([7, -1]), "at least 0", lambda ages: ages >= 0)
        Traceback (most recent call last):
        seqjax.errors.InputError: ages holds -1, it must be at least 0
    """
    known, real = concrete(values), True if counted is None else concrete(counted)
    if known is not None and real is not None and (wrong := ~is_right(known) & real).any():
        raise InputError(f"{name} holds {known[wrong].flat[0]}, it must be {right}")


def check_classes(name: str, values, size: int, counted=None):
    """Raise InputError unless every integer of an array is from 0 to size - 1, where `counted` as for `check_values`."""
    right = f"from 0 to {size - 1}: there are {size} classes"
    check_values(name, values, right, lambda known: (known >= 0) & (known < size), counted)


def check_fractions(name: str, values, counted=None):
    """Raise InputError unless every number of an array is from 0 to 1, where `counted` as for `check_values`."""
    check_values(name, values, "from 0 to 1", lambda known: (known >= 0) & (known <= 1), counted)


def concrete(array) -> np.ndarray | None:
    """The values of an array, to check them; None where they are not known here: traced, a shape, or on other machines."""
    if is_traced(array) or not hasattr(array, "__array__"):  # a shape and dtype
        return None
    return np.asarray(array) if getattr(array, "is_fully_addressable", True) else None


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


def check_length(max_length: int):
    """Raise InputError unless outputs can have so many symbols."""
    check_positive(max_length=max_length)
    if max_length >= 2**30:
        raise InputError(f"max_length is {max_length}, it must be below {2**30}: every symbol has a place in memory")


def check_weights(**values) -> None:
    """Raise InputError unless every value is a finite number of at least 0."""
    for name, value in values.items():
        number = as_number(value)
        if number is None or not 0 <= number < np.inf:
            raise InputError(f"{name} is {shown(value)}, it must be at least 0 and finite")


def check_fraction(**values) -> None:
    """Raise InputError unless every value is a number from 0 to 1."""
    for name, value in values.items():
        number = as_number(value)
        if number is None or not 0 <= number <= 1:
            raise InputError(f"{name} is {shown(value)}, it must be from 0 to 1")


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


def check_names(name: str, values) -> list[str]:
    """A list of texts, such as symbols or the names of classes; one text is a list of its characters.

    Raises:
        InputError: what is no list of texts.
    """
    if isinstance(values, str) or (isinstance(values, Sequence) and all(isinstance(value, str) for value in values)):
        return [*values]
    if isinstance(values, np.ndarray) and values.dtype.kind == "U" and values.ndim == 1:
        return values.tolist()
    raise InputError(f"{name} is {shown(values)}, it must be a list of texts")


def check_key(name: str, key, *, several: str | None = None) -> None:
    """Raise InputError unless `key` is a typed key, or an array of them; not an array if `several` is given, the advice then."""
    if not getattr(getattr(key, "dtype", None), "name", "").startswith("key<"):
        raise InputError(f"{name} is {shown(key)}, it must be a typed key: give jax.random.key(seed)")
    if several is not None and key.ndim:
        raise InputError(f"{name} has shape {key.shape}, it must be one key: {several}")


def kind_of(value) -> str:
    """The kind of a value that stands where a cell should: "a dict", or the class of cells that was not called."""
    return f"the class {value.__name__}: give {value.__name__}(...)" if isinstance(value, type) else f"a {type(value).__name__}"
