"""The base of linear recurrences whose gates read the input alone."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.hidden import VectorCell
from seqjax.gates import input_product, project_input
from seqjax.initializers import gate_kernel
from seqjax.linear import LinearCell
from seqjax.types import Array, Key, Params, Shape, at_least_float32, float_dtype


@dataclasses.dataclass(frozen=True)
class GatedLinearCell(VectorCell, LinearCell):
    """A LinearCell of H units whose n gates are functions of W x + b.

    A subclass names its `gates`, in the order of their columns, and defines `elements`, and `readout` if y is not h.

    Args:
        fields: those of VectorCell.
    """

    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    @property
    def hidden_shape(self) -> Shape:
        return (self.hidden_size,)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, nH], `bias` [nH]."""
        count = len(self.gates)
        kernel = gate_kernel("glorot", key, self.input_size, self.hidden_size, count)
        return {"input_kernel": kernel, "bias": jnp.zeros(count * self.hidden_size)}

    def project(self, params: Params, xs: Array):
        """W x + b: [..., D] to [..., nH]."""
        return project_input(params, xs)

    def _gates_by_width(self, params: Params, array: Array) -> tuple[str, ...]:
        return self.gates if array.shape[-1] == len(self.gates) * self.hidden_size else self.gates[-1:]


@dataclasses.dataclass(frozen=True)
class BypassedLinearCell(GatedLinearCell):
    """A GatedLinearCell that also reads x itself, or W' x where input_size is not hidden_size."""

    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel", "bypass_kernel")

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, nH], `bias` [nH]; where D is not H `bypass_kernel` [D, H]."""
        k_gates, k_bypass = jax.random.split(key)
        return super().init(k_gates) | init_bypass(k_bypass, self.input_size, self.hidden_size)

    def project(self, params: Params, xs: Array) -> tuple[Array, Array]:
        """(W x + b, x or W' x): [..., D] to ([..., nH], [..., H])."""
        return project_input(params, xs), bypass(params, xs, self.hidden_size)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The same as `Cell.embed`; None where the cell reads x itself."""
        return super().embed(params, table) if "bypass_kernel" in params else None


def init_bypass(key: Key, input_size: int, hidden_size: int) -> Params:
    """The parameter that `bypass` reads, if it needs one."""
    if input_size == hidden_size:
        return {}
    return {"bypass_kernel": gate_kernel("glorot", key, input_size, hidden_size, 1)}


def bypass(params: Params, xs: Array, hidden_size: int) -> Array:
    """x itself, or W' x if params has a `bypass_kernel`: [..., D] or tokens [...] to [..., H], float32 or wider."""
    kernel = params.get("bypass_kernel")
    if kernel is not None:
        return input_product(kernel, xs)
    dtype = at_least_float32(float_dtype(params))
    return jax.nn.one_hot(xs, hidden_size, dtype=dtype) if jnp.issubdtype(xs.dtype, jnp.integer) else xs.astype(dtype)
