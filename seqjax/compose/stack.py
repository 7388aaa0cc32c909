"""Deep networks of cells: stacks, themselves cells."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, cast

from seqjax.checks import kind_of, shown
from seqjax.compose.stateless import Dropout
from seqjax.contracts import Cell, CompositeCell, SequenceLayer
from seqjax.errors import InputError
from seqjax.gates import recording_gates
from seqjax.parts import embed_part, init_parts, initial_states, shape_of_first
from seqjax.products import product
from seqjax.recurrence.arguments import check_array
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape


@register
@dataclasses.dataclass(frozen=True)
class Stack(CompositeCell):
    """Cells stacked one above another: a deep recurrent network, itself a cell.

        y_1 = cell_1(x),  y_2 = cell_2(y_1),  ...

    Its state is the tuple of its cells' states, its parameters are `{"0": ..., "1": ...}`. Noisy if a part is.

    Args:
        cells: the cells, from the one that reads the input upwards. Dropout is a part like any other.

    Raises:
        InputError: no cells, or a part that cannot step (put layers into a Chain).

    Example:
        >>> import jax
        >>> from seqjax.cells.lstm import LSTM
        >>> stack = Stack((LSTM(input_size=3, hidden_size=4), Dropout(0.5), LSTM(input_size=4, hidden_size=5)))
        >>> sorted(stack.init(jax.random.key(0)))
        ['0', '2']

    Schmidhuber 1992; El Hihi, Bengio 1995; Graves, Mohamed, Hinton 2013.
    """

    cells: tuple[Cell, ...]

    def __post_init__(self):
        if not isinstance(self.cells, tuple | list):
            raise InputError(f"Stack takes a tuple of cells, not {kind_of(self.cells)}: give Stack((cell, ...))")
        object.__setattr__(self, "cells", tuple(self.cells))
        if not self.cells:
            raise InputError("Stack has no cells: give at least one")
        for cell in self.cells:
            if isinstance(cell, SequenceLayer):
                raise InputError(
                    f"Stack holds cells only, and {type(cell).__name__} is a layer that cannot step: put it into a Chain"
                )
            if not isinstance(cell, Cell):
                raise InputError(f"Stack holds cells only, not {kind_of(cell)}")

    @classmethod
    def of(cls, cell_type, sizes: tuple[int, ...], *, dropout: float = 0.0, per: str = "step", **fields) -> "Stack":
        """A stack of one type of cell.

        Args:
            cell_type: a Cell type with input_size and hidden_size.
            sizes: (D, H_1, H_2, ...).
            dropout: rate of the Dropout between the cells; 0 leaves it out.
            per: "step" or "sequence", an argument of that Dropout.
            **fields: other fields of every cell.

        Returns:
            The stack.

        Raises:
            InputError: fewer than two sizes, or fields that the cells or the Dropout refuse.

        Example:
            >>> from seqjax.cells.gru import GRU
            >>> len(Stack.of(GRU, sizes=(3, 4, 4), dropout=0.1).cells)
            3
        """
        if not (isinstance(cell_type, type) and issubclass(cell_type, Cell)):
            raise InputError(f"Stack.of takes a type of cells such as LSTM, not {kind_of(cell_type)}")
        if not isinstance(sizes, tuple | list) or len(sizes) < 2:
            raise InputError(f"sizes={shown(sizes)}, Stack.of needs an input size and at least one hidden size")
        make = cast("Callable[..., Cell]", cell_type)
        cells: list[Cell] = []
        for i, (d, h) in enumerate(itertools.pairwise(sizes)):
            if i and dropout:
                cells.append(Dropout(dropout, per=per))
            cells.append(make(input_size=d, hidden_size=h, **fields))
        return cls(tuple(cells))

    @property
    def input_shape(self) -> Shape | None:
        return shape_of_first(self.cells)

    def init(self, key: Key) -> Params:
        """{"0": the first cell's parameters, ...}."""
        return init_parts(self.cells, key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The tuple of the cells' initial states."""
        return initial_states(self.cells, params, batch_shape, context, key)

    def project(self, params: Params, xs: Array) -> Any:
        """The first cell's projection."""
        return self.cells[0].project(params.get("0", {}), xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The parameters, with those of the first cell embedded."""
        return embed_part(self.cells[0], params, "0", table)

    def recur(self, params: Params, state, z, *, dot=product, context=None):
        """The first cell's recur, then the others' steps."""
        states = []
        for i, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            cell_params = params.get(str(i), {})
            if i:
                check_array(cell, z)
                z = cell.project(cell_params, z)
            with recording_gates(str(i)):
                s, z = cell.recur(cell_params, s, z, dot=dot, context=context)
            states.append(s)
        return tuple(states), z

    def unroll(self, params: Params, xs: Array, state, **options):
        """Every cell over all steps, one after another."""
        states = []
        for i, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            s, xs = run(cell, params.get(str(i), {}), xs, s, **options)
            states.append(s)
        return tuple(states), xs
