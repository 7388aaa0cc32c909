"""The contracts of cells, composites, layers, models and decoders. Everything else is written against these.

A recurrent network is a part that sees only the input (`project`, all time steps at once) and a
part that sees the state (`recur`, step by step). Every cell says which is which, and writes its
recurrent products through one door, `dot`.
"""

import dataclasses
import math
from typing import Any, ClassVar, Protocol

import jax.numpy as jnp

from seqjax import masks
from seqjax.checks import kind_of
from seqjax.errors import InputError
from seqjax.noise import reseed
from seqjax.placement import automatic, varying_as
from seqjax.products import product
from seqjax.types import Array, Key, Params, Shape, State, is_tokens
from seqjax.values import Value
from seqjax.weighted import Weighted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell(Value):
    """One step of recurrence, as a value: equal cells are one jit trace.

    A cell is a frozen dataclass with hashable fields and five members: input_shape, init, initial_state, project, recur.
    `step`, the unrolled sequence and its derivatives follow from them.

        state, y = recur(params, state, project(params, x))

    Args:
        fields: each cell declares its own, keyword-only.

    Returns:
        A value to pass to `seqjax.unroll`.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Leaky(Cell):  # h = h / 2 + x
        ...     size: int
        ...     input_shape = property(lambda self: (self.size,))
        ...     def init(self, key):
        ...         return {}
        ...     def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        ...         return jnp.zeros((*batch_shape, self.size))
        ...     def recur(self, params, state, z, *, dot=product, context=None):
        ...         state = state / 2 + z
        ...         return state, state
        >>> Leaky(size=1).step({}, jnp.array([2.0]), jnp.array([1.0]))[1].tolist()
        [2.0]
    """

    gates: ClassVar[tuple[str, ...]] = ()  # names of the gates, which `recur` records (see gates.py)
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = {}  # the gates of parameters that do not hold all of them, by name
    input_kernels: ClassVar[tuple[str, ...]] = ()  # names of the parameters [D, ...] that `project` multiplies xs by

    @property
    def input_shape(self) -> Shape | None:
        """The shape of one row's input at one step, (D,) for most cells; None: any shape."""
        raise NotImplementedError

    def init(self, key: Key) -> Params:
        """Parameters, a nested plain dict of arrays."""
        raise NotImplementedError

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """The state before the first step; every leaf [*batch_shape, ...]. `key` turns noise on."""
        raise NotImplementedError

    def project(self, params: Params, xs: Array) -> Any:
        """The part that needs no state: each step alone, over any leading axes, [..., *input_shape] to zs [..., ...]."""
        return xs

    def recur(self, params: Params, state: State, z, *, dot=product, context=None) -> tuple[State, Any]:
        """One step from the output of `project`; every product with a recurrent kernel is written `dot(h, kernel)`."""
        raise NotImplementedError

    def step(self, params: Params, state: State, x: Array, context=None) -> tuple[State, Any]:
        """One step from an input: `recur(params, state, project(params, x))`, a `jax.lax.scan` body.

        Args:
            params: from `init`.
            state: leaves [*batch_shape, ...].
            x: [*batch_shape, *input_shape], or integer tokens [*batch_shape].
            context: a pytree that is the same at every step.

        Returns:
            (state, y), y [*batch_shape, ...].
        """

        def one_step(params, state, x, context):
            return self.recur(params, state, self.project(params, x), context=context)

        return automatic(one_step, params, state, x, context, rows=(x, state))

    def embed(self, params: Params, table: Array) -> Params | None:
        """Parameters for reading symbols through an embedding table: E W in place of each of `input_kernels`.

            project(embed(params, E), tokens) == project(params, E[tokens])

        Args:
            params: from `init`.
            table: [V, D].

        Returns:
            Parameters whose input kernels have V rows, float32 or wider; None if the cell names no input kernels.
        """
        if not self.input_kernels:
            return None
        return params | {name: product(table, params[name]) for name in self.input_kernels}

    def split(self, params: Params) -> dict[str, Params]:
        """The parameters gate by gate.

        Args:
            params: from `init`, arrays [..., nH] of n gates side by side (of heads: [N, H/N, n H/N]); an array of another width
                belongs to the gates that `gates_of` names, or to the last.

        Returns:
            {gate: {name: [..., H]}}, names as in `gates`.

        Raises:
            InputError: the cell has no gates.

        Example:
            >>> import jax
            >>> from seqjax.cells.lstm import LSTM
            >>> cell = LSTM(input_size=2, hidden_size=3)
            >>> cell.split(cell.init(jax.random.key(0)))["f"]["bias"].tolist()
            [1.0, 1.0, 1.0]
        """
        if not self.gates:
            raise InputError(f"{type(self).__name__} names no gates: its parameters cannot be split")
        views: dict[str, Params] = {gate: {} for gate in self.gates}
        for name, array in params.items():
            gates = self.gates_of.get(name) or self._gates_by_width(params, array)
            for gate, part in zip(gates, jnp.split(array, len(gates), axis=-1), strict=True):
                views.setdefault(gate, {})[name] = part
        return views

    def _gates_by_width(self, params: Params, array: Array) -> tuple[str, ...]:
        """All gates, or the last, for which alone an array is wide enough."""
        *heads, _, columns = params["recurrent_kernel"].shape
        size = columns // len(self.gates_of.get("recurrent_kernel", self.gates))  # units of a head
        holds_all = array.shape[-1] == len(self.gates) * (size if array.ndim == 3 else math.prod(heads, start=size))
        return self.gates if holds_all else self.gates[-1:]


