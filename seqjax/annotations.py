"""Plain arguments checked against their annotations: numbers, flags, words, texts, and tuples of them."""

import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from seqjax.checks import as_integer, as_number, is_traced, shown
from seqjax.errors import InputError, without_frames

F = TypeVar("F", bound=Callable)
Check = Callable[[str, Any], Any]  # (the argument's name, its value) -> the value as Python's own, or InputError


def refusal(name: str, value, right: str) -> InputError:
    """The error for a value that is not as its annotation says."""
    return InputError(f"{name} is {shown(value)}, it must be {right}")


def check_of(annotation) -> Check | None:
    """The check of an annotation; None for one that is not checked here, such as an array or a class of the library."""
    return _CHECKS.get(annotation) or _check_of_origin(annotation)


def _integer(name: str, value) -> int:
    return _of_one(as_integer, "an integer", name, value)


def _number(name: str, value) -> float:
    number = _of_one(as_number, "a number", name, value)
    if not is_traced(number) and number != number:  # NaN
        raise refusal(name, value, "a number")
    return number


def _of_one(convert: Callable, right: str, name: str, value):
    """The converted number; a traced one as it is, since some functions take it."""
    if getattr(value, "ndim", 0) or isinstance(value, list | tuple):
        raise refusal(name, value, right.replace("a number", "one number"))
    if is_traced(value):
        return value
    if (number := convert(value)) is None:
        raise refusal(name, value, right)
    return number


def _flag(name: str, value) -> bool:
    if is_traced(value) and not value.ndim:
        return value
    if not isinstance(value, bool | np.bool_):
        raise refusal(name, value, "True or False")
    return bool(value)


def _word(name: str, value) -> str:
    if not isinstance(value, str):
        raise refusal(name, value, "a string")
    return value


def _mapping(name: str, value):
    if not isinstance(value, Mapping):
        raise refusal(name, value, "a dict")
    return value


def _function(name: str, value):
    if not callable(value):
        raise refusal(name, value, "a function")
    return value


_CHECKS: dict[Any, Check] = {int: _integer, float: _number, bool: _flag, str: _word, Callable: _function}
_WORDS = {int: "integers", float: "numbers", str: "texts"}


@functools.cache
def _check_of_origin(annotation) -> Check | None:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        others = [part for part in parts if part is not type(None)]
        check = check_of(others[0]) if len(others) == 1 and len(parts) == 2 else None
        return None if check is None else lambda name, value: None if value is None else check(name, value)
    if origin is Literal:
        return functools.partial(_choice, parts)
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis and parts[0] in _WORDS:
        return functools.partial(_several, parts[0], "a tuple of ", (tuple, list, np.ndarray))
    if origin is Sequence and parts == (str,):
        return functools.partial(_several, str, "a list of ", (Iterable,))
    if origin is Mapping:
        return _mapping
    return _function if origin is Callable else None


def _choice(choices: tuple, name: str, value):
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise refusal(name, value, f"one of {', '.join(map(repr, choices))}")
    return value


def _several(kind: type, right: str, containers: tuple, name: str, values) -> tuple | list:
    """A tuple of numbers or words; of texts a list."""
    if isinstance(values, str | Mapping) or not isinstance(values, containers):
        raise refusal(name, values, right + _WORDS[kind])
    values = [_CHECKS[kind](f"{name}[{i}]", value) for i, value in enumerate(values)]
    return values if Iterable in containers else tuple(values)


@functools.cache
def checks_of(function) -> dict[str, Check]:
    """The checks of a function's arguments, by name."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.annotation is not p.empty]
    found = {p.name: check_of(p.annotation) for p in plain if _is_hashable(p.annotation)}
    return {name: check for name, check in found.items() if check is not None}


def _is_hashable(value) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def public(function: F) -> F:
    """Decorate a public function: it refuses arguments that do not fit their annotations, and hides the frames below it.

    An InputError raised inside leaves the function with one frame, the caller's, and without the notes that JAX adds. A call
    that lacks an argument, or has an unknown one, is an InputError too.

    Example:
        >>> @public
        ... def twice(text: str, times: int = 2) -> str:
        ...     return text * times
        >>> twice("ab"), twice("ab", np.int64(1))
        ('abab', 'ab')
        >>> twice("ab", 1.5)
        Traceback (most recent call last):
        seqjax.errors.InputError: times is 1.5, it must be an integer
    """
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    call = function
    if inspect.isgeneratorfunction(function):
        call = functools.partial(_without_inner_frames, function)

    @functools.wraps(function)
    def called(*args, **kwargs):
        try:
            checks = checks_of(function)
            args = [checks[n](n, a) if n in checks else a for n, a in zip(names, args, strict=False)] + [*args[len(names) :]]
            kwargs = {n: checks[n](n, a) if n in checks else a for n, a in kwargs.items()}
            return call(*args, **kwargs)
        except InputError as error:
            raise without_frames(error) from None
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            check_call(function.__name__, inspect.signature(function), args, kwargs)
            raise

    return called  # type: ignore[return-value]


def _without_inner_frames(function, *args, **kwargs):
    """The values of a generator function; an error on the way has no frames of its own."""
    try:
        return (yield from function(*args, **kwargs))
    except InputError as error:
        raise without_frames(error) from None


def check_call(name: str, signature: inspect.Signature, args, kwargs):
    """Raise InputError unless a call has the arguments of a signature."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(parameter for parameter in signature.parameters if parameter != "self") or "no arguments"
        raise InputError(f"{name}: {error}; it takes {textwrap.shorten(takes, 110, placeholder=' ...')}") from None
