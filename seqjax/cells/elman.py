"""The vanilla (Elman) recurrent cell, and with identity initialisation the IRNN."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.hidden import VectorCell
from seqjax.checks import check_choice
from seqjax.gates import project_input, record_gates
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, at_least_float32


@register
class ElmanState(NamedTuple):
    """The state of an Elman cell: h, float32 or wider, [*batch_shape, H].

    Args:
        h: the hidden units.

    Example:
        >>> ElmanState(jnp.zeros((2, 3))).h.shape
        (2, 3)
    """

    h: Array


@register
@dataclasses.dataclass(frozen=True)
class Elman(VectorCell):
    """The Elman cell, also called vanilla or simple recurrent network.

        h = a(W_hh h + W_xh x + b),  y = h,  a = tanh unless another is named

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        activation: a, a name of `seqjax.activations.ACTIVATIONS`: "tanh", "relu", "linear", "gelu", ...
        recurrent_init: "orthogonal" or "identity"; relu with identity is the IRNN of Le et al. 2015.
        input_init: "glorot", or "normal" (standard deviation 0.001, the IRNN's).

    Raises:
        InputError: a size that is not positive, or an unknown choice.

    Example:
        >>> cell = Elman(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> y.shape
        (3,)

    Elman 1990, "Finding structure in time"; Le, Jaitly, Hinton 2015, arXiv:1504.00941.
    """

    _: dataclasses.KW_ONLY
    activation: str = "tanh"
    recurrent_init: str = "orthogonal"
    input_init: str = "glorot"

    gates: ClassVar[tuple[str, ...]] = ("h",)
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(ACTIVATIONS), activation=self.activation)
        check_choice(self, ("orthogonal", "identity"), recurrent_init=self.recurrent_init)
        check_choice(self, ("glorot", "normal"), input_init=self.input_init)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, H], `recurrent_kernel` [H, H], `bias` [H]."""
        k_input, k_recurrent = jax.random.split(key)
        return {
            "input_kernel": gate_kernel(self.input_init, k_input, self.input_size, self.hidden_size, 1),
            "recurrent_kernel": gate_kernel(self.recurrent_init, k_recurrent, self.hidden_size, self.hidden_size, 1),
            "bias": jnp.zeros(self.hidden_size),
        }

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> ElmanState:
        """h = 0."""
        return ElmanState(jnp.zeros((*batch_shape, self.hidden_size), at_least_float32(params["recurrent_kernel"].dtype)))

    def project(self, params: Params, xs: Array) -> Array:
        """W_xh x + b: [..., D] to [..., H]."""
        return project_input(params, xs)

    def recur(self, params: Params, state: ElmanState, z: Array, *, dot=product, context=None) -> tuple[ElmanState, Array]:
        """h = a(z + W_hh h)."""
        h = ACTIVATIONS[self.activation](z + dot(state.h, params["recurrent_kernel"]))
        record_gates(h=h)
        return ElmanState(h), h
