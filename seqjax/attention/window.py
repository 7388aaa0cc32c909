"""A cell that reads a window of its last inputs at every step, by soft attention."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.attention.attentive import hidden_of
from seqjax.attention.memory import masked_softmax, read_out
from seqjax.checks import check_size
from seqjax.contracts import Cell, check_cell_field
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, is_tokens


def slid(kept: Array, new: Array, axis: int) -> Array:
    """A window [..., N, ...] moved by one step along an axis: the oldest entry leaves, and a new one [..., ...] is the latest."""
    others = jax.lax.slice_in_dim(kept, 1, kept.shape[axis], axis=axis)
    return jnp.concatenate([others, jnp.expand_dims(new.astype(kept.dtype), axis)], axis)


def window_softmax(scores: Array, count: Array) -> Array:
    """The softmax of scores [..., N] over the last `count` [...] entries of a window."""
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    return masked_softmax(scores, places >= scores.shape[-1] - jnp.broadcast_to(count[..., None], scores.shape))


@register
class WindowState(NamedTuple):
    """The state of a cell that attends to a window.

    Args:
        cell: the state of the cell inside.
        values: the last N inputs, the latest last, [*batch_shape, N, D].
        keys: the part of their scores that depends on them alone, [*batch_shape, N, A].
        count: inputs read so far, at most N, int32, [*batch_shape].
    """

    cell: State
    values: Array
    keys: Array
    count: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowedCell(Cell):
    """The base of cells that attend to a window of N vectors, which moves by one at every step.

    Args:
        cell: any cell that reads vectors and whose state has an h (of a Stack, the top cell's).
        window: N, in steps.
        hidden_size: A, features of the scores.
    """

    cell: Cell
    window: int
    hidden_size: int

    def __post_init__(self):
        check_cell_field(self, self.cell)
        check_size(self, window=self.window, hidden_size=self.hidden_size)
        shape, name = self.cell.input_shape, type(self).__name__
        if shape is None or len(shape) != 1:
            raise InputError(f"{name} scores vectors, and its cell reads {shape}: put a cell that makes them before it")
        jax.eval_shape(lambda key: hidden_of(self.cell.initial_state(self.cell.init(key))), jax.random.key(0))

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def _check_vectors(self, xs: Array):
        if is_tokens(xs, self.input_shape):
            raise InputError(f"{type(self).__name__} scores vectors, and integer tokens are none: embed them first")


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowAttention(WindowedCell):
    """A cell that reads, at every step, a mean of the last N inputs under soft attention: the multiple inputs of a MultiLSTM.

        e_s = w . (tanh(W_h h_{t-1}) * tanh(W_v v_s)),   t - N < s <= t
        x_t = sum over s of softmax(e)_s v_s;    h_t = cell(h_{t-1}, x_t)

    Before the N-th step the window holds all inputs so far. Unlike `Attentive`, the cell needs no memory of the whole sequence,
    so it runs online; `PastAttention` attends to the cell's own states instead. Noisy if the cell inside is.

    Args:
        cell: any cell that reads vectors and whose state has an h (of a Stack, the top cell's).
        window: N, in steps.
        hidden_size: A, features of the scores.

    Raises:
        InputError: a size below 1, or a cell that does not read vectors or has no h; on use, tokens.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> from seqjax.recurrence.engine import unroll
        >>> cell = WindowAttention(cell=LSTM(input_size=3, hidden_size=4), window=5, hidden_size=2)
        >>> state, ys = unroll(cell, cell.init(jax.random.key(0)), jnp.ones((2, 9, 3)))
        >>> ys.shape, state.values.shape
        ((2, 9, 4), (2, 5, 3))

    Yeung et al. 2015, Every Moment Counts, arXiv:1507.05738.
    """

    @property
    def _size(self) -> int:
        return self.cell.input_shape[0]  # type: ignore[index]

    def init(self, key: Key) -> Params:
        """`cell`; `query_kernel` W_h [H, A], `key_kernel` W_v [D, A], `score_vector` w [A]."""
        k_cell, k_query, k_key, k_score = jax.random.split(key, 4)
        cell = self.cell.init(k_cell)
        state = jax.eval_shape(lambda: hidden_of(self.cell.initial_state(cell)))
        return {
            "cell": cell,
            "query_kernel": glorot(k_query, (state.shape[-1], self.hidden_size)),
            "key_kernel": glorot(k_key, (self._size, self.hidden_size)),
            "score_vector": glorot(k_score, (self.hidden_size, 1))[:, 0],
        }

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> WindowState:
        """The initial state of the cell inside, and an empty window."""
        dtype = at_least_float32(params["key_kernel"].dtype)
        state = WindowState(
            self.cell.initial_state(params["cell"], batch_shape, context=context),
            jnp.zeros((*batch_shape, self.window, self._size), dtype),
            jnp.zeros((*batch_shape, self.window, self.hidden_size), dtype),
            jnp.zeros(batch_shape, jnp.int32),
        )
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array) -> tuple[Array, Array]:
        """(the inputs v, tanh(W_v v))."""
        self._check_vectors(xs)
        return xs, jnp.tanh(product(xs, params["key_kernel"]))

    def recur(self, params: Params, state: WindowState, z: Any, *, dot=product, context=None) -> tuple[WindowState, Any]:
        """The window moves by one input and is read; the cell inside makes a step."""
        dtype, rank = state.values.dtype, state.count.ndim
        values, keys = (slid(kept, new, rank) for kept, new in zip((state.values, state.keys), z, strict=True))  # [..., N, D | A]
        count = jnp.minimum(state.count + 1, self.window)
        query = jnp.tanh(dot(hidden_of(state.cell), params["query_kernel"])).astype(dtype)  # [..., A]
        vector = jnp.broadcast_to(params["score_vector"].astype(dtype), query.shape)
        scores = jnp.einsum("...na,...a->...n", keys, query * vector)
        weights = window_softmax(scores, count)  # [..., N]
        x = read_out(weights, values)  # [..., D]
        cell, y = self.cell.recur(params["cell"], state.cell, self.cell.project(params["cell"], x), dot=dot, context=context)
        return WindowState(cell, values, keys, count), y
