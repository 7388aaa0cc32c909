"""The diagonal state space model."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.cells.hidden import VectorCell
from seqjax.cells.linear_gates import bypass, init_bypass
from seqjax.checks import check_size, shown
from seqjax.errors import InputError
from seqjax.linear import DiagonalCell, DiagonalSystem
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape

_LARGEST_LOG = 20.0  # of -Re A: with any step size its factor is 0, and its square does not overflow
_NEAR_ZERO = 1e-12  # A dt, from which (exp(A dt) - 1) / (A dt) is computed as it is


@register
@dataclasses.dataclass(frozen=True)
class S4D(VectorCell, DiagonalCell):
    """The diagonal state space model: every feature drives N complex modes of its own, in discrete time by zero-order hold.

        h_n = exp(A_n dt) h_n + (exp(A_n dt) - 1) / A_n x,   y = 2 Re(sum_n C_n h_n) + D x;   A_n = -exp(r_n) + i w_n

    for each of the H features x, with its own dt, A, C and D. Initially A_n = -1/2 + i pi n ("S4D-Lin"), and log dt is uniform.
    Where input_size is not hidden_size, W x takes the place of x. Features do not mix in this cell: put a Dense after it.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        state_size: N, modes of a feature, each of which stands for itself and its complex conjugate.
        step_size: least and largest initial dt; about 1/dt steps are remembered.

    Raises:
        InputError: a size that is not positive, or step sizes that are not positive and in order.

    Example:
        >>> cell = S4D(input_size=3, hidden_size=3, state_size=4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(3))
        >>> state.real.shape, y.shape
        ((12,), (3,))

    Gu, Gupta, Goel, Re 2022, arXiv:2206.11893.
    """

    _: dataclasses.KW_ONLY
    state_size: int = 32
    step_size: tuple[float, ...] = (0.001, 0.1)

    input_kernels: ClassVar[tuple[str, ...]] = ("bypass_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_size(self, state_size=self.state_size)
        if not (len(self.step_size) == 2 and 0 < self.step_size[0] <= self.step_size[1] < np.inf):
            raise InputError(f"S4D has step_size={shown(self.step_size)}, it must be two positive numbers, the larger last")

    @property
    def hidden_shape(self) -> Shape:
        return (self.hidden_size * self.state_size,)

    def init(self, key: Key) -> Params:
        """`log_decay`, `frequency`, `output_real`, `output_imaginary` [H N]: r, w and the parts of C, the modes of a feature side
        by side; `log_step`, `feed_through` [H]: log dt and D; where D is not H `bypass_kernel` [D, H].
        """
        k_step, k_real, k_imaginary, k_d, k_bypass = jax.random.split(key, 5)
        (modes,), least_and_largest = self.hidden_shape, np.log(self.step_size)
        return {
            "log_decay": jnp.full(modes, np.log(0.5), jnp.float32),
            "frequency": jnp.tile(np.pi * jnp.arange(self.state_size, dtype=jnp.float32), self.hidden_size),
            "output_real": jax.random.normal(k_real, (modes,)) * math.sqrt(0.5),
            "output_imaginary": jax.random.normal(k_imaginary, (modes,)) * math.sqrt(0.5),
            "log_step": jax.random.uniform(k_step, (self.hidden_size,), minval=least_and_largest[0], maxval=least_and_largest[1]),
            "feed_through": jax.random.normal(k_d, (self.hidden_size,)),
            **init_bypass(k_bypass, self.input_size, self.hidden_size),
        }

    def project(self, params: Params, xs: Array) -> Array:
        """x or W x: [..., D] to [..., H]."""
        return bypass(params, xs, self.hidden_size)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The same as `Cell.embed`; None where the cell reads x itself."""
        return super().embed(params, table) if "bypass_kernel" in params else None

    def system(self, params: Params, dtype) -> DiagonalSystem:
        """exp(A dt), (exp(A dt) - 1) / A, 2 C and D."""
        names = ("log_decay", "frequency", "output_real", "output_imaginary")
        decay, frequency, real, imaginary = (params[name].astype(dtype) for name in names)
        feature = np.repeat(np.arange(self.hidden_size, dtype=np.int32), self.state_size)  # [H N]
        step = jnp.exp(params["log_step"].astype(dtype))[feature]
        moved = jax.lax.complex(-jnp.exp(jnp.minimum(decay, _LARGEST_LOG)) * step, frequency * step)  # A dt, [H N]
        far = jnp.abs(moved.real) + jnp.abs(moved.imag) > _NEAR_ZERO
        ratio = jnp.where(far, jnp.expm1(moved) / jnp.where(far, moved, jnp.ones_like(moved)), jnp.ones_like(moved))
        gain = jax.lax.complex(ratio.real * step, ratio.imag * step)
        return DiagonalSystem(
            jnp.exp(moved), gain, jax.lax.complex(2 * real, 2 * imaginary), params["feed_through"].astype(dtype)
        )
