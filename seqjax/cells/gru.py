"""The gated recurrent unit, in both of its published forms."""

import dataclasses
import functools
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.hidden import VectorCell
from seqjax.checks import check_choice, check_flag, check_heads, refuse_together
from seqjax.gates import (
    gate_values,
    input_product,
    kernels_are_hoisted,
    layer_norm,
    outnumbers,
    project_input,
    record_gates,
    recurrent_product,
)
from seqjax.initializers import gate_kernel, recurrent_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.thresholds import joins_products
from seqjax.types import Array, Key, Params, Shape, at_least_float32


@register
class GRUState(NamedTuple):
    """The state of a GRU: h, float32 or wider, [*batch_shape, H].

    Args:
        h: the hidden units.

    Example:
        >>> GRUState(jnp.zeros((2, 3))).h.shape
        (2, 3)
    """

    h: Array


@register
@dataclasses.dataclass(frozen=True)
class GRU(VectorCell):
    """The gated recurrent unit.

        r = s(z_r + R_r h),  z = s(z_z + R_z h),  h = (1 - z) * n + z * h,  y = h
        reset_after:      n = a(z_n + r * (R_n h + b_n))
        otherwise:        n = a(z_n + R_n (r * h))

    where (z_r z_z z_n) = W x + b, and a = tanh unless another is named. With layer_norm, each of the products W_rz x, W_n x,
    R_rz h and R_n h (or R_n (r * h)) is normalised over its units and scaled before anything is added to it.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        reset_after: True is the form of PyTorch, cuDNN and Keras; False that of Cho et al. 2014.
        heads: N blocks of H/N units; the recurrent kernel connects no two of them (it is block-diagonal).
        activation: a, a name of `seqjax.activations.ACTIVATIONS`.
        layer_norm: normalise the products of inputs and of hidden units (Ba et al. 2016); not with heads.

    Raises:
        InputError: a size that is not positive, heads that do not divide hidden_size, an unknown activation, or layer_norm with
            heads.

    Example:
        >>> cell = GRU(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> sorted(params)
        ['bias', 'candidate_kernel', 'input_kernel', 'recurrent_bias', 'recurrent_kernel']

    Cho et al. 2014, arXiv:1406.1078; Ba, Kiros, Hinton 2016, arXiv:1607.06450 (layer_norm).
    """

    _: dataclasses.KW_ONLY
    reset_after: bool = True
    heads: int = 1
    activation: str = "tanh"
    layer_norm: bool = False

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_heads(self, self.heads, hidden_size=self.hidden_size)
        check_flag(self, reset_after=self.reset_after, layer_norm=self.layer_norm)
        check_choice(self, tuple(ACTIVATIONS), activation=self.activation)
        if self.layer_norm and self.heads > 1:
            refuse_together(self, "layer_norm", "heads", "the mean of the gates would join the heads")

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 3H], `bias` [3H]; `recurrent_kernel` [H, 2H] or [N, H/N, 2H/N] of r and z, `candidate_kernel` [H, H]
        or [N, H/N, H/N] of n; for reset_after `recurrent_bias` [H] of n; for layer_norm `input_scale` [3H], `recurrent_scale`
        [2H] of r and z, `candidate_scale` [H] of n.
        """
        k_input, k_recurrent = jax.random.split(key)
        hidden = self.hidden_size
        kernel_gates, kernel_n = self._split(recurrent_kernel(k_recurrent, hidden, 3, self.heads), hidden // self.heads)
        params = {
            "input_kernel": gate_kernel("glorot", k_input, self.input_size, hidden, 3),
            "recurrent_kernel": kernel_gates,
            "candidate_kernel": kernel_n,
            "bias": jnp.zeros(3 * hidden),
        }
        if self.layer_norm:
            sizes = {"input_scale": 3 * hidden, "recurrent_scale": 2 * hidden, "candidate_scale": hidden}
            params |= {name: jnp.ones(size) for name, size in sizes.items()}
        return params | ({"recurrent_bias": jnp.zeros(hidden)} if self.reset_after else {})

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> GRUState:
        """h = 0."""
        return GRUState(jnp.zeros((*batch_shape, self.hidden_size), at_least_float32(params["recurrent_kernel"].dtype)))

    def project(self, params: Params, xs: Array) -> tuple[Array, ...]:
        """W x + b: [..., D] to ([..., 2H] for r and z, [..., H] for n), or three arrays [..., H] for r, z and n."""
        if self.layer_norm:
            zs, scales, biases = map(
                self._split, (input_product(params["input_kernel"], xs), params["input_scale"], params["bias"])
            )
            z_gates, z_n = (layer_norm(*of_part) for of_part in zip(zs, scales, biases, strict=True))
            return z_gates, z_n
        kernel, bias = params["input_kernel"], params["bias"]
        if kernels_are_hoisted():  # products of single gates run side by side
            cut = functools.partial(jnp.split, indices_or_sections=3, axis=-1)
        elif outnumbers(xs, kernel):
            cut = self._split
        else:
            return self._split(project_input(params, xs))
        return tuple(project_input({"input_kernel": k, "bias": b}, xs) for k, b in zip(cut(kernel), cut(bias), strict=True))

    def recur(
        self, params: Params, state: GRUState, z: tuple[Array, ...], *, dot=product, context=None
    ) -> tuple[GRUState, Array]:
        """The reset and update gates, the candidate, and their mixture with h."""
        (*z_gates, z_n), h, kernel, kernel_n = z, state.h, params["recurrent_kernel"], params["candidate_kernel"]
        rows, both = math.prod(h.shape[:-1]), None
        # in a step of its own, where `dot` is `product`, joining the kernels would cost more than it saves
        if self.reset_after and dot is not product and joins_products(rows, (kernel, kernel_n)):
            both = dot(h, jnp.concatenate([kernel, kernel_n], axis=-1))  # [1, 3H]
        if len(z_gates) == 2:
            sums = [a + recurrent_product(dot, h, k) for a, k in zip(z_gates, jnp.split(kernel, 2, axis=-1), strict=True)]
            r, update = (*gate_values(sums[0], r="s"), *gate_values(sums[1], z="s"))
        else:
            gates = recurrent_product(dot, h, kernel) if both is None else self._split(both)[0]
            r, update = gate_values(z_gates[0] + self._normalised(gates, params, "recurrent_scale"), r="s", z="s")
        if self.reset_after:
            bias = jnp.broadcast_to(params["recurrent_bias"].astype(h.dtype), h.shape)
            candidate = recurrent_product(dot, h, kernel_n) if both is None else self._split(both)[1]
            z_n = z_n + r * (self._normalised(candidate, params, "candidate_scale") + bias)
        else:
            z_n = z_n + self._normalised(recurrent_product(dot, r * h, kernel_n), params, "candidate_scale")
        n = ACTIVATIONS[self.activation](z_n)
        record_gates(n=n)
        h = n + update * (h - n)
        return GRUState(h), h

    def split(self, params: Params) -> dict[str, Params]:
        """The same as `Cell.split`, with the candidate's recurrent kernel and scale under the names of the other gates'."""
        pairs = {"recurrent_kernel": "candidate_kernel"} | ({"recurrent_scale": "candidate_scale"} if self.layer_norm else {})
        joined = {name: a for name, a in params.items() if name not in pairs.values()}
        joined |= {name: jnp.concatenate([params[name], params[of_n]], axis=-1) for name, of_n in pairs.items()}
        return super().split(joined)

    def _normalised(self, products: Array, params: Params, scale: str) -> Array:
        """Recurrent products after layer normalisation, where the cell has it."""
        return layer_norm(products, params[scale]) if self.layer_norm else products

    def _split(self, a: Array, size: int | None = None) -> tuple[Array, Array]:
        """[..., 3H] to ([..., 2H] for r and z, [..., H] for n), with `size` in place of H if it is given."""
        r_and_z, n = jnp.split(a, [2 * (size or self.hidden_size)], axis=-1)
        return r_and_z, n
