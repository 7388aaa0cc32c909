"""The linear recurrent unit."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.hidden import VectorCell
from seqjax.checks import check_number, check_size, shown
from seqjax.errors import InputError
from seqjax.gates import input_product
from seqjax.linear import LinearCell
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape


@register
@dataclasses.dataclass(frozen=True)
class LRU(VectorCell, LinearCell):
    """The linear recurrent unit: a diagonal complex recurrence between dense maps.

        h = l * h + exp(c) * (B x),  y = Re(C h) + D x;   l = exp(-exp(n) + i exp(p)), so that |l| < 1

    n, p and c are real, B, C and h complex. A network alternates it with nonlinear parts that see one step, such as Feedforward.

    Args:
        input_size: size of x (or symbols, for integer tokens).
        hidden_size: H, size of y.
        state_size: N, size of h; None: H.
        radius: least and largest initial |l|; the closer to 1, the longer the memory.
        max_phase: largest initial angle of l, in radians.

    Raises:
        InputError: a size that is not positive, radii that are not from 0 to 1 in order, or an angle of 0 or less.

    Example:
        >>> cell = LRU(input_size=2, hidden_size=3, state_size=4, radius=(0.9, 0.999))
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> state.real.shape, y.shape
        ((4,), (3,))

    Orvieto et al. 2023, arXiv:2303.06349.
    """

    _: dataclasses.KW_ONLY
    state_size: int | None = None
    radius: tuple[float, ...] = (0.0, 1.0)
    max_phase: float = 2 * math.pi

    complex_valued: ClassVar[bool] = True
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        if self.state_size is not None:
            check_size(self, state_size=self.state_size)
        if not (len(self.radius) == 2 and 0 <= self.radius[0] < self.radius[1] <= 1):
            raise InputError(f"LRU has radius={shown(self.radius)}, it must be two increasing numbers from 0 to 1")
        check_number(self, max_phase=self.max_phase)
        if self.max_phase <= 0:
            raise InputError(f"LRU has max_phase={shown(self.max_phase)}, it must be an angle above 0")

    @property
    def hidden_shape(self) -> Shape:
        return (self.hidden_size if self.state_size is None else self.state_size,)

    def init(self, key: Key) -> Params:
        """`log_decay`, `log_phase`, `log_scale` [N]: n, p, c; `input_kernel` [D, 2N + H]: real and imaginary part of B, and D;
        `output_kernel` [2N, H]: the real part of C, and less its imaginary part.
        """
        (size,), (least, largest) = self.hidden_shape, self.radius
        k_radius, k_phase, k_b, k_d, k_c = jax.random.split(key, 5)
        squares = jax.random.uniform(k_radius, (size,), minval=max(least**2, 1e-6), maxval=min(largest**2, 1 - 1e-6))  # |l|^2
        phases = jax.random.uniform(k_phase, (size,), minval=1e-6, maxval=self.max_phase)
        b = jax.random.normal(k_b, (self.input_size, 2 * size)) / math.sqrt(2 * self.input_size)
        d = jax.random.normal(k_d, (self.input_size, self.hidden_size)) / math.sqrt(self.input_size)
        return {
            "log_decay": jnp.log(-0.5 * jnp.log(squares)),
            "log_phase": jnp.log(phases),
            "log_scale": 0.5 * jnp.log1p(-squares),
            "input_kernel": jnp.concatenate([b, d], axis=1),
            "output_kernel": jax.random.normal(k_c, (2 * size, self.hidden_size)) / math.sqrt(size),
        }

    def project(self, params: Params, xs: Array) -> Array:
        """(Re B x, Im B x, D x): [..., D] to [..., 2N + H]."""
        return input_product(params["input_kernel"], xs)

    def elements(self, params: Params, z: Array) -> tuple[Array, Array]:
        """l, the same at every step, and exp(c) B x."""
        decay, phase, scale = (params[name].astype(z.dtype) for name in ("log_decay", "log_phase", "log_scale"))
        modulus, angle, scale = jnp.exp(-jnp.exp(decay)), jnp.exp(phase), jnp.exp(scale)
        real, imaginary, _ = jnp.split(z, [scale.size, 2 * scale.size], axis=-1)
        scale = jnp.broadcast_to(scale, real.shape)
        factor = jax.lax.complex(modulus * jnp.cos(angle), modulus * jnp.sin(angle))
        return factor, jax.lax.complex(scale * real, scale * imaginary)

    def readout(self, params: Params, h: Array, z: Array) -> Array:
        """Re(C h) + D x."""
        parts = jnp.concatenate([h.real, h.imag], axis=-1)  # [..., 2N]
        return product(parts, params["output_kernel"]) + z[..., 2 * h.shape[-1] :]
