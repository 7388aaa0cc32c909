"""A cell that attends to a memory at every step."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.attention.scores import Attention, Memory
from seqjax.checks import check_choice, check_size
from seqjax.contracts import Cell, CompositeCell, check_cell_field
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.parts import embed_part
from seqjax.products import product
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, output_dtype

_feed_init = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # where H features are fed, Glorot per gate


class Attended(NamedTuple):
    """What an attentive cell gives at every step: its output [..., O], and the weights [..., S] of that step."""

    output: Array
    weights: Array


class AttentiveState(NamedTuple):
    """The state of an attentive cell; what its configuration does not need is None.

    Args:
        cell: the cell's own.
        feed: the output of the step before, [*batch_shape, O].
        coverage: the sum of the weights so far, [*batch_shape, S].
        steps: how many there were, int32, [*batch_shape].
    """

    cell: State
    feed: Array | None
    coverage: Array | None
    steps: Array | None


class _Seen(NamedTuple):
    """What an output is made of."""

    h: Array
    found: Array
    weights: Array


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Attentive(CompositeCell):
    """A cell with attention: at every step it reads the memory that is its context.

        order "after" (Luong):      h_t = cell(h_{t-1}, x_t, o_{t-1}),  c_t = attend(h_t)
        order "before" (Bahdanau):  c_t = attend(h_{t-1}),  h_t = cell(h_{t-1}, x_t, c_t)
        both:                       o_t = tanh(W (h_t; c_t) + b),  y_t = Attended(o_t, weights of c_t)

    What is fed (o_{t-1} or c_t) is added, through a kernel, to what the cell makes of its input: `project(x) + F feed`. What is
    not fed back is done for all steps at once, after the loop. Noisy where the cell is.

    Args:
        cell: any cell; with order="before" one whose state has an h (a Stack: the top one's).
        attention: its query_size is the cell's output size.
        output_size: O.
        order: "after" or "before".
        input_feeding: whether o_{t-1} ("after") or c_t ("before") is fed to the cell.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.attention.scores import Additive
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.recurrence.engine import unroll
        >>> attention = Additive(query_size=4, memory_size=6, hidden_size=5)
        >>> cell = Attentive(cell=GRU(input_size=3, hidden_size=4), attention=attention, output_size=7, order="before")
        >>> params = cell.init(jax.random.key(0))
        >>> memory = cell.remember(params, jnp.ones((2, 9, 6)), jnp.ones((2, 9), bool))
        >>> _, ys = unroll(cell, params, jnp.ones((2, 5, 3)), context=memory)
        >>> ys.output.shape, ys.weights.shape
        ((2, 5, 7), (2, 5, 9))

    Bahdanau, Cho, Bengio 2014, arXiv:1409.0473; Luong, Pham, Manning 2015, arXiv:1508.04025 (input feeding: section 3.3).
    """

    cell: Cell
    attention: Attention
    output_size: int
    order: str = "after"
    input_feeding: bool = True

    def __post_init__(self):
        check_cell_field(self, self.cell)
        check_size(self, output_size=self.output_size)
        check_choice(self, ("after", "before"), order=self.order)
        if not isinstance(self.attention, Attention):
            raise InputError(f"Attentive has attention={self.attention!r}, it must be an Attention such as Additive or Dot")
        asks = _hidden(self._shapes.state) if self.order == "before" else self._shapes.y
        if asks.shape != (self.attention.query_size,):
            raise InputError(f"the attention's query_size is {self.attention.query_size}, the cell gives {asks.shape}")
        if self.input_feeding:
            for z in jax.tree.leaves(self._shapes.z):
                if z.ndim != 1 or not jnp.issubdtype(z.dtype, jnp.floating):
                    raise InputError(f"input feeding adds to the cell's projected input, and {self.cell} has {z.dtype}{z.shape}")

    @functools.cached_property
    def _shapes(self) -> "_Shapes":
        def step(key):
            params = self.cell.init(key)
            z = self.cell.project(params, jnp.zeros(self.cell.input_shape or ()))
            state, y = self.cell.recur(params, self.cell.initial_state(params), z)
            return _Shapes(state, z, y)

        return jax.eval_shape(step, jax.random.key(0))

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    @property
    def _feeds_output(self) -> bool:
        return self.input_feeding and self.order == "after"

    @property
    def _attends_at_once(self) -> bool:
        attention = self.attention
        kept = self.input_feeding or self.order == "before" or attention.reads_coverage or attention.reads_steps
        return attention.at_once and not kept

    def init(self, key: Key) -> Params:
        """`cell`, `attention` (none without parameters), `output` (`kernel` [H + C, O], `bias`); if fed `feed_kernel`."""
        k_cell, k_attention, k_output, k_feed = jax.random.split(key, 4)
        read = self.attention.context_size
        kernel = glorot(k_output, (self._shapes.y.shape[0] + read, self.output_size))
        params = {"cell": self.cell.init(k_cell), "output": {"kernel": kernel, "bias": jnp.zeros(self.output_size)}}
        if of_attention := self.attention.init(k_attention):
            params["attention"] = of_attention
        if self.input_feeding:
            size = sum(z.shape[0] for z in jax.tree.leaves(self._shapes.z))
            params["feed_kernel"] = _feed_init(k_feed, (self.output_size if self.order == "after" else read, size))
        return params

    def remember(self, params: Params, values: Array, mask: Array) -> Memory:
        """The memory that is this cell's context: values [..., S, M], mask bool [..., S], as `Attention.remember` makes it."""
        return self.attention.remember(params.get("attention", {}), values, mask)

    def initial_state(
        self, params: Params, batch_shape: Shape = (), *, context: Memory | None = None, key: Key | None = None
    ) -> AttentiveState:
        """The cell's initial state; nothing fed, nothing covered."""
        dtype = at_least_float32(params["output"]["kernel"].dtype)
        coverage = None
        if self.attention.reads_coverage:
            places = _memory(context).mask.shape[-1]
            coverage = jnp.zeros((*batch_shape, places), dtype)
        state = AttentiveState(
            self.cell.initial_state(params["cell"], batch_shape, context=context),
            jnp.zeros((*batch_shape, self.output_size), dtype) if self._feeds_output else None,
            coverage,
            jnp.zeros(batch_shape, jnp.int32) if self.attention.reads_steps else None,
        )
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array) -> Any:
        """The cell's."""
        return self.cell.project(params["cell"], xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The cell's."""
        return embed_part(self.cell, params, "cell", table)

    def recur(self, params: Params, state: AttentiveState, z, *, dot=product, context: Memory | None = None):
        """One step: attend and step, or step and attend; then the output."""
        state, seen = self._step(params, state, z, dot, _memory(context))
        return state, seen if isinstance(seen, Attended) else Attended(self._output(params, seen, dot), seen.weights)

    def unroll(self, params: Params, xs: Array, state: AttentiveState, **options):
        """The recurrence in a loop, the rest over all steps at once."""
        if self._attends_at_once:
            cell, hs = run(self.cell, params["cell"], xs, state.cell, **options)
            attend = functools.partial(self.attention.attend, params.get("attention", {}), memory=_memory(options["context"]))
            found, weights = jax.vmap(lambda h: attend(h), 1, 1)(hs)
            state, seen = state._replace(cell=cell), _Seen(hs, found, weights)
        else:
            state, seen = run(_Recurrence(self), params, xs, state, **options)
        if not isinstance(seen, Attended):
            seen = Attended(self._output(params, seen, product), seen.weights)
        dtype = output_dtype(params, xs)
        return state, Attended(seen.output.astype(dtype), seen.weights.astype(dtype))

    def _step(self, params, state, z, dot, memory) -> tuple[AttentiveState, Any]:
        """One step without what is not fed back: the output then is still to be made."""

        def attend(query):
            of_attention = params.get("attention", {})
            return self.attention.attend(of_attention, query, memory, coverage=state.coverage, steps=state.steps, dot=dot)

        before = attend(_hidden(state.cell)) if self.order == "before" else None
        if self.input_feeding:
            z = _fed(z, state.feed if before is None else before[0], params["feed_kernel"], dot)
        cell, h = self.cell.recur(params["cell"], state.cell, z, dot=dot, context=memory)
        found, weights = before or attend(h)
        seen = _Seen(h, found, weights)
        y = Attended(self._output(params, seen, dot), weights) if self._feeds_output else seen
        new = AttentiveState(
            cell,
            y.output if isinstance(y, Attended) else None,
            None if state.coverage is None else state.coverage + weights,
            None if state.steps is None else state.steps + 1,
        )
        return new, y

    def _output(self, params, seen: _Seen, dot) -> Array:
        kernel, bias = params["output"]["kernel"], params["output"]["bias"]
        out = dot(jnp.concatenate([seen.h, seen.found.astype(seen.h.dtype)], axis=-1), kernel)
        return jnp.tanh(out + jnp.broadcast_to(bias.astype(out.dtype), out.shape))


class _Shapes(NamedTuple):
    """Shapes and dtypes of one step of the cell inside."""

    state: Any
    z: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class _Recurrence(Cell):
    """The part of an attentive cell that is in the loop; it gives what the output is made of."""

    whole: Attentive

    @property
    def input_shape(self) -> Shape | None:
        return self.whole.input_shape

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> AttentiveState:
        return self.whole.initial_state(params, batch_shape, context=context, key=key)

    def project(self, params: Params, xs: Array) -> Any:
        return self.whole.project(params, xs)

    def recur(self, params: Params, state: AttentiveState, z, *, dot=product, context=None):
        return self.whole._step(params, state, z, dot, _memory(context))


def _memory(context) -> Memory:
    if not isinstance(context, Memory):
        raise InputError(f"an Attentive cell's context is the memory that remember gives, not a {type(context).__name__}")
    return context


def _hidden(state) -> Any:
    """h of the topmost cell of a state."""
    found = [s for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "h")) if hasattr(s, "h")]
    if not found:
        raise InputError('order="before" attends with the h of the cell\'s state, which has none: take order="after"')
    return found[-1].h


def _fed(z, feed: Array, kernel: Array, dot):
    """z + feed @ kernel, the product's features dealt out to the leaves of z."""
    leaves, treedef = jax.tree.flatten(z)
    kernels = jnp.split(kernel, [sum(a.shape[-1] for a in leaves[:i]) for i in range(1, len(leaves))], axis=-1)
    return treedef.unflatten([a + dot(feed, part).astype(a.dtype) for a, part in zip(leaves, kernels, strict=True)])
