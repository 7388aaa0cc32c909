"""PyTorch: weights of nn.RNN, nn.LSTM, nn.GRU and their cells as parameters, and back."""

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from seqjax.annotations import public
from seqjax.cells import GRU, LSTM, Elman
from seqjax.checks import kind_of, shown
from seqjax.compose import Dropout, Stack
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.interop.layouts import Arrays, Entry, Library, Part, check_same, layers_of, plain, read, short, write
from seqjax.layers import Bidirectional, Chain
from seqjax.types import Params

_CELLS = {Elman: {"activation": ("tanh", "relu")}, LSTM: {"projection_size": None}, GRU: {}}
_TORCH = Library("PyTorch", _CELLS, merges=("concat",))


@public
def from_torch(source, cell: Cell | SequenceLayer, *, prefix: str = "") -> Params:
    """The parameters of a cell or layer from the weights of a PyTorch module.

        bias = b_ih + b_hh;  the candidate of a GRU keeps both: bias = b_in, recurrent_bias = b_hn

    Args:
        source: an nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell or nn.GRUCell; a module that holds one; or a state dict
            {name: array} of tensors, or of NumPy or JAX arrays, with biases or without.
        cell: a cell for one layer, a Stack for several, a Bidirectional for one of two directions, a Chain of those for
            several; Dropout may stand between. `cell_of(module)` makes it.
        prefix: prefix of the names in the state dict, such as "encoder.rnn."; other names are ignored.

    Returns:
        The parameters for `cell`, in the dtype of the weights (float64 becomes float32 unless JAX has float64 turned on).

    Raises:
        InputError: weights of another shape, gate count or orientation, a missing or extra name, a module of another kind.

    Example:
        >>> state_dict = {
        ...     "rnn.weight_ih_l0": np.ones((3, 2)),
        ...     "rnn.weight_hh_l0": np.zeros((3, 3)),
        ...     "rnn.bias_ih_l0": np.full(3, 0.5),
        ...     "rnn.bias_hh_l0": np.full(3, 0.25),
        ... }
        >>> params = from_torch(state_dict, Elman(input_size=2, hidden_size=3), prefix="rnn.")
        >>> params["bias"].tolist(), params["input_kernel"].shape
        ([0.75, 0.75, 0.75], (2, 3))
    """
    nn = _nn()
    if nn is not None and isinstance(source, nn.Module):
        module = _inner(source, prefix)
        if isinstance(module, _modules(nn)):
            check_same(cell_of(module), cell, _TORCH)
        source = source.state_dict()
    if not isinstance(source, Mapping):
        raise InputError(f"from_torch reads a module of PyTorch or a state dict, not {kind_of(source)}")
    source = {str(name): value for name, value in source.items()}
    held = {name: value for name, value in source.items() if name.startswith(prefix)}
    one_step = f"{prefix}weight_ih" in held or f"{prefix}weight_hh" in held
    parts = _parts(cell, prefix, bias=any(name.startswith(f"{prefix}bias_") for name in held), one_step=one_step)
    first = next(iter(parts[0].layout)).removeprefix(prefix)
    if held.keys().isdisjoint(name for part in parts for name in part.layout):
        others = [name.removesuffix(end) for end in (first, "weight_ih") for name in source if name.endswith(end)]
        hint = f"give prefix={others[0]!r}" if others else f"it holds {shown(sorted(source))}"
        raise InputError(f"the state dict has no {prefix}{first}: {hint}")
    return read(parts, {name: _as_numpy(name, value) for name, value in held.items()}, "the state dict")


@public
def state_dict(
    params: Params, cell: Cell | SequenceLayer, *, prefix: str = "", bias: bool = True, one_step: bool = False
) -> Arrays:
    """The inverse of `from_torch`, with NumPy arrays; needs no PyTorch.

    Args:
        params: the parameters of `cell`.
        cell: as for `from_torch`.
        prefix: prefix of the names, such as "encoder.rnn.".
        bias: False for a module with bias=False; the biases must then be 0.
        one_step: True for the names of nn.RNNCell, nn.LSTMCell and nn.GRUCell, which have no layer number.

    Returns:
        {name: array} with PyTorch's names and shapes. Where PyTorch adds two biases, they are (the bias, 0).

    Raises:
        InputError: parameters of another cell, or a cell that PyTorch does not have.

    Example:
        >>> import jax
        >>> cell = LSTM(input_size=2, hidden_size=3)
        >>> {name: array.shape for name, array in state_dict(cell.init(jax.random.key(0)), cell).items()}
        {'weight_ih_l0': (12, 2), 'weight_hh_l0': (12, 3), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
    """
    return write(cell, _parts(cell, prefix, bias=bias, one_step=one_step), params, _TORCH.name)


