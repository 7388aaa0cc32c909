"""The minimal gated unit."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.hidden import HiddenCell, HiddenState
from seqjax.checks import check_choice, check_number
from seqjax.gates import gate_values, project_cut, record_gates
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True)
class MGU(HiddenCell):
    """The minimal gated unit: one gate both resets and updates.

        f = s(z_f + R_f h),  y = h
        "zhou":  n = tanh(z_n + R_n (f * h)),          h = (1 - f) * h + f * n
        "flax":  n = tanh(z_n + f * (R_n h + b_n)),    h = f * h + (1 - f) * n

    where (z_f z_n) = W x + b. Where the gate is 1, the paper's cell takes in the candidate, and Flax's MGUCell keeps h.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        form: "zhou", the paper's, or "flax".
        forget_bias: initial bias of the gate.

    Raises:
        InputError: a size that is not positive, an unknown form, or a forget_bias that is not a number.

    Example:
        >>> cell = MGU(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> sorted(params), y.shape
        (['bias', 'candidate_kernel', 'input_kernel', 'recurrent_kernel'], (3,))

    Zhou, Wu, Zhang, Zhou 2016, arXiv:1603.09420.
    """

    _: dataclasses.KW_ONLY
    form: str = "zhou"
    forget_bias: float = 0.0

    gates: ClassVar[tuple[str, ...]] = ("f", "n")
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = {"recurrent_kernel": ("f",), "candidate_kernel": ("n",)}
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, ("zhou", "flax"), form=self.form)
        check_number(self, forget_bias=self.forget_bias)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 2H] and `bias` [2H] of f and n; `recurrent_kernel` [H, H] of f, `candidate_kernel` [H, H] of n;
        in the form "flax" `recurrent_bias` [H] of n.
        """
        k_input, *k_recurrent = jax.random.split(key, 3)
        hidden = self.hidden_size
        kernel, kernel_n = (gate_kernel("orthogonal", k, hidden, hidden, 1) for k in k_recurrent)
        params = {
            "input_kernel": gate_kernel("glorot", k_input, self.input_size, hidden, 2),
            "recurrent_kernel": kernel,
            "candidate_kernel": kernel_n,
            "bias": jnp.zeros(2 * hidden).at[:hidden].set(self.forget_bias),
        }
        return params | ({"recurrent_bias": jnp.zeros(hidden)} if self.form == "flax" else {})

    def project(self, params: Params, xs: Array) -> tuple[Array, ...]:
        """W x + b: [..., D] to ([..., H] for f, [..., H] for n)."""
        return project_cut(params, xs, [self.hidden_size])

    def recur(self, params: Params, state: HiddenState, z: tuple[Array, ...], *, dot=product, context=None):
        """The gate, the candidate, and their mixture with h."""
        (z_f, z_n), h, kernel_n = z, state.h, params["candidate_kernel"]
        (f,) = gate_values(z_f + dot(h, params["recurrent_kernel"]), f="s")
        if self.form == "flax":
            bias = jnp.broadcast_to(params["recurrent_bias"].astype(h.dtype), h.shape)
            n = jnp.tanh(z_n + f * (dot(h, kernel_n) + bias))
            new = n + f * (h - n)
        else:
            n = jnp.tanh(z_n + dot(f * h, kernel_n))
            new = h + f * (n - h)
        record_gates(n=n)
        return HiddenState(new), new
