"""The independently recurrent network: every unit reads itself alone."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.hidden import HiddenCell, HiddenState
from seqjax.checks import check_choice, shown
from seqjax.errors import InputError
from seqjax.gates import project_input, record_gates
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True)
class IndRNN(HiddenCell):
    """The independently recurrent cell: each hidden unit has one recurrent weight, on itself.

        h = a(W x + u * h + b),  y = h

    With relu the gradient over k steps is at most max |u|^k: over T steps it neither vanishes nor explodes with |u| close to 1.
    The paper keeps |u| at most 2^(1/T) in training. In a Stack of these cells, each reads all units of the one below.

    There is no recurrent kernel, so RecurrentDropout has nothing to drop, and the backend is the plain scan.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        activation: a, a name of `seqjax.activations.ACTIVATIONS`: "relu", "tanh", ...
        recurrent_range: the two numbers between which the initial u is uniform.

    Raises:
        InputError: a size that is not positive, an unknown activation, or a range that is not two finite numbers in order.

    Example:
        >>> cell = IndRNN(input_size=2, hidden_size=3, recurrent_range=(0.9, 1.0))
        >>> params = cell.init(jax.random.key(0))
        >>> params["recurrent_weights"].shape, bool((params["recurrent_weights"] >= 0.9).all())
        ((3,), True)

    Li, Li, Cook, Zhu, Gao 2018, arXiv:1803.04831.
    """

    _: dataclasses.KW_ONLY
    activation: str = "relu"
    recurrent_range: tuple[float, ...] = (0.0, 1.0)

    gates: ClassVar[tuple[str, ...]] = ("h",)
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(("input_kernel", "recurrent_weights", "bias"), ("h",))
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(ACTIVATIONS), activation=self.activation)
        ends = self.recurrent_range
        if len(ends) != 2 or not -jnp.inf < ends[0] <= ends[1] < jnp.inf:
            raise InputError(
                f"IndRNN has recurrent_range={shown(self.recurrent_range)}, it must be two finite numbers, the lower first"
            )

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, H], `recurrent_weights` [H], `bias` [H]."""
        k_input, k_recurrent = jax.random.split(key)
        low, high = self.recurrent_range
        return {
            "input_kernel": gate_kernel("glorot", k_input, self.input_size, self.hidden_size, 1),
            "recurrent_weights": jax.random.uniform(k_recurrent, (self.hidden_size,), minval=low, maxval=high),
            "bias": jnp.zeros(self.hidden_size),
        }

    def project(self, params: Params, xs: Array) -> Array:
        """W x + b: [..., D] to [..., H]."""
        return project_input(params, xs)

    def recur(self, params: Params, state: HiddenState, z: Array, *, dot=product, context=None) -> tuple[HiddenState, Array]:
        """h = a(z + u * h)."""
        weights = jnp.broadcast_to(params["recurrent_weights"].astype(state.h.dtype), state.h.shape)
        h = ACTIVATIONS[self.activation](z + weights * state.h)
        record_gates(h=h)
        return HiddenState(h), h
