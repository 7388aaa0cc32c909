"""Registered types by the call that makes one: GRU, LSTM(forget_bias=0.0), Residual(GRU)."""

import ast
import dataclasses
import difflib
import re
from typing import Any

from seqjax.checks import shown
from seqjax.errors import InputError
from seqjax.serial import registered

LARGEST = 2**20  # of the integers in a call, which are sizes and numbers of steps


def make(text: str, *bases: type, flag: str, **sizes: Any) -> Any:
    """The value that a call describes.

    Args:
        text: the name of a registered type, alone or with arguments: plain values, or further such calls. Upper and lower case
            count alike in names of types.
        bases: the type must derive from one of these; those of the arguments need not.
        flag: the flag that gives the text, for messages.
        sizes: values of the fields that the text leaves open, by name, as far as a type has fields of these names.

    Returns:
        An instance.

    Raises:
        InputError: the text is no such call, a name is unknown, or the type refuses its arguments.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> from seqjax.contracts import Cell
        >>> cell = make("lstm(forget_bias=-1.0)", Cell, flag="--model.cell", input_size=2, hidden_size=3)
        >>> type(cell).__name__, cell.hidden_size, cell.forget_bias
        ('LSTM', 3, -1.0)
    """
    name = re.match(r"\s*([^\W\d]\w*)", text)
    right = "give a name or a call" + (f", such as '{name[1]}'" if name else "")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise InputError(f"{flag} {shown(text)} cannot be read: {right}") from None
    if not isinstance(tree, ast.Name | ast.Call):
        raise InputError(f"{flag} {shown(text)} is no name of a type: {right}")
    return _value(tree, bases, flag, sizes)


def _value(tree: ast.expr, bases: tuple[type, ...], flag: str, sizes: dict[str, Any]) -> Any:
    name = tree.func if isinstance(tree, ast.Call) else tree
    if isinstance(name, ast.Name):
        kind = _look_up(name.id, bases, flag)
        arguments = tree.args if isinstance(tree, ast.Call) else []
        keywords = tree.keywords if isinstance(tree, ast.Call) else []
        given = {word.arg: _value(word.value, (object,), flag, sizes) for word in keywords if word.arg}
        if len(given) < len(keywords) or any(isinstance(argument, ast.Starred) for argument in arguments):
            raise InputError(f"{flag}: {kind.__name__} has an argument twice or with a star: name each once")
        fields = [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
        open_fields = [field.name for field in fields if field.name not in sizes and not field.kw_only]
        if len(arguments) > len(open_fields):
            raise InputError(f"{flag}: {kind.__name__} has {len(arguments)} arguments without a name: write name=value")
        given |= {key: _value(each, (object,), flag, sizes) for key, each in zip(open_fields, arguments, strict=False)}
        names = [field.name for field in fields]
        if unknown := [key for key in given if key not in names]:
            close = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
            raise InputError(f"{flag}: {kind.__name__} has no field {unknown[0]}: {hint}")
        given = {key: value for key, value in sizes.items() if key in names} | given
        missing = [field.name for field in fields if field.name not in given and _is_required(field)]
        if missing:
            raise InputError(f"{flag}: {kind.__name__} lacks {', '.join(missing)}: write {kind.__name__}({missing[0]}=...)")
        return kind(**given)
    if isinstance(tree, ast.Tuple | ast.List):
        return tuple(_value(each, (object,), flag, sizes) for each in tree.elts)
    try:
        value = ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise InputError(f"{flag}: {ast.unparse(tree)} is no plain value: give a number, a quoted text, True or None") from None
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InputError(f"{flag}: {ast.unparse(tree)} is too large: the largest integer is {LARGEST}")
    return value


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _look_up(name: str, bases: tuple[type, ...], flag: str) -> type:
    known = {each: kind for each, kind in registered(*bases).items() if dataclasses.is_dataclass(kind)}
    by_lower = {each.lower(): kind for each, kind in known.items()}
    if name not in known and name.lower() not in by_lower:
        close = difflib.get_close_matches(name.lower(), by_lower, n=1)
        hint = f"did you mean {by_lower[close[0]].__name__}?" if close else f"it must be one of {', '.join(known)}"
        raise InputError(f"{flag}: {name} is not known: {hint}")
    return known.get(name) or by_lower[name.lower()]