class CompositeCell(Cell):
    """A cell with its own way of running a whole sequence: a stack of parts, or one operation over all steps.

    `recur` is still defined, for stepping, decoding and wrappers. The laws check that the two agree.

    Args:
        fields: each composite declares its own.

    Returns:
        A value to pass to `seqjax.unroll`.

    Example:
        >>> from seqjax.compose import Dense, Stack
        >>> isinstance(Stack((Dense(2, 3), Dense(3, 1))), CompositeCell)
        True
    """

    def unroll(self, params: Params, xs: Array, state: State, **options) -> tuple[State, Any]:
        """All steps at once, over a batch, with `mask` in place of lengths. The engine's `run` unrolls the parts.

        Args:
            params: from `init`.
            xs: [B, T, *input_shape].
            state: leaves [B, ...].
            **options: mask, reset, context, reverse, backend, remat: passed on to every part.

        Returns:
            (state, ys), ys [B, T, ...]. Masked steps of ys may hold anything finite.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SequenceLayer(Value):
    """A layer that reads a whole sequence and cannot step, such as a bidirectional one.

    Args:
        fields: each layer declares its own.

    Returns:
        A value to pass to `seqjax.unroll`.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.layers import Bidirectional
        >>> isinstance(Bidirectional(GRU(input_size=2, hidden_size=3)), SequenceLayer)
        True
    """

    @property
    def input_shape(self) -> Shape | None:
        """The shape of one step of one row."""
        raise NotImplementedError

    def init(self, key: Key) -> Params:
        """Parameters, a nested plain dict of arrays."""
        raise NotImplementedError

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """The state before the first step; every leaf [*batch_shape, ...]."""
        raise NotImplementedError

    def embed(self, params: Params, table: Array) -> Params | None:
        """The same as `Cell.embed`; None unless a layer defines it."""
        return None

    def unroll(self, params: Params, xs: Array, state: State, **options) -> tuple[State, Any]:
        """The same as `CompositeCell.unroll`, with the further option collect ("outputs", "states" or "gates")."""
        raise NotImplementedError

    def apply(
        self,
        params: Params,
        xs: Array,
        state: State = None,
        *,
        lengths=None,
        mask=None,
        reset=None,
        key: Key | None = None,
        context=None,
        reverse: bool = False,
        backend: str = "auto",
        remat: int | str | None = None,
        collect: str = "outputs",
    ) -> tuple[State, Any]:
        """All steps at once, over a batch; `seqjax.unroll` adds checks, jit, and zeros at padded steps.

        Args:
            params: from `init`.
            xs: [B, T, *input_shape].
            state: leaves [B, ...]; None: the initial state.
            lengths, mask, reset, key, context, reverse, backend, remat, collect: as in `seqjax.unroll`.

        Returns:
            (state, ys), ys [B, T, ...].
        """
        leading, rank = xs.shape[:2], 0 if is_tokens(xs, self.input_shape) else len(self.input_shape or ())
        if self.input_shape is not None and xs.ndim != 2 + rank:
            raise InputError(f"{type(self).__name__}.apply got xs of shape {xs.shape}, it reads [B, T, ...] of rank {2 + rank}")
        mask, reset = masks.resolve(lengths, mask, leading), masks.resolve_reset(reset, leading)
        options = {"reverse": reverse, "backend": backend, "remat": remat, "collect": collect}

        def run(params, xs, state, mask, reset, context, key):
            if state is None:
                state = self.initial_state(params, leading[:1], context=context, key=key)
            elif key is not None:
                state = reseed(state, key)
            return self.unroll(params, xs, varying_as(state, xs), mask=mask, reset=reset, context=context, **options)

        return automatic(run, params, xs, state, mask, reset, context, key, rows=(xs, state, mask, reset, context))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Value):
    """A network with a loss: the interface that the training loop uses.

    A batch is a plain dict of arrays; `key` feeds every dropout, the cells' noise included. `unit` names the thing that the
    loss counts: "token", "clip", "frame", "image", "second", in nats each; or "value", whose loss is a squared error.

    Args:
        fields: each model declares its own, keyword-only.

    Returns:
        A value to pass to the training loop.

    Example:
        >>> import jax
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Mean(Model):  # predicts one number
        ...     def init(self, key):
        ...         return {"mean": jnp.zeros(())}
        ...     def apply(self, params, batch, *, state=None, key=None):
        ...         return (), params["mean"]
        ...     def loss(self, outputs, batch):
        ...         return Weighted(((batch["y"] - outputs) ** 2).sum(), jnp.asarray(float(batch["y"].size)))
        >>> batch = {"y": jnp.array([1.0, 3.0])}
        >>> model = Mean()
        >>> float(model.loss(model.apply(model.init(jax.random.key(0)), batch)[1], batch).mean)
        5.0
    """

    unit: ClassVar[str] = "example"

    @property
    def vocabulary_sizes(self) -> tuple[int, ...]:
        """The sizes of the model's vocabularies, in the order in which a run saves them; () for a model without symbols."""
        return ()

    def init(self, key: Key) -> Params:
        """Parameters, a nested plain dict of arrays."""
        raise NotImplementedError

    def initial_state(self, params: Params, batch_size: int) -> State:
        """The state carried from batch to batch; () if nothing is carried."""
        return ()

    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[State, Any]:
        """(state, outputs) after a batch. `state=None`: the initial state; `key=None`: deterministic."""
        raise NotImplementedError

    def loss(self, outputs, batch: dict) -> Weighted:
        """The loss of the outputs, as a sum and its weight."""
        raise NotImplementedError

    def figures(self, outputs, batch: dict) -> dict[str, Weighted]:
        """Figures of a batch by name, each a sum and its weight, which training and evaluation add up; "loss" is one of them."""
        return {"loss": self.loss(outputs, batch)}


