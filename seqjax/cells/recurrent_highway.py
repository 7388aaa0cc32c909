"""The recurrent highway network: several gated layers within a step."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.hidden import HiddenCell, HiddenState
from seqjax.checks import check_number, check_size
from seqjax.gates import gate_values, project_input
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True)
class RecurrentHighway(HiddenCell):
    """A recurrent highway cell: L highway layers, one after another, take the state from step to step.

        s_0 = h
        n = tanh([l = 1] W_n x + R_n^l s_{l-1} + b_n^l),  t = s([l = 1] W_t x + R_t^l s_{l-1} + b_t^l)
        s_l = t * n + (1 - t) * s_{l-1},   l = 1 .. L
        h = s_L,  y = h

    The first layer alone reads the input. The carry gate is 1 - t, as in all of the paper's experiments.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        depth: L.
        transform_bias: initial bias of the gates t; below 0, a step begins close to the identity.

    Raises:
        InputError: a size or depth that is not positive, or a transform_bias that is not a number.

    Example:
        >>> cell = RecurrentHighway(input_size=2, hidden_size=3, depth=2)
        >>> params = cell.init(jax.random.key(0))
        >>> sorted(params)
        ['bias', 'bias2', 'input_kernel', 'layer2_recurrent_kernel', 'recurrent_kernel']
        >>> cell.gates
        ('n1', 't1', 'n2', 't2')

    Zilly, Srivastava, Koutnik, Schmidhuber 2016, arXiv:1607.03474.
    """

    _: dataclasses.KW_ONLY
    depth: int = 3
    transform_bias: float = -2.0

    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_size(self, depth=self.depth)
        check_number(self, transform_bias=self.transform_bias)

    @property
    def gates(self) -> tuple[str, ...]:  # type: ignore[override]
        """The candidate and the gate of each layer."""
        return tuple(f"{gate}{number}" for number in range(1, self.depth + 1) for gate in "nt")

    @property
    def gates_of(self) -> dict[str, tuple[str, ...]]:  # type: ignore[override]
        """The gates that each parameter holds."""
        layers = {name: self.gates[2 * i : 2 * i + 2] for i in range(self.depth) for name in _names(i + 1)}
        return {"input_kernel": self.gates[:2]} | layers

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 2H], `recurrent_kernel` [H, 2H] and `bias` [2H] of n and t in the first layer;
        `layer2_recurrent_kernel` and `bias2` in the second, and so on.
        """
        k_input, *k_layers = jax.random.split(key, 1 + self.depth)
        hidden = self.hidden_size
        params = {"input_kernel": gate_kernel("glorot", k_input, self.input_size, hidden, 2)}
        for number, k in enumerate(k_layers, 1):
            kernel, bias = _names(number)
            params[kernel] = gate_kernel("orthogonal", k, hidden, hidden, 2)
            params[bias] = jnp.zeros(2 * hidden).at[hidden:].set(self.transform_bias)
        return params

    def project(self, params: Params, xs: Array) -> Array:
        """W x + b of the first layer: [..., D] to [..., 2H]."""
        return project_input(params, xs)

    def recur(self, params: Params, state: HiddenState, z: Array, *, dot=product, context=None) -> tuple[HiddenState, Array]:
        """One layer after another."""
        h = state.h
        for number in range(1, self.depth + 1):
            kernel, bias = _names(number)
            z = z if number == 1 else jnp.broadcast_to(params[bias].astype(h.dtype), z.shape)
            kinds: dict = {f"n{number}": "t", f"t{number}": "s"}
            n, transform = gate_values(z + dot(h, params[kernel]), **kinds)
            h = h + transform * (n - h)
        return HiddenState(h), h


def _names(number: int) -> tuple[str, str]:
    """The names of a layer's recurrent kernel and bias."""
    return ("recurrent_kernel", "bias") if number == 1 else (f"layer{number}_recurrent_kernel", f"bias{number}")