@public
def to_torch(
    params: Params, cell: Cell | SequenceLayer, *, prefix: str = "", bias: bool = True, one_step: bool = False
) -> dict[str, Any]:
    """The inverse of `from_torch`: a state dict of tensors, for `module.load_state_dict`.

    Args:
        params, cell, prefix, bias, one_step: as for `state_dict`, which returns NumPy arrays.

    Returns:
        {name: tensor}.

    Raises:
        InputError: as `state_dict`; PyTorch is not installed.
    """
    arrays = state_dict(params, cell, prefix=prefix, bias=bias, one_step=one_step)
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        raise InputError("torch is not installed: seqjax.interop.torch.state_dict gives NumPy arrays") from None
    tensors = {}
    for name, array in arrays.items():  # torch.from_numpy does not know bfloat16
        wide = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        tensors[name] = torch.from_numpy(wide).to(getattr(torch, array.dtype.name))
    return tensors


@public
def cell_of(module) -> Cell | SequenceLayer:
    """The cell or layer that computes the same as a recurrent module of PyTorch.

    Args:
        module: an nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell or nn.GRUCell.

    Returns:
        An Elman, LSTM or GRU for one layer, a Stack for several; for two directions a Bidirectional, or a Chain of them.
        Dropout between layers is a part.

    Raises:
        InputError: another module.
    """
    nn = _nn()
    if nn is None or not isinstance(module, _modules(nn)):
        raise InputError(f"cell_of reads an nn.RNN, LSTM or GRU of PyTorch, or one of their cells, not {kind_of(module)}")
    types = {nn.RNN: Elman, nn.RNNCell: Elman, nn.LSTM: LSTM, nn.LSTMCell: LSTM, nn.GRU: GRU, nn.GRUCell: GRU}
    kind: Any = next(kind for theirs, kind in types.items() if isinstance(module, theirs))
    fields: dict[str, Any] = {"activation": module.nonlinearity} if kind is Elman else {}
    if projection := getattr(module, "proj_size", 0):
        fields["projection_size"] = projection
    two = getattr(module, "bidirectional", False)
    size, layers = module.input_size, []
    for _ in range(getattr(module, "num_layers", 1)):
        cell = kind(input_size=size, hidden_size=module.hidden_size, **fields)
        if layers and module.dropout:
            layers.append(Dropout(module.dropout))
        layers.append(Bidirectional(cell) if two else cell)
        size = _output_size(cell) * (2 if two else 1)
    if len(layers) == 1:
        return layers[0]
    return Chain(tuple(layers)) if two else Stack(tuple(layers))


def _parts(network, prefix: str, *, bias: bool, one_step: bool) -> list[Part]:
    """The cells of a network with PyTorch's names; raises InputError unless one module of PyTorch can hold them all."""
    layers = layers_of(network, _TORCH)
    first = layers[0][0][1]
    if one_step and (len(layers) > 1 or len(layers[0]) > 1):
        raise InputError(f"{type(network).__name__} has several cells, and a module of PyTorch for one step has one")
    parts, fields = [], {}
    for n, layer in enumerate(layers):
        for (path, cell), direction in zip(layer, ("", "_reverse"), strict=False):
            expected = dataclasses.replace(plain(first), **fields)
            if len(layer) != len(layers[0]) or plain(cell) != expected:
                raise InputError(
                    f"one module of PyTorch has equal layers, and layer {n} is {short(cell)} where {short(expected)} would "
                    "follow: translate the layers one by one"
                )
            suffix = "" if one_step else f"_l{n}{direction}"
            parts.append(Part(path, cell, {f"{prefix}{name}{suffix}": entry for name, entry in _layout(cell, bias).items()}))
        fields = {"input_size": _output_size(first) * len(layer)}
    return parts


def _output_size(cell: Any) -> int:
    return cell.output_size if isinstance(cell, LSTM) else cell.hidden_size


def _layout(cell: Cell, bias: bool) -> dict[str, Entry]:
    """PyTorch's arrays of one cell, in our order of gates."""
    layout = {
        "weight_ih": Entry("input_kernel", cell.gates, transposed=True),
        "weight_hh": Entry("recurrent_kernel", cell.gates, transposed=True),
    }
    if bias:
        layout |= {"bias_ih": Entry("bias", cell.gates), "bias_hh": Entry("recurrent_bias", cell.gates)}
    if isinstance(cell, LSTM) and cell.projection_size is not None:
        layout["weight_hr"] = Entry("projection_kernel", cell.gates[-1:], transposed=True)
    return layout


def _nn() -> Any:
    """torch.nn where it has been imported, else None."""
    return getattr(sys.modules.get("torch"), "nn", None)


def _modules(nn) -> tuple[type, ...]:
    return (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)


def _inner(module, prefix: str):
    """The module at a prefix of names; None if there is none."""
    return dict(module.named_modules()).get(prefix.removesuffix("."))


def _as_numpy(name: str, value):
    """A PyTorch tensor as a NumPy array; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    if value.is_meta:
        raise InputError(f"{name} has no values: its device is meta")
    value = value.detach().cpu()
    if value.dtype == torch.bfloat16:  # NumPy has no such dtype of its own
        return value.float().numpy().astype(jnp.bfloat16)
    return value.numpy()