class Decoder(Protocol):
    """A model that emits one symbol after another: the interface that a search uses.

        memory, state, token = start(params, batch)
        state, logits = step(params, memory, state, token);   p(next symbol) = softmax(logits)

    Decoders are static under jit, so they must be hashable. A class need not inherit from this one. A class with `gives_scores`
    = True returns log-probabilities from `step`, or other scores, which a search adds up as they are.

    Example:
        >>> import jax
        >>> from seqjax.decode import greedy
        >>> class Markov:  # p(next | symbol) is a row of a table
        ...     attends = False
        ...     def start(self, params, batch):
        ...         return (), (), batch["token"]
        ...     def step(self, params, memory, state, token):
        ...         return state, params[token]
        >>> greedy(Markov(), jnp.eye(3)[::-1], {"token": jnp.array([0])}, max_length=3).tokens.tolist()
        [[2, 0, 2]]
    """

    @property
    def attends(self) -> bool:
        """True for an `AttendingDecoder`."""
        ...

    def start(self, params: Any, batch: dict) -> tuple[Any, State, Array]:
        """(memory, state, token) before the first step over a batch.

        Args:
            params: the parameters.
            batch: a dict of arrays with B rows.

        Returns:
            memory: a pytree that is the same at every step; state: leaves [B, ...]; token: the symbol that the first step reads,
            integer [B].
        """
        ...

    def step(self, params: Any, memory: Any, state: State, token: Array) -> tuple[State, Array]:
        """Reads one symbol of each row.

        Args:
            params: the parameters.
            memory: returned by `start`.
            state: leaves [B, ...].
            token: integer [B].

        Returns:
            (state, logits [B, V]), -inf for symbols that the decoder never emits.
        """
        ...


class AttendingDecoder(Decoder, Protocol):
    """A decoder that reads its memory by attention, at S places; its `attends` is True."""

    def attend(self, params: Any, memory: Any, state: State, token: Array) -> tuple[State, Array, Array]:
        """`step`, and its attention weights: (state, logits [B, V], weights [B, S])."""
        ...

    def attended(self, memory: Any) -> Array:
        """The places that attention may read, bool [B, S]: False at padding."""
        ...


def check_cell_field(owner, cell):
    """Raise InputError unless `cell` is a cell, which a layer is not."""
    if not isinstance(cell, Cell):
        raise InputError(f"{type(owner).__name__} wraps a cell, and {kind_of(cell)} is not one: it cannot step")
