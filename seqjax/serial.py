"""JSON forms of values, by a registry of names (no import paths, no eval)."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from seqjax.errors import InputError

T = TypeVar("T")

_TYPES: dict[str, type] = {}
_FUNCTIONS: dict[str, Callable] = {}
_WATCHERS: list[Callable] = []  # called with everything that is registered
_FORMS: list[tuple[Callable, Callable]] = []  # (write, read) of other libraries' values


def register(thing: T) -> T:
    """Register a dataclass type or a function under its name, for `to_json` and `from_json`; a state, for `jax.export`.

    Args:
        thing: a dataclass type whose fields are plain values, such as a Flax Linen module of your own; a function; or a
            NamedTuple type of arrays, such as a cell's state: programs that take or give it can then be serialised.

    Returns:
        `thing`, so that `register` can be a decorator.

    Raises:
        InputError: another type or function has that name.

    Example:
        >>> @register
        ... @dataclasses.dataclass(frozen=True)
        ... class Point:
        ...     x: int = 0
        >>> from_json(to_json(Point(x=3)))
        Point(x=3)
    """
    named: Any = thing
    if not callable(named):
        raise InputError(f"{named!r} is a value: register its type, a function, or a NamedTuple type")
    table: Any = _TYPES if isinstance(named, type) else _FUNCTIONS
    name = named.__name__
    other = table.get(name)
    if other is not None and (other.__module__, other.__qualname__) != (named.__module__, named.__qualname__):
        raise InputError(f"the name {name} is taken by {other.__module__}.{other.__qualname__}: rename one of the two")
    table[name] = named
    for watcher in _WATCHERS:
        watcher(thing)
    return thing


def watch(watcher: Callable):
    """Call a function with everything that is registered, now or later."""
    for thing in (*_TYPES.values(), *_FUNCTIONS.values()):
        watcher(thing)
    _WATCHERS.append(watcher)


def add_form(write: Callable, read: Callable):
    """Add the JSON forms of another library's values.

    Args:
        write: value -> its JSON form, or None for a value that it does not know.
        read: a JSON object -> (value,), or None for an object that it does not know.
    """
    _FORMS.append((write, read))


def registered(*bases: type) -> dict[str, type]:
    """The registered types that derive from one of some types, by name in alphabetical order.

    Args:
        *bases: types.

    Example:
        >>> @register
        ... class Base:
        ...     pass
        >>> @register
        ... class Derived(Base):
        ...     pass
        >>> list(registered(Base))
        ['Base', 'Derived']
    """
    return {name: _TYPES[name] for name in sorted(_TYPES) if issubclass(_TYPES[name], bases)}


def to_json(value):
    """The JSON form of a value, for `json.dumps`.

    Args:
        value: None, bool, number, string, tuple or list, a registered function or type, or an instance of a registered
            dataclass whose fields are such values. Flax Linen's own modules and activations need no registration.

    Returns:
        None, bool, number, string, list, or dict; a dataclass is `{"type": name, field: ...}`, a function
        `{"function": name}`, a type `{"class": name}`.

    Raises:
        InputError: a type or a function that is not registered; names it.

    Example:
        >>> to_json((1, "a", None))
        [1, 'a', None]
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    for write, _ in _FORMS:
        if (form := write(value)) is not None:
            return form
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = registered_name(type(value))
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        return {"type": name} | {field: to_json(getattr(value, field)) for field in fields}
    if isinstance(value, type):
        return {"class": registered_name(value)}
    if callable(value):
        return {"function": registered_name(value)}
    raise InputError(f"a {type(value).__name__} has no JSON form here: fields are numbers, strings, tuples, registered types")


def registered_name(thing) -> str:
    """The name of a registered type or function.

    Raises:
        InputError: it is not registered.
    """
    table, kind = (_TYPES, "type") if isinstance(thing, type) else (_FUNCTIONS, "function")
    name = getattr(thing, "__name__", repr(thing))
    if table.get(name) is not thing:
        raise InputError(f"{kind} {name} is not registered: call seqjax.register({name}) once")
    return name


def from_json(data):
    """The inverse of `to_json`; lists become tuples, so that values stay hashable.

    Args:
        data: a value returned by `to_json` or `json.loads`.

    Returns:
        The value.

    Raises:
        InputError: an unknown name, or an unknown or missing field.

    Example:
        >>> from_json([1, [2, "b"]])
        (1, (2, 'b'))
    """
    if isinstance(data, list | tuple):
        return tuple(item if isinstance(item, str) else from_json(item) for item in data)  # a vocabulary has many strings
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if not isinstance(data, dict):
        raise InputError(f"a {type(data).__name__} is no JSON value: give what to_json or json.loads returns")
    for _, read in _FORMS:
        if (result := read(data)) is not None:
            return result[0]
    if "function" in data:
        return _look_up(_FUNCTIONS, "function", data["function"])
    if "class" in data:
        return _look_up(_TYPES, "class", data["class"])
    if "type" not in data:
        raise InputError(f'a JSON object with keys {sorted(data)} names no "type"')
    cls = _look_up(_TYPES, "type", data["type"])
    fields = {name: from_json(value) for name, value in data.items() if name != "type"}
    try:
        return cls(**fields)
    except TypeError as error:
        raise InputError(f"{data['type']} from JSON: {error}") from error


def _look_up(table, kind, name):
    if not isinstance(name, str) or name not in table:
        close = difflib.get_close_matches(str(name), table, n=1)
        hint = f"did you mean {close[0]}? Or" if close else "for one of your own"
        raise InputError(f"{kind} {name} is not registered: {hint} call seqjax.register on it first")
    return table[name]
