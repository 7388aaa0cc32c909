"""Keras: weights of SimpleRNN, LSTM and GRU, of their cells and of Bidirectional, as parameters, and back."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.annotations import public
from seqjax.cells import GRU, LSTM, Elman
from seqjax.checks import as_array, kind_of
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.interop.layouts import Arrays, Entry, Library, Part, check_same, layers_of, read, short, write
from seqjax.layers import Bidirectional
from seqjax.tree import form
from seqjax.types import Params

_SAME = (  # functions of one name; gelu and leaky_relu have other defaults in Keras
    "tanh", "relu", "sigmoid", "celu", "elu", "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "relu6", "selu", "silu",
    "softplus", "linear",
)  # fmt: skip
_CELLS = {
    Elman: {"activation": _SAME},
    LSTM: {"input_activation": _SAME, "output_activation": _SAME},
    GRU: {"activation": _SAME, "reset_after": None},
}
_KERAS = Library("Keras", _CELLS, merges=("concat", "sum", "mean"))
_GATES = {
    Elman: ("h",),
    LSTM: ("i", "f", "g", "o"),
    GRU: ("z", "r", "n"),
}  # Keras writes c for g, and h for n
_MERGES = {"concat": "concat", "sum": "sum", "ave": "mean"}


@public
def from_keras(source, cell: Cell | SequenceLayer) -> Params:
    """The parameters of a cell or layer from the weights of a Keras layer.

        a GRU with reset_after: bias = bias[0] + bias[1], but for the candidate bias = bias[0], recurrent_bias = bias[1]

    Args:
        source: a built SimpleRNN, LSTM, GRU, one of their cells, or a Bidirectional; or its `get_weights()`, a list of arrays,
            with biases or without. For several layers, join their lists, beginning with that of the first layer.
        cell: a cell for one layer, a Bidirectional for one of two directions, a Stack or Chain for several. `cell_of(layer)`
            makes it.

    Returns:
        The parameters for `cell`, in the dtype of the weights (float64 becomes float32 unless JAX has float64 turned on).

    Raises:
        InputError: another number of arrays; weights of another shape, gate count or orientation; a layer of another kind.

    Example:
        >>> weights = [np.ones((2, 3)), np.zeros((3, 3)), np.full(3, 0.5)]
        >>> params = from_keras(weights, Elman(input_size=2, hidden_size=3))
        >>> params["bias"].tolist(), params["input_kernel"].shape
        ([0.5, 0.5, 0.5], (2, 3))
    """
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(source, keras.Layer):
        if isinstance(source, (keras.layers.Bidirectional, *_types(keras))):
            check_same(cell_of(source), cell, _KERAS)
        source = source.get_weights()
    if not isinstance(source, Sequence) or isinstance(source, str):
        raise InputError(f"from_keras reads a layer of Keras or the list of its weights, not {kind_of(source)}")
    count = sum(map(len, layers_of(cell, _KERAS)))
    if len(source) not in (2 * count, 3 * count):
        each = "a kernel, a recurrent kernel and a bias" + (" of each cell" if count > 1 else "")
        raise InputError(
            f"the weights are {len(source)} arrays, {type(cell).__name__} has {3 * count}, or {2 * count} without biases: {each}"
        )
    return read(*_named(_parts(cell, len(source) == 3 * count), source), "the weights")


@public
def to_keras(params: Params, cell: Cell | SequenceLayer, *, bias: bool = True) -> list[np.ndarray]:
    """The inverse of `from_keras`: a list of arrays for `layer.set_weights`. Keras is not needed.

    Args:
        params: the parameters of `cell`.
        cell: as for `from_keras`.
        bias: False for layers with use_bias=False; the biases must then be 0.

    Returns:
        [kernel, recurrent_kernel, bias] of each cell. Where Keras adds two biases, they are (the bias, 0).

    Raises:
        InputError: parameters of another cell, or a cell that Keras does not have.

    Example:
        >>> import jax
        >>> cell = GRU(input_size=2, hidden_size=3)
        >>> [array.shape for array in to_keras(cell.init(jax.random.key(0)), cell)]
        [(2, 9), (3, 9), (2, 9)]
    """
    parts = _parts(cell, bias)
    arrays = write(cell, parts, params, "Keras")
    weights = []
    for part in parts:
        kernels_and_biases = [arrays[name] for name in part.layout]
        two = len(kernels_and_biases) == 4
        weights += [*kernels_and_biases[:2], np.stack(kernels_and_biases[2:])] if two else kernels_and_biases
    return weights


@public
def cell_of(layer) -> Cell | Bidirectional:
    """The cell or layer that computes the same as a recurrent layer of Keras.

    Args:
        layer: a built SimpleRNN, LSTM, GRU, one of their cells, or a Bidirectional of those.

    Returns:
        An Elman, LSTM or GRU, or a Bidirectional.

    Raises:
        InputError: another layer, one that has not been built, or an activation that the cell does not have.
    """
    keras: Any = sys.modules.get("keras")
    if getattr(getattr(layer, "forward_layer", layer), "go_backwards", False):
        raise InputError("a cell has no go_backwards: give layer.get_weights() to from_keras, and reverse=True to unroll")
    if keras is not None and isinstance(layer, keras.layers.Bidirectional):
        merge = _MERGES.get(layer.merge_mode)
        if merge is None:
            raise InputError(f"Bidirectional has no merge_mode={layer.merge_mode!r}: it has concat, sum, ave")
        forward, backward = (_cell_of(keras, each) for each in (layer.forward_layer, layer.backward_layer))
        return Bidirectional(forward, None if backward == forward else backward, merge=merge)
    if keras is None or not isinstance(layer, _types(keras)):
        raise InputError(f"cell_of reads a SimpleRNN, LSTM, GRU or Bidirectional of Keras, not {kind_of(layer)}")
    return _cell_of(keras, layer)


def _cell_of(keras, layer) -> Cell:
    """The cell that computes the same as a layer of one direction, or as its cell."""
    inner = getattr(layer, "cell", layer)
    kind: Any = next((kind for name, kind in _names(keras).items() if isinstance(inner, name)), None)
    if kind is None or not layer.built:
        raise InputError(f"{type(layer).__name__} is not built, or its cell is none of Keras's own: call it on an input first")
    activation = getattr(inner.activation, "__name__", None)
    if activation not in _SAME:
        raise InputError(f"{kind.__name__} has no activation={activation!r} of Keras: it has {', '.join(_SAME)}")
    gates = getattr(getattr(inner, "recurrent_activation", None), "__name__", None)
    if kind is not Elman and gates != "sigmoid":
        raise InputError(f"{kind.__name__} has sigmoid gates, and the layer has recurrent_activation={gates!r}")
    names = ("input_activation", "output_activation") if kind is LSTM else ("activation",)
    fields: dict[str, Any] = dict.fromkeys(names, activation)
    if kind is GRU:
        fields["reset_after"] = bool(inner.reset_after)
    return kind(input_size=inner.kernel.shape[0], hidden_size=inner.units, **fields)


def _names(keras) -> dict:
    layers = keras.layers
    return {layers.SimpleRNNCell: Elman, layers.LSTMCell: LSTM, layers.GRUCell: GRU}


def _types(keras) -> tuple[type, ...]:
    layers = keras.layers
    return (layers.SimpleRNN, layers.LSTM, layers.GRU, layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell)


def _parts(network, bias: bool) -> list[Part]:
    """The cells of a network with names for Keras's arrays; the two biases of a GRU are two arrays."""
    parts = []
    for path, cell in (place for layer in layers_of(network, _KERAS) for place in layer):
        gates, i = _GATES[type(cell)], len(parts) * (3 if bias else 2)
        layout = {
            f"weights[{i}] (kernel)": Entry("input_kernel", gates),
            f"weights[{i + 1}] (recurrent_kernel)": Entry("recurrent_kernel", gates),
        }
        two = isinstance(cell, GRU) and cell.reset_after
        names = (f"weights[{i + 2}] (bias)[0]", f"weights[{i + 2}] (bias)[1]") if two else (f"weights[{i + 2}] (bias)",)
        biases = {name: Entry(weight, gates) for name, weight in zip(names, ("bias", "recurrent_bias"), strict=False)}
        parts.append(Part(path, cell, layout | (biases if bias else {})))
    return parts


def _named(parts: list[Part], weights: Sequence) -> tuple[list[Part], Arrays]:
    """The cells of a network, and a list of weights by the names of their layouts."""
    weights, arrays = list(weights), {}
    for part in parts:
        names = [*part.layout]
        for name in names[:3]:
            array = as_array(name, weights.pop(0))
            if len(names) == 4 and name == names[2]:  # both biases of a GRU
                if array.ndim != 2 or len(array) != 2:
                    has = f"{short(part.cell)} has two rows of biases"
                    raise InputError(f"{name.removesuffix('[0]')} is {form(array)}, {has}: one bias is that of reset_after=False")
                arrays |= dict(zip(names[2:], array, strict=True))
            else:
                arrays[name] = array
    return parts, arrays
