"""Limits of settings, written in the types of a config's fields, and the check of a whole config by these types.

A setting that is out of its limits is refused by the config itself, under the name that the user gave it.
"""

import dataclasses
import functools
import numbers
import os
import sys
import typing
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from seqjax.checks import shown
from seqjax.errors import InputError


class Limits(NamedTuple):
    """The limits of a number.

    Args:
        low, high: the least and the greatest value.
        above: True if the least value itself is excluded.
        below: True if the greatest value itself is excluded.
    """

    low: float
    high: float = sys.float_info.max
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """True for a number within the limits."""
        inside = isinstance(value, numbers.Real) and (self.low < value if self.above else self.low <= value)
        return inside and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        """The rule in words.

        Example:
            >>> print(Limits(0, 1), Limits(0, 1, below=True), Limits(0, above=True), Limits(1, 9), sep=", ")
            from 0 to 1, at least 0 and below 1, above 0 and finite, from 1 to 9
        """
        if not (self.above or self.below or self.high == sys.float_info.max):
            return f"from {self.low} to {self.high}"
        high = "finite" if self.high == sys.float_info.max else f"{'below' if self.below else 'at most'} {self.high}"
        return f"{'above' if self.above else 'at least'} {self.low} and {high}"


class Needs(NamedTuple):
    """The mark of a setting that has an effect only where another setting of its group has one of some values."""

    setting: str
    values: tuple[str, ...]


class _IsPath:
    """The mark of a path, which may begin with ~ and is not empty."""


Count = Annotated[int, Limits(1, 2**31 - 1)]
Natural = Annotated[int, Limits(0, 2**31 - 1)]
Size = Annotated[int, Limits(1, 2**20)]  # of an axis of arrays: features, rows, steps
Layers = Annotated[int, Limits(1, 1000)]
Seed = Annotated[int, Limits(0, 2**63 - 1)]
Rate = Annotated[float, Limits(0, 1, below=True)]
Share = Annotated[float, Limits(0, 1)]
Portion = Annotated[float, Limits(0, 1, above=True)]
Weight = Annotated[float, Limits(0)]
Positive = Annotated[float, Limits(0, above=True)]
FilePath = Annotated[str, _IsPath()]  # of a file or folder


def checked(config: Any, prefix: str = "") -> Any:
    """The config, or an equal one in which no path begins with ~.

    Args:
        config: a nested dataclass, whose fields may have the types above.
        prefix: before the names of its fields in messages.

    Raises:
        InputError: a number is out of its limits, or a path is empty; the message has the dotted name of the field.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Data:
        ...     batch_size: Count = 32
        >>> checked(Data(batch_size=0), "data.")
        Traceback (most recent call last):
        seqjax.errors.InputError: data.batch_size is 0, it must be from 1 to 2147483647
    """
    changed = {}
    for name, mark in _marks(type(config)).items():
        value = getattr(config, name)
        path = prefix + name
        new = checked(value, f"{path}.") if dataclasses.is_dataclass(value) else _checked_value(path, value, mark)
        if new is not value:
            changed[name] = new
    return dataclasses.replace(config, **changed) if changed else config


def idle(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The dotted name of each setting that has no effect in a config, with the reason.

    Args:
        config: a nested dataclass, whose fields may be marked by `Needs`.
        prefix: before the names of its fields.
    """
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        if dataclasses.is_dataclass(value := getattr(config, name)):
            yield from idle(value, f"{prefix}{name}.")
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Needs) and (other := getattr(config, mark.setting)) not in mark.values:
                yield prefix + name, f"it needs {prefix}{mark.setting} {' or '.join(mark.values)}, which is {other}"


def _checked_value(name: str, value: Any, mark: Any) -> Any:
    """A value, or a path without ~; `mark` is a Limits, an _IsPath, or None where everything is right."""
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(mark, Limits):
        if not all(each is None or mark.holds(each) for each in values):
            one = not isinstance(value, tuple)
            raise InputError(f"{name} is {' '.join(map(str, values))}, {'it' if one else 'each'} must be {mark}")
    elif isinstance(mark, _IsPath):
        if not all(each is None or isinstance(each, str) for each in values):
            raise InputError(f"{name} is {shown(value)}, it must be the path of a file or folder, a text")
        if "" in values:
            raise InputError(f"{name} is empty: give the path of a file or folder")
        plain = tuple(each if each is None else os.path.expanduser(each) for each in values)
        if plain != values:
            return plain if isinstance(value, tuple) else plain[0]
    return value


@functools.cache
def _marks(config_type: type) -> dict[str, Any]:
    """The limits (or the mark of a path) of each field that is set by a caller; None for a field without."""
    hints = typing.get_type_hints(config_type, include_extras=True)
    return {field.name: _mark(hints[field.name]) for field in dataclasses.fields(config_type) if field.init}


def _mark(hint: Any) -> Any:
    """The mark in a type: its own, that of a union's parts, or that of a tuple's items."""
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, Limits | _IsPath):
            return part
    return next((mark for part in typing.get_args(hint) if (mark := _mark(part)) is not None), None)
