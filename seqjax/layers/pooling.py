"""Heads that pool the features of a clip's frames over time, by the schemes of Ng et al. 2015."""

import dataclasses

import jax
import jax.core
import jax.numpy as jnp

from seqjax import masks
from seqjax.checks import check_choice, check_size
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.layers.heads import Head, Pooled, fully_connected, init_layers, nothing_pooled, pool_frame, split_key, split_layers
from seqjax.parameters import model_method
from seqjax.products import affine
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooling(Head):
    """Frames pooled first, then the fully connected layers. With "max" this is the conv pooling of Ng et al.

        y = W f(pool over t of h_t) + b

    Args:
        features, classes, hidden, dropout: as for every `Head`.
        reduce: "max", "mean", or "last": the features of the last frame.

    Raises:
        InputError: a size below 1, a rate outside 0 <= rate < 1, or an unknown `reduce`.

    Example:
        >>> Pooling(features=3, classes=2, hidden=(8,)).init(jax.random.key(0))["1"]["kernel"].shape
        (8, 2)

    Ng et al. 2015, arXiv:1503.08909, section 3.1.
    """

    reduce: str = "max"

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(_REDUCE), reduce=self.reduce)

    @model_method
    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        hs, mask = self.frames(hs, mask)
        pooled = _REDUCE[self.reduce](hs, mask=mask)  # [B, F]
        return fully_connected(params, pooled, self.dropout, key)[:, None]

    @model_method
    def start(self, params: Params, rows: int) -> Pooled:
        return nothing_pooled(params, rows, self.features)

    def step(self, params: Params, state: Pooled, h: Array) -> tuple[Pooled, Array]:
        state = pool_frame(state, h, self.reduce)
        count = state.count[:, None].astype(state.pooled.dtype)
        pooled = state.pooled / count if self.reduce == "mean" else state.pooled  # [B, F]
        return state, jax.nn.softmax(fully_connected(params, pooled))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LatePooling(Head):
    """The fully connected layers on every frame, then the maximum over the frames, then the last layer.

        y = W (max over t of f(h_t)) + b

    Args:
        features, classes, hidden, dropout: as for every `Head`; at least one hidden layer.

    Raises:
        InputError: a size below 1, a rate outside 0 <= rate < 1, or no hidden layer.

    Example:
        >>> LatePooling(features=3, classes=2, hidden=(8,)).init(jax.random.key(0))["0"]["kernel"].shape
        (3, 8)

    Ng et al. 2015, arXiv:1503.08909, section 3.1.
    """

    def __post_init__(self):
        super().__post_init__()
        _check_hidden(self)

    @model_method
    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        hs, mask = self.frames(hs, mask)
        hidden, output = split_layers(params)
        k_hidden, k_output = split_key(key)
        frames = fully_connected(hidden, hs, self.dropout, k_hidden, end=True)  # [B, T, H]
        return fully_connected(output, masks.masked_max(frames, mask=mask), self.dropout, k_output)[:, None]

    @model_method
    def start(self, params: Params, rows: int) -> Pooled:
        return nothing_pooled(params, rows, self.hidden[-1])

    def step(self, params: Params, state: Pooled, h: Array) -> tuple[Pooled, Array]:
        hidden, output = split_layers(params)
        state = pool_frame(state, fully_connected(hidden, h, end=True), "max")
        return state, jax.nn.softmax(fully_connected(output, state.pooled))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class SlowPooling(Head):
    """The maximum over local windows of frames, the fully connected layers on each, then the maximum over the windows.

        y = W (max over windows w of f(max over t in w of h_t)) + b

    The windows begin every `stride` frames and cover the clip; the last may be cut off by its end.

    Args:
        features, classes, hidden, dropout: as for every `Head`; at least one hidden layer.
        size: frames of a window.
        stride: frames from window to window, at most `size`.

    Raises:
        InputError: a size below 1, a rate outside 0 <= rate < 1, no hidden layer, or a stride larger than the window.

    Example:
        >>> head = SlowPooling(features=3, classes=2, hidden=(8,), size=4, stride=2)
        >>> head.apply(head.init(jax.random.key(0)), jnp.ones((1, 7, 3)), jnp.ones((1, 7), bool)).shape
        (1, 1, 2)

    Ng et al. 2015, arXiv:1503.08909, section 3.1 (windows of 10 frames, a stride of 5).
    """

    size: int = 10
    stride: int = 5

    def __post_init__(self):
        super().__post_init__()
        _check_hidden(self)
        _check_windows(self, self.size, self.stride)

    @model_method
    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        hs, mask = self.frames(hs, mask)
        hidden, output = split_layers(params)
        k_hidden, k_output = split_key(key)
        frames, inside, real = _windows(hs, mask, self.size, self.stride)  # [B, N, size, F], ..., [B, N]
        rows, count = real.shape
        pooled = masks.masked_max(_fold(frames), mask=_fold(inside)).reshape(rows, count, self.features)  # [B, N, F]
        windows = fully_connected(hidden, pooled, self.dropout, k_hidden, end=True)  # [B, N, H]
        return fully_connected(output, masks.masked_max(windows, mask=real), self.dropout, k_output)[:, None]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalPooling(Head):
    """The maximum over local windows of frames, the fully connected layers on each, and one softmax of all windows' features.

        y = W (f(max over t in w_1 of h_t); ...; f(max over t in w_N of h_t)) + b

    Each clip, whatever its length L, is cut into N equal windows: w_i holds the frames from floor((i - 1) L / N) up to
    ceil(i L / N).

    Args:
        features, classes, hidden, dropout: as for every `Head`.
        windows: N.

    Raises:
        InputError: a size below 1, or a rate outside 0 <= rate < 1.

    Example:
        >>> LocalPooling(features=3, classes=2, windows=4).init(jax.random.key(0))["0"]["kernel"].shape
        (12, 2)

    Ng et al. 2015, arXiv:1503.08909, section 3.1.
    """

    windows: int = 4

    def __post_init__(self):
        super().__post_init__()
        check_size(self, windows=self.windows)

    def init(self, key: Key) -> Params:
        """The fully connected layers; the last kernel reads the features of all windows."""
        sizes = (self.features, *self.hidden)
        k_hidden, k_output = jax.random.split(key)
        last = init_layers(k_output, (self.windows * sizes[-1], self.classes))["0"]
        return init_layers(k_hidden, sizes) | {str(len(self.hidden)): last}

    @model_method
    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        hs, mask = self.frames(hs, mask)
        hidden, output = split_layers(params)
        k_hidden, k_output = split_key(key)
        frame = masks.real_steps_before(mask)  # [B, T]
        length = mask.sum(axis=1, keepdims=True, dtype=jnp.int32)  # [B, 1]
        pooled = []
        for i in range(self.windows):
            first, end = i * length // self.windows, -(-(i + 1) * length // self.windows)  # [B, 1]
            pooled.append(masks.masked_max(hs, mask=mask & (frame >= first) & (frame < end)))  # [B, F]
        windows = fully_connected(hidden, jnp.stack(pooled, axis=1), self.dropout, k_hidden, end=True)  # [B, N, H]
        return fully_connected(output, jax.lax.collapse(windows, 1), self.dropout, k_output)[:, None]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeConvolution(Head):
    """A convolution over time, a ReLU, the maximum over time, then the fully connected layers.

        y = W f(max over windows w of relu(sum over t in w of K_t h_t + b_K)) + b

    The windows are those of `SlowPooling`; frames beyond the end of a clip count as zeros.

    Args:
        features, classes, hidden, dropout: as for every `Head`.
        filters: outputs of the convolution.
        size: frames of a kernel.
        stride: frames from window to window, at most `size`.

    Raises:
        InputError: a size below 1, a rate outside 0 <= rate < 1, or a stride larger than the kernel.

    Example:
        >>> head = TimeConvolution(features=3, classes=2, filters=8, size=4, stride=2)
        >>> head.init(jax.random.key(0))["convolution"]["kernel"].shape
        (4, 3, 8)

    Ng et al. 2015, arXiv:1503.08909, section 3.1 (10 frames, a stride of 5).
    """

    filters: int = 256
    size: int = 10
    stride: int = 5

    def __post_init__(self):
        super().__post_init__()
        check_size(self, filters=self.filters)
        _check_windows(self, self.size, self.stride)

    def init(self, key: Key) -> Params:
        """`convolution` (`kernel` [size, F, filters], `bias`), and the fully connected layers."""
        k_kernel, k_layers = jax.random.split(key)
        kernel = glorot(k_kernel, (self.size, self.features, self.filters))
        layers = init_layers(k_layers, (self.filters, *self.hidden, self.classes))
        return layers | {"convolution": {"kernel": kernel, "bias": jnp.zeros(self.filters)}}

    @model_method
    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        hs, mask = self.frames(hs, mask)
        layers = dict(params)
        convolution = layers.pop("convolution")
        kernel = convolution["kernel"].reshape(self.size * self.features, self.filters)
        frames, _, real = _windows(hs, mask, self.size, self.stride)  # [B, N, size, F], [B, N]
        ys = affine(jax.lax.collapse(frames, 2), kernel, convolution["bias"])  # [B, N, filters]
        pooled = masks.masked_max(jax.nn.relu(ys), mask=real)  # [B, filters]
        return fully_connected(layers, pooled, self.dropout, key)[:, None]


