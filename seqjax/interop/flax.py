"""Flax: weights of Linen's and NNX's recurrent cells as parameters, and back; seqjax cells as Linen and NNX modules."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from seqjax.activations import ACTIVATIONS
from seqjax.annotations import public
from seqjax.cells import GRU, LSTM, MGU, Elman
from seqjax.checks import kind_of
from seqjax.compose import Stack
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.interop.flax_modules import LinenLayer, NNXLayer, as_linen, as_nnx
from seqjax.interop.layouts import Arrays, Entry, Library, Part, layers_of, read, short, write
from seqjax.types import Params

__all__ = ["LinenLayer", "NNXLayer", "as_linen", "as_nnx", "from_linen", "from_nnx", "to_linen", "to_nnx"]

_CELLS = {
    Elman: {"activation": None},
    LSTM: {"input_activation": None, "output_activation": None},
    GRU: {"activation": None},
    MGU: {"form": ("flax",)},
}
_FLAX = Library("Flax", _CELLS)
_NNX = {nnx.LSTMCell: LSTM, nnx.OptimizedLSTMCell: LSTM, nnx.GRUCell: GRU, nnx.SimpleCell: Elman}


@public
def from_linen(variables: Mapping[str, Any], cell: Cell) -> Params:
    """The parameters of a cell from the variables of a Linen cell.

    Args:
        variables: those of a flax.linen SimpleCell, LSTMCell, OptimizedLSTMCell, GRUCell or MGUCell,
            {"params": {"ii": ..., ...}}, or what is in "params". Those of an nn.RNN are `variables["params"]["cell"]`.
        cell: an Elman, LSTM, GRU (reset_after) or MGU (form="flax").

    Returns:
        The parameters for `cell`.

    Raises:
        InputError: a missing or extra name, a weight of another shape, or a cell that Flax does not have.

    Example:
        >>> import jax.numpy as jnp
        >>> layers = {"i": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "h": {"kernel": jnp.eye(3)}}
        >>> params = from_linen({"params": layers}, Elman(input_size=2, hidden_size=3))
        >>> {name: array.shape for name, array in params.items()}
        {'bias': (3,), 'input_kernel': (2, 3), 'recurrent_kernel': (3, 3)}
    """
    if "params" in variables:
        variables = variables["params"]
    return read([_part(cell, _linen_layout)], _flat(variables), "variables")


@public
def to_linen(params: Params, cell: Cell) -> dict[str, Any]:
    """The inverse of `from_linen`: variables for `module.apply`.

    Args:
        params: the parameters of `cell`.
        cell: an Elman, LSTM, GRU (reset_after) or MGU (form="flax").

    Returns:
        {"params": {"ii": {"kernel": ...}, ...}}.

    Raises:
        InputError: parameters of another cell, or a cell that Flax does not have.

    Example:
        >>> cell = GRU(input_size=2, hidden_size=3)
        >>> variables = to_linen(cell.init(jax.random.key(0)), cell)
        >>> sorted(variables["params"]), sorted(variables["params"]["hn"])
        (['hn', 'hr', 'hz', 'in', 'ir', 'iz'], ['bias', 'kernel'])
    """
    return {"params": _nested(write(cell, [_part(cell, _linen_layout)], params, "Linen"))}


@public
def from_nnx(module, cell: Cell) -> Params:
    """The parameters of a cell from an NNX cell.

    Args:
        module: an nnx.SimpleCell, LSTMCell, OptimizedLSTMCell or GRUCell; that of an nnx.RNN is its `cell`. The nnx.GRUCell
            has no bias in the candidate's recurrent product: `recurrent_bias` is then 0.
        cell: an Elman, LSTM or GRU (reset_after).

    Returns:
        The parameters for `cell`.

    Raises:
        InputError: a module that does not compute the same as `cell`, or a weight of another shape.

    Example:
        >>> module = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
        >>> params = from_nnx(module, Elman(input_size=2, hidden_size=3))
        >>> {name: array.shape for name, array in params.items()}
        {'bias': (3,), 'input_kernel': (2, 3), 'recurrent_kernel': (3, 3)}
    """
    part = _part(cell, lambda cell: _nnx_layout(module, cell))
    return read([part], _flat(nnx.to_pure_dict(nnx.state(module, nnx.Param))), "the module")


@public
def to_nnx(params: Params, cell: Cell, module):
    """Set the weights of an NNX cell to the parameters of a cell: the inverse of `from_nnx`.

    Args:
        params: the parameters of `cell`.
        cell: an Elman, LSTM or GRU (reset_after); for an nnx.GRUCell `recurrent_bias` must be 0.
        module: as for `from_nnx`.

    Returns:
        `module`, changed in place.

    Raises:
        InputError: parameters of another cell, a module that does not compute the same, or one of other sizes.

    Example:
        >>> import jax.numpy as jnp
        >>> cell = Elman(input_size=2, hidden_size=3)
        >>> params = {"input_kernel": jnp.ones((2, 3)), "recurrent_kernel": jnp.eye(3), "bias": jnp.ones(3)}
        >>> to_nnx(params, cell, nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))).dense_i.bias[...].tolist()
        [1.0, 1.0, 1.0]
    """
    part = _part(cell, lambda cell: _nnx_layout(module, cell))
    arrays = write(cell, [part], params, f"nnx.{type(module).__name__}")
    held = _flat(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    read([part], held, "the module")  # raises InputError for other sizes
    nnx.update(module, _nested({name: array.astype(held[name].dtype) for name, array in arrays.items()}))
    return module


def _part(cell, layout) -> Part:
    """A cell with its layout; Flax's cells are exchanged one by one."""
    if isinstance(cell, Stack | SequenceLayer):
        raise InputError(f"Flax's cells are exchanged one by one: give each cell of the {type(cell).__name__}")
    layers_of(cell, _FLAX)
    return Part((), cell, layout(cell))


