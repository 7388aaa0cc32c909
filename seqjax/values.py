"""Values: frozen dataclasses that refuse a wrong construction, and a wrong key for their parameters, in one line."""

import dataclasses
import functools
import inspect
from typing import Self

from seqjax.annotations import check_call, check_of
from seqjax.checks import check_key
from seqjax.errors import InputError, without_frames


class Value:
    """The base of cells, layers, models and settings: construction and `init` raise InputError for arguments that do not fit.

    Fields that are annotated as numbers, flags, words or tuples of them hold Python's own, whatever library they come from.
    """

    def __new__(cls, *args, **kwargs) -> Self:
        check_call(cls.__name__, _signature(cls), args, kwargs)
        return super().__new__(cls)

    def __reduce__(self):  # copies are made without arguments
        return object.__new__, (type(self),), vars(self)

    def __post_init__(self):
        _check_fields(self)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "init" in vars(cls):
            cls.init = _with_checked_key(vars(cls)["init"])
        if "__post_init__" in vars(cls):
            cls.__post_init__ = _with_checked_fields(vars(cls)["__post_init__"])


@functools.cache
def _signature(cls) -> inspect.Signature:
    """The signature of `cls(...)`."""
    signature = inspect.signature(cls.__init__)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


@functools.cache
def _checks(cls) -> dict:
    """The checks of the fields of a dataclass that are arguments, by name."""
    checks = {field.name: check_of(field.type) for field in dataclasses.fields(cls) if field.init}
    return {name: check for name, check in checks.items() if check is not None}


def _check_fields(value):
    """Raise InputError unless the fields are as annotated; they then hold Python's own numbers and tuples."""
    for name, check in _checks(type(value)).items():
        given = getattr(value, name)
        plain = check(f"{type(value).__name__}.{name}", given)
        if plain is not given:
            object.__setattr__(value, name, plain)


def _with_checked_fields(post_init):
    """`__post_init__` after `_check_fields`."""

    @functools.wraps(post_init)
    def checked(self):
        try:
            _check_fields(self)
            post_init(self)
        except InputError as error:
            raise without_frames(error) from None

    return checked


def _with_checked_key(init):
    """`init` that first checks its key."""

    @functools.wraps(init)
    def checked(self, key, *args, **kwargs):
        check_key(f"the key of {type(self).__name__}.init", key)
        return init(self, key, *args, **kwargs)

    return checked