_REDUCE = {"max": masks.masked_max, "mean": masks.masked_mean, "last": masks.last}


def _windows(hs: Array, mask: Array, size: int, stride: int) -> tuple[Array, Array, Array]:
    """Windows of frames that cover every clip.

    Args:
        hs: [B, T, F].
        mask: bool, [B, T].
        size: frames of a window.
        stride: frames from window to window.

    Returns:
        frames [B, N, size, F], zero beyond the end; inside [B, N, size], True at real frames; real [B, N], True at windows
        with a real frame that no window before holds.
    """
    steps = hs.shape[1]
    count = 1 + jax.core.max_dim(0, -(-(steps - size) // stride))
    padding = jax.core.max_dim(0, (count - 1) * stride + size - steps)
    index = jnp.arange(count)[:, None] * stride + jnp.arange(size)[None]  # [N, size]
    frames = jnp.pad(hs, ((0, 0), (0, padding), (0, 0)))[:, index]
    inside = jnp.pad(mask, ((0, 0), (0, padding)))[:, index]
    new = inside[:, :, size - stride :].any(axis=2)  # [B, N]
    return frames, inside, new.at[:, 0].set(inside[:, 0].any(axis=1))


def _fold(a: Array) -> Array:
    return a.reshape(a.shape[0] * a.shape[1], *a.shape[2:])


def _check_hidden(head: Head):
    if not head.hidden:
        raise InputError(f"{type(head).__name__} has no hidden layer, and it pools the outputs of one: give hidden=(256,)")


def _check_windows(head: Head, size: int, stride: int):
    check_size(head, size=size, stride=stride)
    if stride > size:
        raise InputError(
            f"{type(head).__name__} has stride={stride}, it must be at most size={size}, or frames would be left out"
        )
