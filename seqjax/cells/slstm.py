"""sLSTM: long short-term memory with exponential gates."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.cells.hidden import VectorCell
from seqjax.checks import check_choice, check_heads, check_number
from seqjax.gates import gate_values, project_input, record_gates, recurrent_product
from seqjax.initializers import gate_kernel, recurrent_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.thresholds import LSTM_BIAS_ROW
from seqjax.types import Array, Key, Params, Shape, at_least_float32

_NOTHING = -1e30  # log f + m before the first step: exp(it - anything) is 0, and finite


@register
class SLSTMState(NamedTuple):
    """The state of an sLSTM, float32 or wider, [*batch_shape, H] each.

    Args:
        c: the cell, divided by exp(m).
        n: the normaliser, divided by exp(m).
        m: the stabiliser, the logarithm of the scale of c and n.
        h: the hidden units, which are the output.

    Example:
        >>> SLSTMState(*jnp.zeros((4, 2, 3))).h.shape
        (2, 3)
    """

    c: Array
    n: Array
    m: Array
    h: Array


@register
@dataclasses.dataclass(frozen=True)
class SLSTM(VectorCell):
    """sLSTM: an LSTM with an exponential input gate, a normaliser, and heads that mix their own units only.

        i = exp(z_i + R_i h),  f = s or exp(z_f + R_f h),  g = tanh(z_g + R_g h),  o = s(z_o + R_o h)
        c = f * c + i * g,  n = f * n + i,  h = o * c / n,  y = h

    where (z_i z_f z_g z_o) = W x + b. No exponential overflows: c and n are kept divided by exp(m),

        m = max(log f + m, log i),  i = exp(log i - m),  f = exp(log f + m before - m)

    which changes no h. In the first step, where n is 0, m = log i; after it n is at least 1.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        forget_bias: initial bias of the forget gate.
        heads: N blocks of H/N units; the recurrent kernel connects no two of them (it is block-diagonal).
        forget_activation: "sigmoid" or "exp".

    Raises:
        InputError: a size that is not positive, a forget_bias that is not a number, heads that do not divide hidden_size, or an
            unknown forget_activation.

    Example:
        >>> cell = SLSTM(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> state.n.tolist(), y.shape
        ([1.0, 1.0, 1.0], (3,))

    Beck et al. 2024, arXiv:2405.04517; its blocks around the cell (convolution, group norm, feed-forward) are parts of their own.
    """

    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    heads: int = 1
    forget_activation: str = "sigmoid"

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_heads(self, self.heads, hidden_size=self.hidden_size)
        check_number(self, forget_bias=self.forget_bias)
        check_choice(self, ("sigmoid", "exp"), forget_activation=self.forget_activation)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 4H], `recurrent_kernel` [H, 4H] or [N, H/N, 4H/N], `bias` [4H]; gates `i f g o`."""
        k_input, k_recurrent = jax.random.split(key)
        hidden = self.hidden_size
        return {
            "input_kernel": gate_kernel("glorot", k_input, self.input_size, hidden, 4),
            "recurrent_kernel": recurrent_kernel(k_recurrent, hidden, 4, self.heads),
            "bias": jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(self.forget_bias),
        }

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> SLSTMState:
        """c = 0, n = 0, m = 0, h = 0."""
        shape, dtype = (*batch_shape, self.hidden_size), at_least_float32(params["recurrent_kernel"].dtype)
        return SLSTMState(*(jnp.zeros(shape, dtype) for _ in range(4)))  # a buffer each, so that a state can be donated

    def project(self, params: Params, xs: Array) -> Array:
        """W x + b of all four gates: [..., D] to [..., 4H]."""
        return project_input(params, xs, bias_row_from=LSTM_BIAS_ROW)

    def recur(self, params: Params, state: SLSTMState, z: Array, *, dot=product, context=None) -> tuple[SLSTMState, Array]:
        """The gates from z + R h, then m, c, n and h."""
        z = z + recurrent_product(dot, state.h, params["recurrent_kernel"])
        log_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)  # [..., H] each
        kept = state.m + (z_f if self.forget_activation == "exp" else _log_sigmoid(z_f))  # log f + m
        kept = jax.lax.select(state.n == 0, jnp.full_like(kept, _NOTHING), kept)
        opens, ones = log_i > kept, jnp.ones_like(kept)
        smaller = jnp.exp(jax.lax.select(opens, kept - log_i, log_i - kept))  # of i and f; the larger one is 1
        i, f = jax.lax.select(opens, ones, smaller), jax.lax.select(opens, smaller, ones)
        m = jax.lax.select(opens, log_i, kept)
        record_gates(i=i, f=f)
        (g,), (o,) = gate_values(z_g, g="t"), gate_values(z_o, o="s")
        c, n = f * state.c + i * g, f * state.n + i
        h = o * c / n
        return SLSTMState(c, n, m, h), h


def _log_sigmoid(z: Array) -> Array:
    """log s(z), as one exponential and one logarithm: XLA:CPU runs it sooner than `jax.nn.log_sigmoid`."""
    falls = z < 0
    low = jax.lax.select(falls, z, jnp.zeros_like(z))
    return low - jnp.log1p(jnp.exp(jax.lax.select(falls, z, -z)))
