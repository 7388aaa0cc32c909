"""The real-gated linear recurrent unit."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.linear_gates import BypassedLinearCell
from seqjax.gates import gate_values
from seqjax.serial import register
from seqjax.types import Array, Key, Params, at_least_float32

_C = 8.0  # the paper's c
_TINY = 1e-12  # least 1 - a^2, whose square root has no derivative at 0


@register
@dataclasses.dataclass(frozen=True)
class RGLRU(BypassedLinearCell):
    """The real-gated linear recurrent unit of Griffin: a decay for each unit, which a gate slows down.

        r = s(W_r x + b_r),  i = s(W_i x + b_i),  a = s(L)^(8 r),  h = a * h + sqrt(1 - a^2) * (i * x),  y = h

    Where input_size is not hidden_size, W' x takes the place of x.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.

    Raises:
        InputError: a size that is not positive.

    Example:
        >>> cell = RGLRU(input_size=3, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(3))
        >>> sorted(params), y.shape
        (['bias', 'decay', 'input_kernel'], (3,))

    De et al. 2024, arXiv:2402.19427, section 2.4 (there W_r and W_i are block-diagonal).
    """

    gates: ClassVar[tuple[str, ...]] = ("r", "i")

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 2H], `bias` [2H], where D is not H `bypass_kernel` [D, H]; `decay` [H]: L, so that s(L)^8 is uniform
        from 0.9 to 0.999.
        """
        key, k_decay = jax.random.split(key)
        roots = jax.random.uniform(k_decay, (self.hidden_size,), minval=0.9, maxval=0.999) ** (1 / _C)
        return super().init(key) | {"decay": jnp.log(roots) - jnp.log1p(-roots)}

    def elements(self, params: Params, z: tuple[Array, Array]) -> tuple[Array, Array]:
        """a and sqrt(1 - a^2) i x."""
        r, i = gate_values(z[0], r="s", i="s")
        decay = params["decay"].astype(at_least_float32(params["decay"].dtype))
        log_a = -_C * r * jnp.broadcast_to(jax.nn.softplus(-decay), r.shape)
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), _TINY))
        return jnp.exp(log_a), scale * i * z[1]
