"""Bidirectional layers."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.checks import check_choice, kind_of
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.parts import embed_part
from seqjax.recurrence.arguments import check_array
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State

_MERGES = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
}


@register
@dataclasses.dataclass(frozen=True)
class Bidirectional(SequenceLayer):
    """One cell from the first step to the last, another from the last to the first, merged at every step.

        y[t] = merge(forward(x)[t], backward(x)[t])

    Its state is (forward, backward), its parameters are `{"forward": ..., "backward": ...}`. Noisy if a cell is.

    Args:
        forward: a cell.
        backward: a cell; None: a second `forward` with its own parameters.
        merge: "concat" (along the features), "sum" or "mean".

    Raises:
        InputError: a part that is not a cell, or an unknown merge; on use, outputs of unequal shapes that are to be added.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> layer = Bidirectional(GRU(input_size=3, hidden_size=4))
        >>> _, ys = layer.apply(layer.init(jax.random.key(0)), jnp.ones((2, 5, 3)))
        >>> ys.shape
        (2, 5, 8)

    Schuster, Paliwal 1997.
    """

    forward: Cell
    backward: Cell | None = None
    merge: str = "concat"

    def __post_init__(self):
        check_choice(self, tuple(_MERGES), merge=self.merge)
        for cell in self._cells:
            if not isinstance(cell, Cell):
                raise InputError(f"Bidirectional runs cells, not {kind_of(cell)}: put layers one after another into a Chain")

    @property
    def _cells(self) -> tuple[Cell, Cell]:
        return self.forward, self.forward if self.backward is None else self.backward

    @property
    def input_shape(self) -> Shape | None:
        return self.forward.input_shape

    def init(self, key: Key) -> Params:
        """Parameters {"forward": ..., "backward": ...}."""
        forward, backward = self._cells
        k_forward, k_backward = jax.random.split(key)
        return {"forward": forward.init(k_forward), "backward": backward.init(k_backward)}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The initial states (forward, backward)."""
        forward, backward = self._cells
        state = (
            forward.initial_state(params["forward"], batch_shape, context=context),
            backward.initial_state(params["backward"], batch_shape, context=context),
        )
        return state if key is None else noise.reseed(state, key)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The parameters with those of both cells embedded."""
        forward, backward = self._cells
        embedded = embed_part(forward, params, "forward", table)
        return None if embedded is None else embed_part(backward, embedded, "backward", table)

    def unroll(self, params: Params, xs: Array, state: State, *, reverse: bool = False, collect: str = "outputs", **options):
        """Both directions over all steps."""
        forward, backward = self._cells
        options["collect"] = collect
        state_forward, ys_forward = run(forward, params["forward"], xs, state[0], reverse=reverse, **options)
        state_backward, ys_backward = run(backward, params["backward"], xs, state[1], reverse=not reverse, **options)
        states = state_forward, state_backward
        if collect == "states":
            return states, (ys_forward, ys_backward)
        if collect == "gates":
            gates = {"forward": ys_forward, "backward": ys_backward}
            return states, {name: of_cell for name, of_cell in gates.items() if of_cell}
        for ys in (ys_forward, ys_backward):
            check_array(self, ys)
        shapes = [ys_forward.shape, ys_backward.shape]
        if self.merge != "concat" and shapes[0] != shapes[1]:
            both = f"{shapes[0]} and {shapes[1]}"
            raise InputError(f"Bidirectional with merge={self.merge!r} needs equal outputs of both cells: they are {both}")
        return states, _MERGES[self.merge](ys_forward, ys_backward)
