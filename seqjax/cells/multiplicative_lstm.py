"""The multiplicative LSTM, whose recurrence depends on the input."""

import dataclasses
from typing import ClassVar

import jax

from seqjax.cells.lstm import LSTM, LSTMGatesState, LSTMState
from seqjax.gates import input_product, recurrent_product
from seqjax.initializers import gate_kernel, recurrent_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True)
class MultiplicativeLSTM(LSTM):
    """The multiplicative LSTM: an LSTM that reads m = (W_mx x) * (W_mh h) in place of h.

        m = (W_mx x) * (W_mh h),  then as an LSTM with the gates W (m; x)

    Each input thus has a recurrent matrix of its own, W diag(W_mx x) W_mh.

    Args:
        fields: as for LSTM, its variants included.

    Raises:
        InputError: as LSTM.

    Example:
        >>> import jax.numpy as jnp
        >>> cell = MultiplicativeLSTM(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> params["multiplicative_input_kernel"].shape, params["multiplicative_recurrent_kernel"].shape
        ((2, 3), (3, 3))
        >>> cell.step(params, cell.initial_state(params), jnp.ones(2))[1].shape
        (3,)

    Krause, Lu, Murray, Renals 2016, arXiv:1609.07959.
    """

    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel", "multiplicative_input_kernel")

    @property
    def gates_of(self) -> dict[str, tuple[str, ...]]:
        """The gates that the parameters of variants hold; the parameters of m belong to no gate."""
        names = ("multiplicative_input_kernel", "multiplicative_recurrent_kernel")
        return super().gates_of | dict.fromkeys(names, ("m",))

    def init(self, key: Key) -> Params:
        """The LSTM's, `multiplicative_input_kernel` [D, H], `multiplicative_recurrent_kernel` [H, H] or [N, H/N, H/N]; of a
        projected cell [D, P] and [P, P].
        """
        k_input, k_recurrent = jax.random.split(jax.random.fold_in(key, 1))
        size = self.output_size
        return super().init(key) | {
            "multiplicative_input_kernel": gate_kernel("glorot", k_input, self.input_size, size, 1),
            "multiplicative_recurrent_kernel": recurrent_kernel(k_recurrent, size, 1, self.heads),
        }

    def project(self, params: Params, xs: Array) -> tuple[Array, Array]:
        """W_x x + b of all n gates, and W_mx x: [..., D] to ([..., nH], [..., H])."""
        return super().project(params, xs), input_product(params["multiplicative_input_kernel"], xs)

    def recur(
        self, params: Params, state: LSTMState | LSTMGatesState, z: tuple[Array, Array], *, dot=product, context=None
    ) -> tuple[LSTMState | LSTMGatesState, Array]:
        """m, then the LSTM's step with m in place of h."""
        z_gates, z_m = z
        m = z_m * recurrent_product(dot, state.h, params["multiplicative_recurrent_kernel"])
        return super().recur(params, state._replace(h=m), z_gates, dot=dot, context=context)
