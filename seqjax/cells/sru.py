"""The simple recurrent unit."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.linear_gates import BypassedLinearCell
from seqjax.checks import check_choice
from seqjax.gates import gate_values, record_gates
from seqjax.serial import register
from seqjax.types import Array, Params


@register
@dataclasses.dataclass(frozen=True)
class SRU(BypassedLinearCell):
    """The simple recurrent unit: a linear recurrence and a highway connection around it.

        n = W_n x + b_n,  f = s(W_f x + b_f),  r = s(W_r x + b_r),  c = f * c + (1 - f) * n,  y = r * g(c) + (1 - r) * x

    Where input_size is not hidden_size, W' x takes the place of x. This is the form of the paper's first version, whose gates
    read the input alone; the second version adds v * c to the gates, which makes it a nonlinear recurrence.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        activation: g: a name of `seqjax.activations.ACTIVATIONS`.

    Raises:
        InputError: a size that is not positive, or an unknown activation.

    Example:
        >>> import jax
        >>> cell = SRU(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> sorted(params), y.shape
        (['bias', 'bypass_kernel', 'input_kernel'], (3,))

    Lei, Zhang, Artzi 2017, "Training RNNs as fast as CNNs", arXiv:1709.02755v1.
    """

    _: dataclasses.KW_ONLY
    activation: str = "linear"

    gates: ClassVar[tuple[str, ...]] = ("n", "f", "r")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(ACTIVATIONS), activation=self.activation)

    def elements(self, params: Params, z: tuple[Array, Array]) -> tuple[Array, Array]:
        """f and (1 - f) n."""
        n, f, _ = jnp.split(z[0], 3, axis=-1)
        (f,) = gate_values(f, f="s")
        record_gates(n=n)
        return f, (1 - f) * n

    def readout(self, params: Params, h: Array, z: tuple[Array, Array]) -> Array:
        """r g(c) + (1 - r) x."""
        (r,), x = gate_values(jnp.split(z[0], 3, axis=-1)[2], r="s"), z[1]
        return x + r * (ACTIVATIONS[self.activation](h) - x)
