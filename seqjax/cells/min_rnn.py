"""The minimal recurrent units: a GRU and an LSTM whose gates do not read the state."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.linear_gates import GatedLinearCell
from seqjax.checks import check_choice, check_number
from seqjax.gates import gate_values, record_gates
from seqjax.serial import register
from seqjax.types import Array, Params


def _positive(z: Array) -> Array:
    """The paper's g, whose logarithm exists."""
    return jnp.where(z >= 0, z + 0.5, jax.nn.sigmoid(z))


_ACTIVATIONS = ACTIVATIONS | {"positive": _positive}  # of the candidate


@register
@dataclasses.dataclass(frozen=True)
class MinGRU(GatedLinearCell):
    """The minimal GRU: its gate and candidate read the input alone, so that h is a linear recurrence.

        z = s(W_z x + b_z),  n = g(W_n x + b_n),  h = (1 - z) * h + z * n,  y = h

    with g(a) = a + 1/2 for a >= 0, s(a) otherwise.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        activation: g: "positive", as above; or a name of `seqjax.activations.ACTIVATIONS`, such as
            "linear", the paper's form outside of log space.

    Raises:
        InputError: a size that is not positive, or an unknown activation.

    Example:
        >>> cell = MinGRU(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> y.shape
        (3,)

    Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201.
    """

    _: dataclasses.KW_ONLY
    activation: str = "positive"

    gates: ClassVar[tuple[str, ...]] = ("z", "n")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(_ACTIVATIONS), activation=self.activation)

    def elements(self, params: Params, z: Array) -> tuple[Array, Array]:
        """1 - z and z n."""
        update, n = jnp.split(z, 2, axis=-1)
        (update,), n = gate_values(update, z="s"), _ACTIVATIONS[self.activation](n)
        record_gates(n=n)
        return 1 - update, update * n


@register
@dataclasses.dataclass(frozen=True)
class MinLSTM(GatedLinearCell):
    """The minimal LSTM: its gates read the input alone and sum to 1, so that h is a linear recurrence.

        f = f' / (f' + i'),  i = i' / (f' + i'),  n = g(W_n x + b_n),  h = f * h + i * n,  y = h

    where f' = s(W_f x + b_f), i' = s(W_i x + b_i), and g(a) = a + 1/2 for a >= 0, s(a) otherwise. f and i are computed from the
    logarithms of f' and i', so that they are right even where both f' and i' underflow.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        activation: g: "positive", as above; or a name of `seqjax.activations.ACTIVATIONS`, such as
            "linear", the paper's form outside of log space.
        forget_bias: initial b_f.

    Raises:
        InputError: a size that is not positive, a forget_bias that is not a number, or an unknown activation.

    Example:
        >>> cell = MinLSTM(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> sorted(params), y.shape
        (['bias', 'input_kernel'], (3,))

    Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201.
    """

    _: dataclasses.KW_ONLY
    activation: str = "positive"
    forget_bias: float = 1.0

    gates: ClassVar[tuple[str, ...]] = ("f", "i", "n")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(_ACTIVATIONS), activation=self.activation)
        check_number(self, forget_bias=self.forget_bias)

    def init(self, key) -> Params:
        """`input_kernel` [D, 3H], `bias` [3H]: f, i, n."""
        params = super().init(key)
        return params | {"bias": params["bias"].at[: self.hidden_size].set(self.forget_bias)}

    def elements(self, params: Params, z: Array) -> tuple[Array, Array]:
        """f and i n."""
        forget, put, n = jnp.split(z, 3, axis=-1)
        # f' / (f' + i') = s(log f' - log i'), and log s(a) = -softplus(-a)
        odds = jax.nn.softplus(-put) - jax.nn.softplus(-forget)
        f, i, n = jax.nn.sigmoid(odds), jax.nn.sigmoid(-odds), _ACTIVATIONS[self.activation](n)
        record_gates(f=f, i=i, n=n)
        return f, i * n
