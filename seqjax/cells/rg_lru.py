"""The real-gated linear recurrent unit."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.linear_gates import BypassedLinearCell, bypass, init_bypass
from seqjax.checks import check_heads
from seqjax.gates import gate_values, join_heads
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, at_least_float32

_C = 8.0  # the paper's c
_TINY = 1e-12  # least 1 - a^2, whose square root has no derivative at 0


@register
@dataclasses.dataclass(frozen=True)
class RGLRU(BypassedLinearCell):
    """The real-gated linear recurrent unit of Griffin: a decay for each unit, which a gate slows down.

        r = s(W_r x + b_r),  i = s(W_i x + b_i),  a = s(L)^(8 r),  h = a * h + sqrt(1 - a^2) * (i * x),  y = h

    Where input_size is not hidden_size, W' x takes the place of the x that i multiplies.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        heads: N blocks of H/N units, whose gates read D/N features each: W_r and W_i are block-diagonal, as in the paper.

    Raises:
        InputError: a size that is not positive, or heads that do not divide both sizes.

    Example:
        >>> cell = RGLRU(input_size=3, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(3))
        >>> sorted(params), y.shape
        (['bias', 'decay', 'input_kernel'], (3,))

    De et al. 2024, arXiv:2402.19427, section 2.4 (heads: its W_r and W_i are block-diagonal).
    """

    _: dataclasses.KW_ONLY
    heads: int = 1

    gates: ClassVar[tuple[str, ...]] = ("r", "i")
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = {"input_kernel": gates}

    def __post_init__(self):
        super().__post_init__()
        check_heads(self, self.heads, input_size=self.input_size, hidden_size=self.hidden_size)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 2H] or [N, D/N, 2H/N], `bias` [2H], where D is not H `bypass_kernel` [D, H]; `decay` [H]: L, so that
        s(L)^8 is uniform from 0.9 to 0.999.
        """
        k_gates, k_bypass, k_decay = jax.random.split(key, 3)
        sizes, keys = (self.input_size // self.heads, self.hidden_size // self.heads), jax.random.split(k_gates, self.heads)
        kernels = jax.vmap(lambda k: gate_kernel("glorot", k, *sizes, len(self.gates)))(keys)  # [N, D/N, 2H/N]
        roots = jax.random.uniform(k_decay, (self.hidden_size,), minval=0.9, maxval=0.999) ** (1 / _C)
        return {
            "input_kernel": kernels if self.heads > 1 else kernels[0],
            "bias": jnp.zeros(len(self.gates) * self.hidden_size),
            **init_bypass(k_bypass, self.input_size, self.hidden_size),
            "decay": jnp.log(roots) - jnp.log1p(-roots),
        }

    def project(self, params: Params, xs: Array) -> tuple[Array, Array]:
        """(W x + b, x or W' x): [..., D] to ([..., 2H], [..., H])."""
        kernel = params["input_kernel"]
        if kernel.ndim == 2:
            return super().project(params, xs)
        features = jax.nn.one_hot(xs, self.input_size) if jnp.issubdtype(xs.dtype, jnp.integer) else xs
        z = self._by_head(kernel, features)
        return z + jnp.broadcast_to(params["bias"].astype(z.dtype), z.shape), bypass(params, xs, self.hidden_size)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The same as `Cell.embed`; a kernel of several heads becomes one [V, 2H]."""
        kernel = params["input_kernel"]
        if "bypass_kernel" not in params or kernel.ndim == 2:
            return super().embed(params, table)
        return params | {
            "input_kernel": self._by_head(kernel, table),
            "bypass_kernel": product(table, params["bypass_kernel"]),
        }

    def _by_head(self, kernel: Array, xs: Array) -> Array:
        """W x without b, of block-diagonal W: [N, D/N, 2H/N] and [..., D] to [..., 2H]."""
        return join_heads(product(xs.reshape(*xs.shape[:-1], *kernel.shape[:2]), kernel), len(self.gates))

    def elements(self, params: Params, z: tuple[Array, Array]) -> tuple[Array, Array]:
        """a and sqrt(1 - a^2) i x."""
        r, i = gate_values(z[0], r="s", i="s")
        decay = params["decay"].astype(at_least_float32(params["decay"].dtype))
        log_a = -_C * r * jnp.broadcast_to(jax.nn.softplus(-decay), r.shape)
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), _TINY))
        return jnp.exp(log_a), scale * i * z[1]
