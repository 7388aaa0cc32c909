"""JSON forms of Flax Linen's modules and activations. Flax is looked at only where it has been imported, or is named."""

import dataclasses
import importlib
import inspect
import sys
from typing import Any

import jax.numpy as jnp

from seqjax import serial
from seqjax.activations import OF_JAX
from seqjax.errors import InputError

_FUNCTIONS = (*OF_JAX, "glu", "log_softmax", "softmax", "standardize")
_PREFIX = "linen."  # of a name, such as "linen.Dense"


def is_module(value) -> bool:
    """Tell whether a value is a Linen module; nothing is imported.

    Example:
        >>> is_module(3)
        False
    """
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(value, linen.Module)


def _public(name: str) -> Any:
    """A module type or activation of Linen by its name; None if Linen has none."""
    linen: Any = importlib.import_module("flax.linen")
    thing = getattr(linen, name, None)
    is_type = inspect.isclass(thing) and issubclass(thing, linen.Module) and thing is not linen.Module
    return thing if is_type or name in _FUNCTIONS else None


def _name(thing) -> str:
    """The name of one of Linen's own types or functions, or of a registered one."""
    name = getattr(thing, "__name__", "")
    return _PREFIX + name if _public(name) is thing else serial.registered_name(thing)


def _write(value) -> dict | None:
    """The JSON form of a module, its type, an activation, or a scalar type such as jnp.bfloat16; None for other values."""
    if is_module(value):
        return {"type": _name(type(value))} | _fields(value)
    if inspect.isclass(value) and "flax.linen" in sys.modules and _public(value.__name__) is value:
        return {"class": _PREFIX + value.__name__}
    if isinstance(value, type(jnp.float32)):
        return {"dtype": jnp.dtype(value).name}
    if "flax.linen" in sys.modules and (name := getattr(value, "__name__", "")) in _FUNCTIONS and _public(name) is value:
        return {"function": _PREFIX + name}
    return None


def _fields(module) -> dict:
    """The fields of a module, without its parent, a name that it has not been given, and defaults that have no JSON form."""
    fields = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if not field.init or field.name == "parent" or (field.name == "name" and value is None):
            continue
        try:
            fields[field.name] = serial.to_json(value)
        except InputError:  # an initializer, for example
            if value is not field.default:
                raise
    return fields


def _read(data: dict) -> tuple | None:
    """The inverse of `_write`, for Linen's own types and functions."""
    if list(data) == ["dtype"]:
        dtype = getattr(jnp, str(data["dtype"]), None)
        if not isinstance(dtype, type(jnp.float32)):
            raise InputError(f"dtype {data['dtype']} is not known: jax.numpy has no such scalar type")
        return (dtype,)
    for kind in ("type", "class", "function"):
        name = data.get(kind)
        if isinstance(name, str) and name.startswith(_PREFIX):
            thing = _public(name.removeprefix(_PREFIX))
            if thing is None:
                raise InputError(f"{kind} {name} is not known: Flax Linen has no such module or activation")
            fields = {key: serial.from_json(item) for key, item in data.items() if key != kind}
            try:
                return (thing(**fields) if kind == "type" else thing,)
            except TypeError as error:
                raise InputError(f"{name} from JSON: {error}") from error
    return None


serial.add_form(_write, _read)
