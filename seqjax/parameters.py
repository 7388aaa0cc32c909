"""The arguments of models and their parts: parameters as their `init` makes them, and the keys of a batch."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp

from seqjax.annotations import public
from seqjax.checks import check_key, kind_of_dtype, shown
from seqjax.errors import InputError
from seqjax.tree import form

F = TypeVar("F", bound=Callable)


def model_method(method: F) -> F:
    """Decorate a public method of a model or a part of one, as `public`; its params, key and batch are checked by name.

    `params` must be as the object's `init` makes them, `key` a typed key, and a word that the method does not find in `batch`
    is named in an InputError.

    Example:
        >>> class Mean:
        ...     @model_method
        ...     def loss(self, outputs, batch):
        ...         return outputs - batch["y"]
        >>> Mean().loss(1.0, {"x": 2.0})
        Traceback (most recent call last):
        seqjax.errors.InputError: the batch has no "y", which Mean.loss reads: it has "x"
    """
    names = [*inspect.signature(method).parameters]

    @functools.wraps(method)
    def checked(*args, **kwargs):
        given = dict(zip(names, args, strict=False)) | kwargs
        part, batch = args[0], given.get("batch")
        if "batch" in given and not isinstance(batch, Mapping):
            raise InputError(f"batch is {form(batch)}, it must be a dict of arrays")
        if "params" in given:
            check_params(part, given["params"])
        if given.get("key") is not None:
            check_key("key", given["key"])
        try:
            return method(*args, **kwargs)
        except KeyError as error:
            word = error.args[0] if error.args else None
            if batch is None or not isinstance(word, str) or word in batch:
                raise
            words = ", ".join(f'"{key}"' for key in batch) or "nothing"
            reader = f"{type(part).__name__}.{method.__name__}"
            raise InputError(f'the batch has no "{word}", which {reader} reads: it has {words}') from None

    return public(checked)  # type: ignore[return-value]


@functools.lru_cache(maxsize=1024)
def _expected_params(part, size: int | None):
    """The shapes of the parameters of `part`, with a table of `size` rows embedded or none, and what `check_params` reads."""
    params = jax.eval_shape(lambda: part.init(jax.random.key(0)))
    if size is not None:
        table = jax.ShapeDtypeStruct((size, *part.input_shape), jnp.float32)
        params = jax.eval_shape(part.embed, params, table)
    leaves, treedef = jax.tree.flatten(params)
    return params, treedef, [(leaf.shape, kind_of_dtype(leaf.dtype)) for leaf in leaves]


def check_params(part, params, size: int | None = None):
    """Raise InputError unless params have the names, shapes and kinds of dtypes that the `init` of a part gives.

    Args:
        part: a cell, a layer or a model.
        params: its parameters.
        size: of the table that is embedded in them; None: none is.
    """
    try:
        expected, treedef, forms = _expected_params(part, size)
    except TypeError:
        if (field := _unhashable_field(part)) is None:
            raise
        name = f"{type(part).__name__}.{field}"
        raise InputError(f"{name} is {shown(getattr(part, field))}, it cannot be hashed: give a number or a tuple") from None
    leaves, given = jax.tree.flatten(params)
    if given == treedef:
        for leaf, (shape, kind) in zip(leaves, forms, strict=True):
            if getattr(leaf, "shape", None) != shape or kind_of_dtype(leaf.dtype) != kind:
                break
        else:
            return
    _refuse_params(type(part).__name__, "params", params, expected)


def _refuse_params(name: str, path: str, params, expected):
    """Raise InputError at the first difference."""
    if isinstance(expected, dict):
        names = ", ".join(expected) or "no parameters"
        if not isinstance(params, dict):
            raise InputError(f"{path} is {form(params)}, {name} has a dict of {names}: give what its init returns")
        if missing := [key for key in expected if key not in params]:
            raise InputError(f"{path} lacks {missing[0]!r}: it holds {shown(sorted(map(str, params)))}, {name} has {names}")
        if extra := [key for key in params if key not in expected]:
            raise InputError(f"{path} holds {shown(extra[0])}, which {name} does not have: it has {names}")
        for key, value in expected.items():
            _refuse_params(name, f"{path}[{key!r}]", params[key], value)
        return
    if not hasattr(expected, "dtype"):
        if jax.tree.structure(params) != jax.tree.structure(expected):
            raise InputError(f"{path} is {form(params)}, {name} has {form(expected)}")
        for i, (a, b) in enumerate(zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True)):
            _refuse_params(name, f"{path}[{i}]", a, b)
        return
    same = getattr(params, "shape", None) == expected.shape and kind_of_dtype(params.dtype) == kind_of_dtype(expected.dtype)
    if not same:
        raise InputError(f"{path} is {form(params)}, {name} has {form(expected)}")


def _unhashable_field(part) -> str | None:
    for field in dataclasses.fields(part):
        try:
            hash(getattr(part, field.name))
        except TypeError:
            return field.name
    return None


class ParameterCount(int):
    """The number of parameters, an int; `table` lists it part by part.

    Args:
        number: of all parameters together.
        table: a text of one line for each array and for each part, with the shapes of arrays.
    """

    table: str

    def __new__(cls, number: int, table: str) -> "ParameterCount":
        count = super().__new__(cls, number)
        count.table = table
        return count


@public
def count_parameters(params) -> ParameterCount:
    """The number of parameters; `print(count_parameters(params).table)` shows it part by part.

    Args:
        params: parameters of any cell, layer or model, or their shapes and dtypes.

    Returns:
        The sum of the sizes of all arrays, an int with a `table`.

    Raises:
        InputError: a leaf that is no array.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> count = count_parameters(Elman(input_size=2, hidden_size=3).init(jax.random.key(0)))
        >>> print(f"{count:,} parameters")
        18 parameters
        >>> print(count.table)
        bias               float32[3]      3
        input_kernel       float32[2, 3]   6
        recurrent_kernel   float32[3, 3]   9
        total                             18
    """
    lines: list[tuple[str, str, int]] = []  # (name, form, number)

    def count(name: str, tree, depth: int) -> int:
        if hasattr(tree, "shape") and hasattr(tree, "dtype"):
            lines.append(("  " * depth + name, form(tree), math.prod(tree.shape)))
            return lines[-1][2]
        children = jax.tree_util.default_registry.flatten_one_level_with_keys(tree)
        if children is None or tree is None:
            raise InputError(f"params hold {shown(tree)}, all leaves must be arrays")
        place = len(lines)
        pairs = [(jax.tree_util.keystr((key,), simple=True), child) for key, child in children[0]]
        number = sum(count(child_name, child, depth + bool(name)) for child_name, child in pairs)
        if name:
            lines.insert(place, ("  " * depth + name, "", number))
        return number

    total = count("", params, 0)
    lines.append(("total", "", total))
    numbers = [f"{number:,}" for _, _, number in lines]
    widths = [max(map(len, column)) for column in ([line[0] for line in lines], [line[1] for line in lines], numbers)]
    rows = zip(lines, numbers, strict=True)
    table = [f"{name:<{widths[0]}}   {text:<{widths[1]}}  {number:>{widths[2]}}" for (name, text, _), number in rows]
    return ParameterCount(total, "\n".join(table))
