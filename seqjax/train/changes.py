"""Refusals of changed settings."""

import reprlib

from seqjax.errors import InputError


def refuse_changes(what: str, old: dict, new: dict):
    """Refuse to continue a run with changed settings.

    Args:
        what: the name of the settings, for the message.
        old, new: nested plain values.

    Raises:
        InputError: a setting has changed; the message names the first such field with its old and new values.

    Example:
        >>> refuse_changes("data", {"batch_size": 8}, {"batch_size": 9})
        Traceback (most recent call last):
        seqjax.errors.InputError: cannot continue with another data.batch_size: it was 8, now it is 9
    """
    before, after = _fields(old, what), _fields(new, what)
    for name in sorted(before.keys() | after.keys()):
        old_value, new_value = (fields.get(name, "absent") for fields in (before, after))
        if old_value != new_value:
            values = reprlib.repr(old_value), reprlib.repr(new_value)
            raise InputError(f"cannot continue with another {name}: it was {values[0]}, now it is {values[1]}")


def _fields(value, name: str) -> dict:
    """{dotted path: plain value}."""
    children = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(children, dict):
        return {name: value}
    fields = {}
    for key, child in children.items():
        fields |= _fields(child, f"{name}.{key}".lstrip("."))
    return fields
