"""A cell that reads a window of its own last states at every step, by soft attention."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import noise, tree
from seqjax.attention.attentive import hidden_of
from seqjax.attention.window import WindowedCell, slid, window_softmax
from seqjax.initializers import glorot
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32


@register
class PastState(NamedTuple):
    """The state of a cell that attends to its past.

    Args:
        cell: its state after the last step.
        past: the floating arrays of its last N states, the latest last, [*batch_shape, N, ...] each.
        keys: the part of their scores that depends on them alone, [*batch_shape, N, A].
        read: the h that was read at the last step, [*batch_shape, H].
        count: states in the window, the initial one included, int32, [*batch_shape].
    """

    cell: State
    past: tuple[Array, ...]
    keys: Array
    read: Array
    count: Array


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class PastAttention(WindowedCell):
    """A cell whose steps begin with a mean of its last N states under soft attention, in place of the last state alone.

        e_s = w . tanh(W_s h_s + W_x x_t + W_r r_{t-1}),   t - N <= s < t
        r_t = sum over s of softmax(e)_s h_s,   and so for every array of the state
        s_t = cell(r_t, x_t)

    In the beginning the window holds the initial state. With an LSTM, whose c is read like h, this is the memory network LSTMN.
    Noisy if the cell inside is.

    Args:
        cell: any cell that reads vectors and whose state has an h (of a Stack, the top cell's).
        window: N, in steps.
        hidden_size: A, features of the scores.

    Raises:
        InputError: a size below 1, or a cell that does not read vectors or has no h; on use, tokens.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> from seqjax.recurrence.engine import unroll
        >>> cell = PastAttention(cell=LSTM(input_size=3, hidden_size=4), window=5, hidden_size=2)
        >>> state, ys = unroll(cell, cell.init(jax.random.key(0)), jnp.ones((2, 9, 3)))
        >>> ys.shape, state.keys.shape
        ((2, 9, 4), (2, 5, 2))

    Cheng, Dong, Lapata 2016, Long Short-Term Memory-Networks for Machine Reading, arXiv:1601.06733.
    """

    def init(self, key: Key) -> Params:
        """`cell`; `state_kernel` W_s and `read_kernel` W_r [H, A], `input_kernel` W_x [D, A], `score_vector` w [A]."""
        k_cell, k_state, k_read, k_input, k_score = jax.random.split(key, 5)
        cell, size = self.cell.init(k_cell), self.hidden_size
        hidden = jax.eval_shape(lambda: hidden_of(self.cell.initial_state(cell))).shape[-1]
        [features] = self.input_shape  # type: ignore[misc]
        return {
            "cell": cell,
            "state_kernel": glorot(k_state, (hidden, size)),
            "read_kernel": glorot(k_read, (hidden, size)),
            "input_kernel": glorot(k_input, (features, size)),
            "score_vector": glorot(k_score, (size, 1))[:, 0],
        }

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> PastState:
        """The initial state of the cell inside, alone in the window; r = 0."""
        cell = self.cell.initial_state(params["cell"], batch_shape, context=context)
        h, axis = hidden_of(cell), len(batch_shape)

        def alone(a):
            window = jnp.zeros((*batch_shape, self.window, *a.shape[axis:]), at_least_float32(a.dtype))
            return slid(window, a, axis)

        past = tuple(map(alone, _floating(cell)))
        keys, count = alone(product(h, params["state_kernel"])), jnp.ones(batch_shape, jnp.int32)
        state = PastState(cell, past, keys, jnp.zeros(h.shape, h.dtype), count)
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array) -> tuple[Array, Any]:
        """(W_x x, the cell's projection)."""
        self._check_vectors(xs)
        return product(xs, params["input_kernel"]), self.cell.project(params["cell"], xs)

    def recur(self, params: Params, state: PastState, z: Any, *, dot=product, context=None) -> tuple[PastState, Any]:
        """The window is read, the cell inside makes a step from the mean, and its new state enters the window."""
        (query, z), axis = z, state.count.ndim
        query = query + dot(state.read, params["read_kernel"])  # [..., A]
        keys = state.keys  # [..., N, A]
        vector = jnp.broadcast_to(params["score_vector"].astype(keys.dtype), keys.shape)
        scores = (vector * jnp.tanh(keys + jnp.broadcast_to(query[..., None, :], keys.shape))).sum(-1)
        weights = window_softmax(scores, state.count)  # [..., N]

        def mean(a):  # [..., N, ...] to [..., ...]
            return (jnp.broadcast_to(tree.expand_right(weights, a.ndim).astype(a.dtype), a.shape) * a).sum(axis)

        read = _with_floating(state.cell, tuple(map(mean, state.past)))
        cell, y = self.cell.recur(params["cell"], read, z, dot=dot, context=context)
        past = tuple(slid(kept, new, axis) for kept, new in zip(state.past, _floating(cell), strict=True))
        keys = slid(keys, dot(hidden_of(cell), params["state_kernel"]), axis)
        count = jnp.minimum(state.count + 1, self.window)
        return PastState(cell, past, keys, hidden_of(read), count), y


def _floating(state: State) -> list[Array]:
    return [a for a in jax.tree.leaves(noise.split_keys(state)[0]) if jnp.issubdtype(a.dtype, jnp.floating)]


def _with_floating(state: State, arrays: tuple[Array, ...]) -> State:
    """The state with other floating arrays."""
    (bare, keys), others = noise.split_keys(state), iter(arrays)
    bare = jax.tree.map(lambda a: next(others) if jnp.issubdtype(a.dtype, jnp.floating) else a, bare)
    return noise.join_keys(bare, keys)
