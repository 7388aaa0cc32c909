"""Initial states that are learned."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.contracts import Cell, CompositeCell, check_cell_field
from seqjax.errors import InputError
from seqjax.parts import embed_part
from seqjax.products import product
from seqjax.recurrence.engine import run, run_steps_of
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State


@register
@dataclasses.dataclass(frozen=True)
class LearnedInitialState(CompositeCell):
    """A cell whose initial state is learned: every sequence begins with it, also after a reset. Noisy if the cell is.

        s[0] = cell.initial_state + learned

    All floating arrays of the state are learned, those of every cell of a Stack too; they begin at 0.

    Args:
        cell: any cell with a state.

    Raises:
        InputError: a cell without a floating array in its state.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> cell = LearnedInitialState(LSTM(input_size=2, hidden_size=3))
        >>> params = cell.init(jax.random.key(0))
        >>> {name: array.shape for name, array in params["initial_state"].items()}
        {'c': (3,), 'h': (3,)}

    Forcada, Carrasco 1995, Learning the initial state of a second-order recurrent neural network.
    """

    cell: Cell

    def __post_init__(self):
        check_cell_field(self, self.cell)
        if not self._learned(jax.eval_shape(self._state_of_new, jax.random.key(0))):
            raise InputError(f"LearnedInitialState has nothing to learn: the state of {self.cell} holds no floating array")

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def init(self, key: Key) -> Params:
        """`cell`; `initial_state`, an array of zeros for each floating array of the cell's state, by its path such as "0.h"."""
        params = self.cell.init(key)
        zeros = {name: jnp.zeros(a.shape) for name, a in self._learned(self.cell.initial_state(params)).items()}
        return ({"cell": params} if params else {}) | {"initial_state": zeros}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """The cell's initial state plus the learned arrays."""
        state = self.cell.initial_state(params.get("cell", {}), batch_shape, context=context)
        learned = params["initial_state"]

        def add(path, a):
            start = learned.get(_name(path))
            return a if start is None else a + jnp.broadcast_to(start.astype(a.dtype), a.shape)

        state = jax.tree.map_with_path(add, state)
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array):
        """The cell's projection."""
        return self.cell.project(params.get("cell", {}), xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The parameters, with those of the cell embedded."""
        return embed_part(self.cell, params, "cell", table)

    def recur(self, params: Params, state: State, z, *, dot=product, context=None):
        """The cell's step."""
        return self.cell.recur(params.get("cell", {}), state, z, dot=dot, context=context)

    def unroll(self, params: Params, xs: Array, state: State, **options):
        """The cell over all steps; with a reset a loop over its steps, where the learned state is that before the first."""
        if options.get("reset") is not None:
            return run_steps_of(self, params, xs, state, **options)
        return run(self.cell, params.get("cell", {}), xs, state, **options)

    def _state_of_new(self, key: Key) -> State:
        return self.cell.initial_state(self.cell.init(key))

    def _learned(self, state: State) -> dict[str, Array]:
        """The floating arrays of a state, by path."""
        named = {_name(path): a for path, a in jax.tree.leaves_with_path(state)}
        return {name: a for name, a in named.items() if jnp.issubdtype(a.dtype, jnp.floating)}


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "state"
