"""Chains of cells and layers."""

import dataclasses
from typing import Any

from seqjax.checks import kind_of
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.parts import embed_part, init_parts, initial_states, shape_of_first
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State


@register
@dataclasses.dataclass(frozen=True)
class Chain(SequenceLayer):
    """Cells and layers one after another, each over all steps, such as a deep bidirectional network.

    Its state is the tuple of its parts' states, its parameters are `{"0": ..., "1": ...}`. Noisy if a part is.

    Args:
        parts: cells and layers, from the one that reads the input upwards.

    Raises:
        InputError: no parts, or a part that is neither a cell nor a layer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.compose import Dropout
        >>> from seqjax.layers.bidirectional import Bidirectional
        >>> first = Bidirectional(GRU(input_size=3, hidden_size=4))
        >>> second = Bidirectional(GRU(input_size=8, hidden_size=4))
        >>> chain = Chain((first, Dropout(0.2), second))
        >>> chain.apply(chain.init(jax.random.key(0)), jnp.ones((2, 5, 3)))[1].shape
        (2, 5, 8)

    Graves, Mohamed, Hinton 2013.
    """

    parts: tuple[Any, ...]

    def __post_init__(self):
        if not isinstance(self.parts, tuple | list):
            raise InputError(f"Chain takes a tuple of cells and layers, not {kind_of(self.parts)}: give Chain((part, ...))")
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise InputError("Chain has no parts: give at least one")
        for part in self.parts:
            if not isinstance(part, Cell | SequenceLayer):
                raise InputError(f"Chain holds cells and layers, not {kind_of(part)}")

    @property
    def input_shape(self) -> Shape | None:
        return shape_of_first(self.parts)

    def init(self, key: Key) -> Params:
        """{"0": the first part's parameters, ...}."""
        return init_parts(self.parts, key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The tuple of the parts' initial states."""
        return initial_states(self.parts, params, batch_shape, context, key)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The parameters, with those of the first part embedded."""
        return embed_part(self.parts[0], params, "0", table)

    def unroll(self, params: Params, xs: Array, state: State, *, collect: str = "outputs", **options):
        """Every part over all steps, one after another."""
        states, collected = [], {}
        for i, (part, s) in enumerate(zip(self.parts, state, strict=True)):
            part_params = params.get(str(i), {})
            if collect != "outputs":
                collected[str(i)] = run(part, part_params, xs, s, collect=collect, **options)[1]
            s, xs = run(part, part_params, xs, s, **options)
            states.append(s)
        if collect == "gates":
            return tuple(states), {name: gates for name, gates in collected.items() if gates}
        return tuple(states), tuple(collected.values()) if collect == "states" else xs
