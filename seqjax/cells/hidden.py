"""The bases of cells that read vectors, and the state of those that remember their hidden units alone."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from seqjax.checks import check_size
from seqjax.contracts import Cell
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, at_least_float32


@register
class HiddenState(NamedTuple):
    """The state of a cell that remembers its hidden units alone: h, float32 or wider, [*batch_shape, H].

    Args:
        h: the hidden units, which are the output.

    Example:
        >>> HiddenState(jnp.zeros((2, 3))).h.shape
        (2, 3)
    """

    h: Array


@dataclasses.dataclass(frozen=True)
class VectorCell(Cell):
    """The base of cells of H hidden units that read vectors of D features.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.

    Raises:
        InputError: a size that is not positive.
    """

    input_size: int
    hidden_size: int

    def __post_init__(self):
        check_size(self, input_size=self.input_size, hidden_size=self.hidden_size)

    @property
    def input_shape(self) -> Shape:
        return (self.input_size,)


@dataclasses.dataclass(frozen=True)
class HiddenCell(VectorCell):
    """The base of cells whose state is h, which begins at 0; a subclass gives init, project and recur.

    Args:
        fields: those of VectorCell.
    """

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> HiddenState:
        """h = 0."""
        kernel = params.get("recurrent_kernel", params["input_kernel"])
        return HiddenState(jnp.zeros((*batch_shape, self.hidden_size), at_least_float32(kernel.dtype)))
