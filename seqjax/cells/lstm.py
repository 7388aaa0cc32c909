"""Long short-term memory."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.checks import check_heads, check_number, check_size
from seqjax.contracts import Cell
from seqjax.gates import gate_values, over_stack, project_input, recurrent_product
from seqjax.initializers import gate_kernel, recurrent_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.thresholds import LSTM_BIAS_ROW
from seqjax.types import Array, Key, Params, Shape, at_least_float32


@register
class LSTMState(NamedTuple):
    """The state of an LSTM: cell c and hidden h, float32 or wider, [*batch_shape, H] each.

    Args:
        c: the cell, which the gates add to.
        h: the hidden units, which are the output.

    Example:
        >>> LSTMState(jnp.zeros((2, 3)), jnp.ones((2, 3))).h.shape
        (2, 3)
    """

    c: Array
    h: Array


@register
@dataclasses.dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory with a forget gate.

        (i f o g) = (s s s tanh) W (h; x),  c = f * c + i * g,  h = o * tanh(c),  y = h

    The parameters hold the gates in the order of PyTorch and cuDNN, `i f g o`.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        forget_bias: initial bias of the forget gate.
        heads: N blocks of H/N units; the recurrent kernel connects no two of them (it is block-diagonal).

    Raises:
        InputError: a size that is not positive, a forget_bias that is no number, or heads that do not divide hidden_size.

    Example:
        >>> cell = LSTM(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> state.c.shape, y.shape
        ((3,), (3,))

    Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000 (the forget gate);
    Jozefowicz, Zaremba, Sutskever 2015 (its bias of 1); Beck et al. 2024, arXiv:2405.04517 (heads).
    """

    input_size: int
    hidden_size: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    heads: int = 1

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        check_size(self, input_size=self.input_size, hidden_size=self.hidden_size)
        check_heads(self, self.hidden_size, self.heads)
        check_number(self, forget_bias=self.forget_bias)

    @property
    def input_shape(self) -> Shape:
        return (self.input_size,)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 4H], `recurrent_kernel` [H, 4H] or [N, H/N, 4H/N], `bias` [4H]; gates `i f g o`."""
        k_input, k_recurrent = jax.random.split(key)
        hidden = self.hidden_size
        return {
            "input_kernel": gate_kernel("glorot", k_input, self.input_size, hidden, 4),
            "recurrent_kernel": recurrent_kernel(k_recurrent, hidden, 4, self.heads),
            "bias": jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(self.forget_bias),
        }

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> LSTMState:
        """c = 0, h = 0."""
        shape, dtype = (*batch_shape, self.hidden_size), at_least_float32(params["recurrent_kernel"].dtype)
        return LSTMState(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))  # two buffers, so that a state can be donated

    def project(self, params: Params, xs: Array) -> Array:
        """W_x x + b of all four gates: [..., D] to [..., 4H]."""
        return project_input(params, xs, bias_row_from=LSTM_BIAS_ROW)

    def recur(self, params: Params, state: LSTMState, z: Array, *, dot=product, context=None) -> tuple[LSTMState, Array]:
        """The gates from z + W_h h, then c and h."""
        z = z + recurrent_product(dot, state.h, params["recurrent_kernel"])
        i, f, g, o = gate_values(z, together=over_stack(dot), i="s", f="s", g="t", o="s")
        c = f * state.c + i * g
        h = o * jnp.tanh(c)
        return LSTMState(c, h), h
