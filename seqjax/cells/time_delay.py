"""Feed-forward networks over delay taps: a window of the latest inputs in place of a recurrent state."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.hidden import VectorCell
from seqjax.checks import check_choice, check_size
from seqjax.gates import input_product
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, at_least_float32


@register
class TimeDelayState(NamedTuple):
    """The state of a TimeDelay cell.

    Args:
        sums: the contributions of the inputs so far to the next K-1 pre-activations, float32 or wider, [*batch_shape, K-1, H].

    Example:
        >>> TimeDelayState(jnp.zeros((2, 3, 4))).sums.shape
        (2, 3, 4)
    """

    sums: Array


@register
@dataclasses.dataclass(frozen=True)
class TimeDelay(VectorCell):
    """A feed-forward layer over the latest K inputs, which it reads through delay taps; inputs before the first are 0.

        h[t] = tanh(W_0 x[t] + W_1 x[t-1] + ... + W_{K-1} x[t-K+1] + b),  y = h

    Nothing is fed back, so no output depends on an input K or more steps in the past. Between a word embedding and a read-out, it
    is the feed-forward n-gram language model with n = K + 1; with activation "linear" it is an autoregressive model.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        taps: K, the steps that it reads, the present one included.
        activation: a name such as "tanh", "relu" or "linear".

    Raises:
        InputError: a size that is not positive, or an unknown activation.

    Example:
        >>> from seqjax import unroll
        >>> cell = TimeDelay(input_size=1, hidden_size=1, taps=2, activation="linear")
        >>> params = {"input_kernel": jnp.array([[1.0, 10.0]]), "bias": jnp.zeros(1)}
        >>> unroll(cell, params, jnp.arange(1.0, 5.0)[:, None])[1].ravel().tolist()
        [1.0, 12.0, 23.0, 34.0]

    Lang, Waibel, Hinton 1990 (time-delay neural networks); Bengio, Ducharme, Vincent, Jauvin 2003 (the language model).
    """

    _: dataclasses.KW_ONLY
    taps: int = 4
    activation: str = "tanh"

    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_size(self, taps=self.taps)
        check_choice(self, tuple(ACTIVATIONS), activation=self.activation)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, K H], the taps side by side, the present input's first; `bias` [H]."""
        kernel = gate_kernel("glorot", key, self.taps * self.input_size, self.hidden_size, 1)  # [K D, H]
        kernel = kernel.reshape(self.taps, self.input_size, self.hidden_size).swapaxes(0, 1)  # [D, K, H]
        return {"input_kernel": kernel.reshape(self.input_size, -1), "bias": jnp.zeros(self.hidden_size)}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> TimeDelayState:
        """Sums of 0, as after inputs of 0."""
        shape = (*batch_shape, self.taps - 1, self.hidden_size)
        return TimeDelayState(jnp.zeros(shape, at_least_float32(params["input_kernel"].dtype)))

    def project(self, params: Params, xs: Array) -> Array:
        """Every tap's contribution W_k x: [..., D] to [..., K H]."""
        return input_product(params["input_kernel"], xs)

    def recur(
        self, params: Params, state: TimeDelayState, z: Array, *, dot=product, context=None
    ) -> tuple[TimeDelayState, Array]:
        """The present pre-activation is complete with the present input; the others wait in the state for theirs."""
        shares = z.reshape(*z.shape[:-1], self.taps, self.hidden_size)  # [..., K, H]
        waiting = jnp.pad(state.sums, [(0, 0)] * (z.ndim - 1) + [(0, 1), (0, 0)])  # [..., K, H]
        sums = shares + waiting  # [..., K, H]
        present = sums[..., 0, :]
        bias = jnp.broadcast_to(params["bias"].astype(present.dtype), present.shape)
        return TimeDelayState(sums[..., 1:, :]), ACTIVATIONS[self.activation](present + bias)
