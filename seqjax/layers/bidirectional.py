"""What reads a whole sequence and cannot step: bidirectional layers, and chains of layers and cells."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.checks import check_choice
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.parts import embed_part, init_parts, initial_states, shape_of_first
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

    Its state is (forward, backward), its parameters `{"forward": ..., "backward": ...}`. Noisy where a cell is.

    Args:
        forward: a cell.
        backward: a cell; None: one like `forward`, with parameters of its own.
        merge: "concat" (along the features), "sum" or "mean".

    Raises:
        InputError: something that is not a cell, or an unknown merge.

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
                raise InputError(
                    f"Bidirectional runs cells, not a {type(cell).__name__}: layers go one after another into a Chain"
                )

    @property
    def _cells(self) -> tuple[Cell, Cell]:
        return self.forward, self.forward if self.backward is None else self.backward

    @property
    def input_shape(self) -> Shape | None:
        return self.forward.input_shape

    def init(self, key: Key) -> Params:
        """{"forward": ..., "backward": ...}."""
        forward, backward = self._cells
        k_forward, k_backward = jax.random.split(key)
        return {"forward": forward.init(k_forward), "backward": backward.init(k_backward)}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """(forward's, backward's)."""
        forward, backward = self._cells
        state = (
            forward.initial_state(params["forward"], batch_shape, context=context),
            backward.initial_state(params["backward"], batch_shape, context=context),
        )
        return state if key is None else noise.reseed(state, key)

    def embed(self, params: Params, table: Array) -> Params | None:
        """Both cells'."""
        forward, backward = self._cells
        embedded = embed_part(forward, params, "forward", table)
        return None if embedded is None else embed_part(backward, embedded, "backward", table)

    def unroll(self, params: Params, xs: Array, state: State, *, reverse: bool = False, collect: str = "outputs", **options):
        """Both directions over all steps."""
        forward, backward = self._cells
        options["collect"] = collect
        first, ys = run(forward, params["forward"], xs, state[0], reverse=reverse, **options)
        second, back = run(backward, params["backward"], xs, state[1], reverse=not reverse, **options)
        if collect == "states":
            return (first, second), (ys, back)
        if self.merge != "concat" and jax.tree.map(jnp.shape, ys) != jax.tree.map(jnp.shape, back):
            both = f"{jax.tree.map(jnp.shape, ys)} and {jax.tree.map(jnp.shape, back)}"
            raise InputError(f"Bidirectional with merge={self.merge!r} needs equal outputs of both cells: they are {both}")
        return (first, second), jax.tree.map(_MERGES[self.merge], ys, back)


@register
@dataclasses.dataclass(frozen=True)
class Chain(SequenceLayer):
    """Cells and layers one after another, each over all steps: a deep bidirectional network, say.

    Its state is the tuple of its parts' states, its parameters `{"0": ..., "1": ...}`. Noisy where a part is.

    Args:
        parts: cells and layers, the one that reads the input first.

    Raises:
        InputError: no parts, or something that is neither a cell nor a layer.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.compose import Dropout
        >>> first = Bidirectional(GRU(input_size=3, hidden_size=4))
        >>> second = Bidirectional(GRU(input_size=8, hidden_size=4))
        >>> chain = Chain((first, Dropout(0.2), second))
        >>> chain.apply(chain.init(jax.random.key(0)), jnp.ones((2, 5, 3)))[1].shape
        (2, 5, 8)

    Graves, Mohamed, Hinton 2013.
    """

    parts: tuple[Any, ...]

    def __post_init__(self):
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise InputError("Chain has no parts: give at least one")
        for part in self.parts:
            if not isinstance(part, Cell | SequenceLayer):
                raise InputError(f"Chain holds cells and layers, not a {type(part).__name__}")

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
        """The first part's."""
        return embed_part(self.parts[0], params, "0", table)

    def unroll(self, params: Params, xs: Array, state: State, *, collect: str = "outputs", **options):
        """Every part over all steps, one after another."""
        states, collected = [], []
        for i, (part, s) in enumerate(zip(self.parts, state, strict=True)):
            of_part = params.get(str(i), {})
            if collect == "states":
                collected.append(run(part, of_part, xs, s, collect=collect, **options)[1])
            s, xs = run(part, of_part, xs, s, **options)
            states.append(s)
        return tuple(states), tuple(collected) if collect == "states" else xs