def _linen_layout(cell: Cell) -> dict[str, Entry]:
    """Linen's arrays: for each gate a kernel of the input (i...) and one of h (h...); an LSTM has its bias at h."""
    layout = {}
    for gate in cell.gates:
        letter = "" if isinstance(cell, Elman) else gate
        layout[f"i{letter}/kernel"] = Entry("input_kernel", (gate,))
        is_candidate = gate == "n" and isinstance(cell, MGU)  # `split` names its kernel so
        layout[f"h{letter}/kernel"] = Entry("candidate_kernel" if is_candidate else "recurrent_kernel", (gate,))
        if not isinstance(cell, LSTM):
            layout[f"i{letter}/bias"] = Entry("bias", (gate,))
        if isinstance(cell, LSTM) or gate == "n":
            layout[f"h{letter}/bias"] = Entry("recurrent_bias", (gate,))
    return layout


def _nnx_layout(module, cell: Cell) -> dict[str, Entry]:
    """The arrays of an NNX cell; raises InputError unless it computes what `cell` computes."""
    kind = _NNX.get(type(module))
    if kind is None:
        raise InputError(f"NNX's cells are {', '.join(f'nnx.{each.__name__}' for each in _NNX)}, not {kind_of(module)}")
    if not isinstance(cell, kind):
        raise InputError(f"an nnx.{type(module).__name__} is a {kind.__name__}, its weights were asked for as {short(cell)}")
    activation = cell.input_activation if isinstance(cell, LSTM) else cell.activation  # type: ignore[attr-defined]
    for name, function in {"activation_fn": ACTIVATIONS[activation], "gate_fn": nnx.sigmoid}.items():
        if (given := getattr(module, name, function)) is not function:
            raise InputError(f"the module has {name}={getattr(given, '__name__', given)}, {short(cell)} computes something else")
    if getattr(module, "residual", False):
        raise InputError(f"the module has residual=True, {short(cell)} does not add h")
    if type(module) is nnx.LSTMCell:
        return {name.replace("if/", "if_/"): entry for name, entry in _linen_layout(cell).items()}
    bias = {"dense_h/bias": Entry("recurrent_bias", cell.gates)} if kind is LSTM else {"dense_i/bias": Entry("bias", cell.gates)}
    kernels = {"dense_i/kernel": Entry("input_kernel", cell.gates), "dense_h/kernel": Entry("recurrent_kernel", cell.gates)}
    return kernels | bias


def _flat(tree) -> Arrays:
    """{"ii/kernel": array, ...} of nested dicts."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _nested(arrays: Arrays) -> dict[str, Any]:
    """The inverse of `_flat`."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *outer, last = name.split("/")
        inner = tree
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = jax.numpy.asarray(array)
    return tree
