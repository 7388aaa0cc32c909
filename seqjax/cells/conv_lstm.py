"""The convolutional LSTM, over one to three spatial axes."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.lstm import LSTMState
from seqjax.checks import as_integer, check_number, check_size, check_sizes, shown
from seqjax.contracts import Cell
from seqjax.errors import InputError
from seqjax.gates import gate_values
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, as_features, at_least_float32

_AXES = "XYZ"


def patches(xs: Array, kernel_size: Shape) -> Array:
    """The neighbourhood of each position, side by side: the convolution of xs is a matrix product with these patches.

    Args:
        xs: [..., *spatial, F], padded with zeros.
        kernel_size: (k, ...), neighbours along each spatial axis, (k - 1) // 2 of them before the position.

    Returns:
        [..., *spatial, K], K = F times the product of kernel_size, in the order (*kernel_size, F).

    Example:
        >>> patches(jnp.array([[1.0], [2.0], [3.0]]), (3,)).tolist()
        [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]]
    """
    for i, width in enumerate(reversed(kernel_size)):
        axis = xs.ndim - 2 - i
        before, size = (width - 1) // 2, xs.shape[axis]
        padding = [(0, 0)] * xs.ndim
        padding[axis] = (before, width - 1 - before)
        padded = jnp.pad(xs, padding)
        xs = jnp.concatenate([jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(width)], axis=-1)
    return xs


def convolve(xs: Array, kernel: Array) -> Array:
    """The convolution of each leading index, [..., *spatial, C] with [*kernel_size, C, N] to [..., *spatial, N]; zero-padded."""
    rank = kernel.ndim - 1  # spatial axes and channels
    leading, axes = xs.shape[: xs.ndim - rank], _AXES[: rank - 1]
    flat = xs.reshape(math.prod(leading), *xs.shape[xs.ndim - rank :]).astype(kernel.dtype)  # [N, *spatial, C]
    padding = [((width - 1) // 2, width // 2) for width in kernel.shape[:-2]]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    ys = jax.lax.conv_general_dilated(flat, kernel, (1,) * len(axes), padding, dimension_numbers=layout)
    return ys.reshape(*leading, *ys.shape[1:])


@register
@dataclasses.dataclass(frozen=True)
class ConvLSTM(Cell):
    """A convolutional LSTM: the LSTM whose products are convolutions over one to three spatial axes, for frames and maps.

        (i f o g) = (s s s tanh)(W_x * x + W_h * h + b),  c = f c + i g,  h = o tanh(c),  y = h

    where * is a zero-padded convolution. The recurrent convolution is a matrix product with patches, written through `dot`: the
    backend "fused" runs it, and keeps the patches of every step for the backward pass (with remat, those of a chunk). The paper's
    peepholes are left out, as in most later work.

    Args:
        input_size: C, channels of x.
        hidden_size: F, channels of h.
        spatial_shape: (X,), (X, Y) or (X, Y, Z): x is [*spatial_shape, C]. Frames of uint8 are read as values / 255.
        kernel_size: one number, or one for each spatial axis.
        forget_bias: initial bias of the forget gate.

    Raises:
        InputError: a size that is not positive, no or more than three spatial axes, or a kernel_size for another number of axes.

    Example:
        >>> cell = ConvLSTM(input_size=1, hidden_size=4, spatial_shape=(8, 8))
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params, (2,)), jnp.ones((2, 8, 8, 1)))
        >>> y.shape
        (2, 8, 8, 4)

    Shi et al. 2015, Convolutional LSTM Network, arXiv:1506.04214.
    """

    input_size: int
    hidden_size: int
    _: dataclasses.KW_ONLY
    spatial_shape: tuple[int, ...]
    kernel_size: int | tuple[int, ...] = 3
    forget_bias: float = 1.0

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    def __post_init__(self):
        check_size(self, input_size=self.input_size, hidden_size=self.hidden_size)
        check_sizes(self, spatial_shape=self.spatial_shape)
        if not 1 <= len(self.spatial_shape) <= 3:
            raise InputError(f"ConvLSTM has spatial_shape={self.spatial_shape}, it must have one to three axes")
        if not isinstance(self.kernel_size, tuple | list):
            if (width := as_integer(self.kernel_size)) is None:
                raise InputError(
                    f"ConvLSTM has kernel_size={shown(self.kernel_size)}, it must be an integer, or one for each axis"
                )
            object.__setattr__(self, "kernel_size", (width,) * len(self.spatial_shape))
        check_sizes(self, kernel_size=self.kernel_size)
        if len(self._widths) != len(self.spatial_shape):
            raise InputError(
                f"ConvLSTM has kernel_size={self.kernel_size} and spatial_shape={self.spatial_shape}: give one for each axis"
            )
        check_number(self, forget_bias=self.forget_bias)

    @property
    def _widths(self) -> Shape:
        return self.kernel_size  # type: ignore[return-value]

    @property
    def input_shape(self) -> Shape:
        return (*self.spatial_shape, self.input_size)

    def init(self, key: Key) -> Params:
        """`input_kernel` [*kernel_size, C, 4F]; `recurrent_kernel` [K, 4F], its rows in the order (*kernel_size, F); `bias` [4F];
        gates `i f g o`.
        """
        k_input, k_recurrent = jax.random.split(key)
        area, hidden = math.prod(self._widths), self.hidden_size
        kernel = gate_kernel("glorot", k_input, area * self.input_size, hidden, 4)
        return {
            "input_kernel": kernel.reshape(*self._widths, self.input_size, 4 * hidden),
            "recurrent_kernel": gate_kernel("orthogonal", k_recurrent, area * hidden, hidden, 4),
            "bias": jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(self.forget_bias),
        }

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> LSTMState:
        """c = 0, h = 0, [*batch_shape, *spatial_shape, F] each."""
        shape = (*batch_shape, *self.spatial_shape, self.hidden_size)
        dtype = at_least_float32(params["recurrent_kernel"].dtype)
        return LSTMState(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def project(self, params: Params, xs: Array) -> Array:
        """W_x * x + b of all four gates: [..., *spatial_shape, C] to [..., *spatial_shape, 4F]."""
        kernel = params["input_kernel"]
        zs = convolve(as_features(xs, kernel.dtype), kernel).astype(at_least_float32(kernel.dtype))
        return zs + jnp.broadcast_to(params["bias"].astype(zs.dtype), zs.shape)

    def recur(self, params: Params, state: LSTMState, z: Array, *, dot=product, context=None) -> tuple[LSTMState, Array]:
        """The gates from z + W_h * h, then c and h."""
        z = z + dot(patches(state.h, self._widths), params["recurrent_kernel"])
        i, f, g, o = gate_values(z, i="s", f="s", g="t", o="s")
        c = f * state.c + i * g
        h = o * jnp.tanh(c)
        return LSTMState(c, h), h
