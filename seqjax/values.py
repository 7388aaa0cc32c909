"""Values: frozen dataclasses that refuse a wrong construction, and a wrong key for their parameters, in one line."""

import functools
import inspect
from typing import Self

from seqjax.checks import check_key
from seqjax.errors import InputError


class Value:
    """The base of cells, layers and models: construction and `init` raise InputError for arguments that do not fit."""

    def __new__(cls, *args, **kwargs) -> Self:
        if args or kwargs:  # a copy is made without arguments
            _check_arguments(cls, args, kwargs)
        return super().__new__(cls)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "init" in vars(cls):
            cls.init = _with_checked_key(vars(cls)["init"])


def _check_arguments(cls, args: tuple, kwargs: dict):
    """Raise InputError unless `cls(*args, **kwargs)` gives its fields."""
    signature = _signature(cls)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "no arguments"
        raise InputError(f"{cls.__name__}: {error}; it takes {takes}") from None


@functools.cache
def _signature(cls) -> inspect.Signature:
    """The signature of `cls(...)`."""
    signature = inspect.signature(cls.__init__)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _with_checked_key(init):
    """`init` that first checks its key."""

    @functools.wraps(init)
    def checked(self, key, *args, **kwargs):
        check_key(f"the key of {type(self).__name__}.init", key)
        return init(self, key, *args, **kwargs)

    return checked
