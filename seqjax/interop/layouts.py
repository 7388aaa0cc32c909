"""Layouts of weights: where another library keeps each weight of each gate, and the translation from and to parameters.

A layout maps the names of a library's arrays to an `Entry` each, in the terms of `Cell.split`. Two weights add to it:
`recurrent_bias` is a second bias that most cells do not have, since it is added to the first.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import as_array, concrete, kind_of, kind_of_dtype, shown
from seqjax.compose import Dropout, Stack
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.layers import Bidirectional, Chain
from seqjax.parameters import check_params
from seqjax.tree import form
from seqjax.types import Params, float_dtype

Arrays = dict[str, np.ndarray]
Path = tuple[str, ...]  # of a cell's parameters in those of its network
Gates = dict[str, Arrays]  # {gate: {weight: [..., H]}}, as `Cell.split` returns them

_BIASES = ("bias", "recurrent_bias")
_OF_INIT = ("forget_bias", "input_init", "recurrent_init")  # fields that no weight depends on once it is made


class Entry(NamedTuple):
    """One array of another library: a weight of some gates side by side, [..., nH], or its transpose."""

    weight: str
    gates: tuple[str, ...]
    transposed: bool = False


class Library(NamedTuple):
    """Another library: its types of cells, and its merges of two directions.

    For each type of cell, it supports the listed fields, with the listed values or (None) any; other fields only by default.
    """

    name: str
    cells: Mapping[type, Mapping[str, tuple | None]]
    merges: tuple[str, ...] = ()


class Part(NamedTuple):
    """A cell of a network with the layout of its weights, whose names are unique in the network."""

    path: Path
    cell: Cell
    layout: dict[str, Entry]


def plain(cell: Cell) -> Cell:
    """The cell without the choices that only `init` reads: cells that compute the same are then equal."""
    fields = {field.name: field.default for field in dataclasses.fields(cell) if field.name in _OF_INIT}
    return dataclasses.replace(cell, **fields)


def short(cell: Cell) -> str:
    """The cell in a message: its sizes, and the fields that differ from their defaults and affect its results."""
    fields = [(field, getattr(cell, field.name)) for field in dataclasses.fields(cell) if field.name not in _OF_INIT]
    shown_fields = ", ".join(f"{field.name}={value!r}" for field, value in fields if value != field.default)
    return f"{type(cell).__name__}({shown_fields})"


def layers_of(network, library: Library) -> list[list[tuple[Path, Cell]]]:
    """The layers of a network: the path and cell of one direction, or of two; Dropout between them has no weights.

    Args:
        network: a cell, Stack, Bidirectional or Chain.
        library: the library that must have all of it.

    Returns:
        The layers, from the one that reads the input upwards.

    Raises:
        InputError: a part, or a field of a part, that the library does not have.
    """
    if not isinstance(network, Cell | SequenceLayer):
        raise InputError(f"the weights are those of a cell or a layer, not of {kind_of(network)}")
    layers = [*_layers(network, (), library)]
    if not layers:
        raise InputError(f"{network} has no weights")
    for _, cell in (place for layer in layers for place in layer):
        if type(cell) not in library.cells:
            names = ", ".join(kind.__name__ for kind in library.cells)
            raise InputError(f"{library.name} has no {type(cell).__name__}: {names} can be exchanged, alone or in a deep network")
        for field in dataclasses.fields(cell):
            free = field.name in (*_OF_INIT, "input_size", "hidden_size")
            values = library.cells[type(cell)].get(field.name, (field.default,))
            value = getattr(cell, field.name)
            if not free and values is not None and value not in values:
                raise InputError(f"{library.name} has no {type(cell).__name__} with {field.name}={shown(value)}")
        if len({getattr(cell, name, None) for name in ("input_activation", "output_activation")}) > 1:
            raise InputError(f"{library.name} has one activation: {short(cell)} has two")
    return layers


def _layers(part, path: Path, library: Library) -> Iterator[list[tuple[Path, Cell]]]:
    """The layers of a part, whose parameters are at a path."""
    if isinstance(part, Stack | Chain):
        for i, inner in enumerate(part.cells if isinstance(part, Stack) else part.parts):
            yield from _layers(inner, (*path, str(i)), library)
    elif isinstance(part, Bidirectional):
        if part.merge not in library.merges:
            raise InputError(f"{library.name} has no Bidirectional with merge={part.merge!r}")
        backward = part.forward if part.backward is None else part.backward
        yield [((*path, "forward"), part.forward), ((*path, "backward"), backward)]
    elif not isinstance(part, Dropout):
        yield [(path, part)]


def check_same(of_module, network, library: Library):
    """Raise InputError unless a network computes the same as the network made from another library's module."""
    theirs, ours = ([[plain(cell) for _, cell in layer] for layer in layers_of(each, library)] for each in (of_module, network))
    if len(theirs) != len(ours):
        raise InputError(f"the module has {_count(len(theirs), 'layer')}, {type(network).__name__} has {len(ours)}")
    for n, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        if len(their) != len(our):
            raise InputError(f"the module has {_count(len(their), 'direction')}, {type(network).__name__} has {len(our)}")
        for a, b in zip(their, our, strict=True):
            if a != b:
                where = f"layer {n} of the module" if len(ours) > 1 else "the module"
                raise InputError(f"{where} is {short(a)}, its weights were asked for as {short(b)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


# From another library.


def read(parts: list[Part], arrays: Mapping, source: str) -> Params:
    """The parameters of a network from the arrays of another library.

    Args:
        parts: the network's cells.
        arrays: by the names of the layouts; all floating.
        source: the arrays' owner in messages, such as "the state dict".

    Returns:
        The parameters, in the widest dtype of the arrays that JAX has turned on.

    Raises:
        InputError: a missing or extra name, or an array of another shape or kind.
    """
    names = [name for part in parts for name in part.layout]
    for name in names:
        if name not in arrays:
            raise InputError(f"{source} lacks {name!r}, which {_short(parts)} has: it holds {shown(sorted(map(str, arrays)))}")
    for name in arrays:
        if name not in names:
            raise InputError(f"{source} holds {name!r}, which {_short(parts)} does not have: it has {', '.join(names)}")
    arrays = {name: _floating(name, arrays[name]) for name in names}
    dtype = float_dtype(list(arrays.values()))
    params: Params = {}
    for part in parts:
        inner = params
        for name in part.path:
            inner = inner.setdefault(name, {})
        inner |= _params(part, arrays, dtype)
    return params


def _short(parts: list[Part]) -> str:
    """The cell of a network of one, or the kind of cell of a deeper one."""
    return short(parts[0].cell) if len(parts) == 1 else f"the network of {len(parts)} {type(parts[0].cell).__name__} cells"


def _floating(name: str, value) -> np.ndarray:
    """An array of floating weights on this machine."""
    array = as_array(name, value)
    if kind_of_dtype(array.dtype) != "floating" or (array := concrete(array)) is None:
        raise InputError(f"{name} is {form(value)}, it must be an array of floating weights")
    return array


def _params(part: Part, arrays: Arrays, dtype) -> Params:
    """The parameters of one cell."""
    cell, shapes = part.cell, _views(part.cell)
    gates: Gates = {gate: {} for gate in shapes}
    for name, entry in part.layout.items():
        _check_shape(name, arrays[name], entry, cell, shapes)
        array = arrays[name].T if entry.transposed else arrays[name]
        for gate, weight in zip(entry.gates, np.split(array, len(entry.gates), axis=-1), strict=True):
            gates[gate][entry.weight] = weight
    for gate, weights in gates.items():
        if "recurrent_bias" in weights and "recurrent_bias" not in shapes[gate]:  # it is added to the other
            second = weights.pop("recurrent_bias")
            weights["bias"] = weights["bias"] + second if "bias" in weights else second
        for name in _BIASES:
            if name in shapes[gate]:
                weights.setdefault(name, np.zeros(shapes[gate][name].shape, dtype))
    return _joined(cell, gates, dtype)


def _joined(cell: Cell, gates: Gates, dtype) -> Params:
    """The inverse of `cell.split`: splitting the places of all entries tells the place of each."""
    leaves, treedef = jax.tree.flatten(jax.eval_shape(cell.init, jax.random.key(0)))
    ends = np.cumsum([leaf.size for leaf in leaves])
    places = [np.arange(end - a.size, end, dtype=np.int32).reshape(a.shape) for a, end in zip(leaves, ends, strict=True)]
    flat = np.empty(ends[-1], dtype)
    for gate, views in cell.split(jax.tree.unflatten(treedef, places)).items():
        for name, where in views.items():
            flat[np.asarray(where)] = gates[gate][name]
    return jax.tree.unflatten(treedef, [jnp.asarray(flat[where]) for where in places])


def _views(cell: Cell) -> dict:
    """The shapes of a cell's parameters gate by gate."""
    return jax.eval_shape(cell.split, jax.eval_shape(cell.init, jax.random.key(0)))


def _check_shape(name: str, array: np.ndarray, entry: Entry, cell: Cell, shapes: dict):
    """Raise InputError unless an array has the shape of its entry; a transposed one, and one of other gates, are named so."""
    first = shapes[entry.gates[0]]
    single = first[entry.weight if entry.weight in first else "bias"].shape  # of one gate
    expected = (*single[:-1], single[-1] * len(entry.gates))
    expected = expected[::-1] if entry.transposed else expected
    if array.shape == expected:
        return
    hint = ""
    count, rest = divmod(array.shape[0 if entry.transposed else -1] if array.ndim else 0, single[-1])
    if array.shape == expected[::-1]:
        hint = ": it is transposed"
    elif not rest and count != len(entry.gates) and array.size * len(entry.gates) == np.prod(expected, dtype=int) * count:
        hint = f": {_count(count, 'gate')} of {single[-1]} units, not {len(entry.gates)} ({', '.join(entry.gates)})"
    raise InputError(f"{name} is {form(array)}, {short(cell)} has {list(expected)}{hint}")


# To another library.


def write(network, parts: list[Part], params: Params, library: str) -> Arrays:
    """The arrays of another library from the parameters of a network.

    Args:
        network: the cell or layer.
        parts: its cells.
        params: its parameters.
        library: for messages.

    Returns:
        {name: array}, names as in the layouts. Of two biases that are added, the second is 0.

    Raises:
        InputError: parameters of another network, traced ones, or a bias that is not 0 where the library has none.
    """
    check_params(network, params)
    arrays: Arrays = {}
    for part in parts:
        inner = params
        for name in part.path:
            inner = inner[name]
        arrays |= _arrays(part, inner, library)
    return arrays


def _arrays(part: Part, params: Params, library: str) -> Arrays:
    """The arrays of one cell."""
    held = {(entry.weight, gate) for entry in part.layout.values() for gate in entry.gates}
    gates: Gates = {gate: {} for gate in part.cell.gates}
    for gate, views in part.cell.split(params).items():
        for name, view in views.items():
            if (array := concrete(view)) is None:
                raise InputError(f"{library}: the parameters are traced, and weights are values: translate them outside of jit")
            gates[gate][name] = array
    for gate, weights in gates.items():
        if "recurrent_bias" not in weights:  # the one bias goes to the first place there is, 0 to the second
            bias = weights["bias"]
            first, second = _BIASES if ("bias", gate) in held else _BIASES[::-1]
            weights |= {first: bias, second: np.zeros_like(bias)}
        for name, array in weights.items():
            if (name, gate) not in held and array.any():
                raise InputError(f"{library} has no {name.replace('_', ' ')} of gate {gate}, and in params it is not 0")
    arrays = {}
    for name, entry in part.layout.items():
        array = np.concatenate([gates[gate][entry.weight] for gate in entry.gates], axis=-1)
        arrays[name] = np.ascontiguousarray(array.T if entry.transposed else array)
    return arrays
