"""A cell that attends to a memory at every step."""

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.attention.memory import Memory, Read
from seqjax.attention.scores import Attention
from seqjax.checks import check_choice, check_flag, check_size
from seqjax.contracts import Cell, CompositeCell, check_cell_field
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.noise import Noise
from seqjax.parts import embed_part
from seqjax.products import product
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, output_dtype

_feed_init = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # Glorot for each gate if H features are fed


@register
class Attended(NamedTuple):
    """Outputs of an attentive cell at every step.

    Args:
        output: [..., O].
        weights: the attention weights of that step, [..., S].
        log_p: the log-probability of the places that it drew, [...]; None if its attention does not draw.
    """

    output: Array
    weights: Array
    log_p: Array | None = None


@register
class AttentiveState(NamedTuple):
    """The state of an attentive cell; parts that its configuration does not need are None.

    Args:
        cell: the state of the cell inside.
        feed: the output of the step before, [*batch_shape, O].
        coverage: the sum of the weights so far, [*batch_shape, S].
        steps: the number of steps so far, int32, [*batch_shape].
        noise: feeds the draws of the attention.
    """

    cell: State
    feed: Array | None
    coverage: Array | None
    steps: Array | None
    noise: Noise | None


class _Ingredients(NamedTuple):
    """Ingredients of one output: hidden state [..., H], and the reading of the memory."""

    h: Array
    read: Read


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Attentive(CompositeCell):
    """A cell with attention: at every step it reads the memory that is its context.

        order "after" (Luong):      h_t = cell(h_{t-1}, x_t, o_{t-1}),  c_t = attend(h_t)
        order "before" (Bahdanau):  c_t = attend(h_{t-1}),  h_t = cell(h_{t-1}, x_t, c_t)
        both:                       o_t = tanh(W (h_t; c_t) + b),  y_t = Attended(o_t, weights of c_t)

    The feed (o_{t-1} or c_t) is added, through a kernel, to the cell's projection of its input: `project(x) + F feed`; so are
    vectors of the context. Operations whose results are not fed back run over all steps at once, after the loop. The
    cell is noisy if the cell inside is, or if its attention draws.

    The context is the memory, or a dict of memories and vectors, from which `memory` and `vectors` select by name.

    Args:
        cell: any cell; with order="before" one whose state has an h (of a Stack, the top cell's).
        attention: its query_size is the cell's output size.
        output_size: O.
        order: "after" or "before".
        input_feeding: whether o_{t-1} ("after") or c_t ("before") is fed to the cell.
        memory: name of the memory in a context that is a dict; None: the context is the memory.
        vectors: (name, features) of each vector [*batch_shape, features] of the context that is read at every step.

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
    memory: str | None = None
    vectors: tuple[tuple[str, int], ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "vectors", tuple((name, size) for name, size in self.vectors))
        check_cell_field(self, self.cell)
        check_size(self, output_size=self.output_size)
        check_choice(self, ("after", "before"), order=self.order)
        check_flag(self, input_feeding=self.input_feeding)
        if not isinstance(self.attention, Attention):
            raise InputError(f"Attentive has attention={self.attention!r}, it must be an Attention such as Additive or Dot")
        query = hidden_of(self._shapes.state) if self.order == "before" else self._shapes.y
        if query.shape != (self.attention.query_size,):
            raise InputError(f"the attention's query_size is {self.attention.query_size}, the cell gives {query.shape}")
        check_size(self, **{f"vectors[{name!r}]": size for name, size in self.vectors})
        if self.vectors and self.memory is None:
            raise InputError("vectors are read from a context that is a dict: give memory, the name of the memory in it")
        if self.input_feeding or self.vectors:
            for z in jax.tree.leaves(self._shapes.z):
                if z.ndim != 1 or not jnp.issubdtype(z.dtype, jnp.floating):
                    raise InputError(
                        f"a feed needs a cell that projects to floating vectors, {self.cell} projects to {z.dtype}{z.shape}"
                    )

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
        by_steps = self.order == "before" or attention.reads_coverage or attention.reads_steps or attention.draws
        return attention.at_once and not (by_steps or self.input_feeding or self.vectors)

    def init(self, key: Key) -> Params:
        """`cell`, `attention` (if it has parameters), `output` (`kernel` [H + C, O], `bias`), `feed_kernel`, `vector_kernel`."""
        k_cell, k_attention, k_output, k_feed = jax.random.split(key, 4)
        features = self.attention.context_size
        kernel = glorot(k_output, (self._shapes.y.shape[0] + features, self.output_size))
        params = {"cell": self.cell.init(k_cell), "output": {"kernel": kernel, "bias": jnp.zeros(self.output_size)}}
        if attention_params := self.attention.init(k_attention):
            params["attention"] = attention_params
        size = sum(z.shape[0] for z in jax.tree.leaves(self._shapes.z)) if self.input_feeding or self.vectors else 0
        if self.vectors:
            shape = (sum(width for _, width in self.vectors), size)
            params["vector_kernel"] = _feed_init(jax.random.fold_in(k_feed, 1), shape)
        if self.input_feeding:
            params["feed_kernel"] = _feed_init(k_feed, (self.output_size if self.order == "after" else features, size))
        return params

    def remember(self, params: Params, values: Array, mask: Array) -> Memory:
        """The memory that is this cell's context: values [..., S, M], mask bool [..., S], as `Attention.remember` makes it."""
        return self.attention.remember(params.get("attention", {}), values, mask)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> AttentiveState:
        """The initial state of the cell inside; the feed and the coverage are 0."""
        dtype = at_least_float32(params["output"]["kernel"].dtype)
        if context is not None and self._memory(context).mask.shape[:-1] != batch_shape:
            rows = self._memory(context).mask.shape[:-1]
            raise InputError(f"the memory in the context has batch shape {rows}, xs and the state have {batch_shape}")
        coverage = None
        if self.attention.reads_coverage:
            places = self._memory(context).mask.shape[-1]
            coverage = jnp.zeros((*batch_shape, places), dtype)
        state = AttentiveState(
            self.cell.initial_state(params["cell"], batch_shape, context=context),
            jnp.zeros((*batch_shape, self.output_size), dtype) if self._feeds_output else None,
            coverage,
            jnp.zeros(batch_shape, jnp.int32) if self.attention.reads_steps else None,
            Noise.off(batch_shape) if self.attention.draws else None,
        )
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array) -> Any:
        """The projection of the cell inside."""
        return self.cell.project(params["cell"], xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The same as `Cell.embed`, for the cell inside."""
        return embed_part(self.cell, params, "cell", table)

    def recur(self, params: Params, state: AttentiveState, z, *, dot=product, context=None):
        """One step: attend and step, or step and attend; then the output."""
        state, y = self._step(params, state, z, dot, context)
        return state, y if isinstance(y, Attended) else self._attended(params, y, dot)

    def unroll(self, params: Params, xs: Array, state: AttentiveState, **options):
        """The recurrence in a loop, the rest over all steps at once."""
        if self._attends_at_once:
            cell, hs = run(self.cell, params["cell"], xs, state.cell, **options)
            attend = functools.partial(
                self.attention.attend, params.get("attention", {}), memory=self._memory(options["context"])
            )
            state, ys = state._replace(cell=cell), _Ingredients(hs, jax.vmap(lambda h: attend(h), 1, 1)(hs))
        else:
            state, ys = run(_Recurrence(self), params, xs, state, **options)
        if not isinstance(ys, Attended):
            ys = self._attended(params, ys, product)
        dtype = output_dtype(params, xs)
        return state, jax.tree.map(lambda a: a.astype(dtype), ys)

    def _step(self, params, state, z, dot, context) -> tuple[AttentiveState, Any]:
        """One step: (state, Attended), or (state, _Ingredients) if the output is not fed back."""
        memory, key = self._memory(context), None
        if state.noise is not None and state.noise.key is not None:
            key = noise.fold_counts(state.noise.key, state.noise.count)

        def attend(query):
            sums = {"coverage": state.coverage, "steps": state.steps}
            return self.attention.attend(params.get("attention", {}), query, memory, **sums, key=key, dot=dot)

        before = attend(hidden_of(state.cell)) if self.order == "before" else None
        if self.input_feeding:
            z = _fed(z, state.feed if before is None else before.context, params["feed_kernel"], dot)
        if self.vectors:
            z = _fed(z, self._joined_vectors(context), params["vector_kernel"], dot)
        cell, h = self.cell.recur(params["cell"], state.cell, z, dot=dot, context=context)
        read = attend(h) if before is None else before
        y = _Ingredients(h, read)
        if self._feeds_output:
            y = self._attended(params, y, dot)
        new = AttentiveState(
            cell,
            y.output if isinstance(y, Attended) else None,
            None if state.coverage is None else state.coverage + read.weights,
            None if state.steps is None else state.steps + 1,
            None if state.noise is None else state.noise.advance(),
        )
        return new, y

    def _attended(self, params, ingredients: _Ingredients, dot) -> Attended:
        kernel, bias = params["output"]["kernel"], params["output"]["bias"]
        h, read = ingredients
        out = dot(jnp.concatenate([h, read.context.astype(h.dtype)], axis=-1), kernel)
        out = jnp.tanh(out + jnp.broadcast_to(bias.astype(out.dtype), out.shape))
        return Attended(out, read.weights, read.log_p)

    def _memory(self, context) -> Memory:
        """The memory that it attends to."""
        memory = context
        if self.memory is not None:
            if not isinstance(context, dict) or self.memory not in context:
                raise InputError(f'an Attentive cell with memory="{self.memory}" needs a context that is a dict with this memory')
            memory = context[self.memory]
        if not isinstance(memory, Memory):
            raise InputError(f"an Attentive cell's context is the memory that remember gives, not a {type(memory).__name__}")
        return memory

    def _joined_vectors(self, context) -> Array:
        """The vectors of the context side by side, [*batch_shape, features]."""
        for name, size in self.vectors:
            if name not in context or context[name].shape[-1] != size:
                shape = context[name].shape if name in context else "missing"
                raise InputError(f'the vector "{name}" of the context is {shape}, it must be [B, {size}]')
        return jnp.concatenate([context[name] for name, _ in self.vectors], axis=-1)


class _Shapes(NamedTuple):
    """Shapes and dtypes of one step of the cell inside."""

    state: Any
    z: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class _Recurrence(Cell):
    """The part of an attentive cell that stays in the loop; it returns the ingredients of the cell's outputs."""

    attentive: Attentive

    @property
    def input_shape(self) -> Shape | None:
        return self.attentive.input_shape

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> AttentiveState:
        return self.attentive.initial_state(params, batch_shape, context=context, key=key)

    def project(self, params: Params, xs: Array) -> Any:
        return self.attentive.project(params, xs)

    def recur(self, params: Params, state: AttentiveState, z, *, dot=product, context=None):
        return self.attentive._step(params, state, z, dot, context)


def hidden_of(state) -> Any:
    """h of the topmost cell of a state."""
    states = [s for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "h")) if hasattr(s, "h")]
    if not states:
        raise InputError(
            'attention before a step reads the h of the cell\'s state; this state has no h: take another cell, or order="after"'
        )
    return states[-1].h


def _fed(z, feed: Array, kernel: Array, dot):
    """z + feed @ kernel, the product's features split among the leaves of z."""
    leaves, treedef = jax.tree.flatten(z)
    out, end = dot(feed, kernel), itertools.accumulate(a.shape[-1] for a in leaves)
    return treedef.unflatten(a + out[..., i - a.shape[-1] : i].astype(a.dtype) for a, i in zip(leaves, end, strict=True))
