"""Networks of convolutions over time that label every step: an encoder-decoder, and dilated residual blocks."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax import tree
from seqjax.checks import check_flag, check_rate, check_size, check_sizes
from seqjax.errors import InputError
from seqjax.layers.convolution import TemporalLayer, convolve, drop_features, init_kernel
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class TemporalConvNet(TemporalLayer):
    """An encoder-decoder of convolutions over time (ED-TCN); the output is as long as the input.

        encoder, for each of `filters`:          x = pool(f(conv(x)))       pool: the maximum of each two steps
        decoder, for each of them, backwards:    x = f(conv(repeat(x)))     repeat: every step twice
        f(a) = relu(a) / (max over the features of relu(a) + 1e-5)

    A step of the output has filters[0] features. Noisy with dropout, which drops features before f.

    Args:
        input_size: D.
        filters: features of each level, from the first to the deepest; each level halves the steps.
        width: taps of every convolution, at every level.
        causal: whether step t reads no later step: convolutions read backwards, and a pool reads the steps 2j - 1 and 2j. Of L
            levels, step t then reads the steps up to 2 ** L * (t // 2 ** L).
        dropout: rate.

    Raises:
        InputError: no filters, a size that is not positive, or a dropout that is not a rate; on use, a reset.

    Example:
        >>> layer = TemporalConvNet(input_size=3, filters=(4, 6), width=5)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.ones((2, 7, 3)))[1].shape
        (2, 7, 4)

    Lea, Flynn, Vidal, Reiter, Hager 2017, arXiv:1611.05267.
    """

    filters: tuple[int, ...] = (48, 64, 96)
    width: int = 25
    causal: bool = False
    dropout: float = 0.0  # type: ignore[misc]

    def __post_init__(self):
        check_sizes(self, filters=self.filters)
        if not self.filters:
            raise InputError("TemporalConvNet has no filters: give at least one level, such as filters=(48, 64)")
        check_size(self, input_size=self.input_size, width=self.width)
        check_rate(self, dropout=self.dropout)
        check_flag(self, causal=self.causal)

    def init(self, key: Key) -> Params:
        """{"encoder_0", "encoder_1", ..., ..., "decoder_1", "decoder_0"}, each `kernel` [width, ., .] and `bias`."""
        levels = range(len(self.filters))
        inputs, outputs = (self.input_size, *self.filters), (*self.filters, self.filters[-1])
        sizes = {f"encoder_{i}": (inputs[i], self.filters[i]) for i in levels}
        sizes |= {f"decoder_{i}": (outputs[i + 1], self.filters[i]) for i in levels}
        keys = jax.random.split(key, len(sizes))
        return {name: init_kernel(k, self.width, *size) for k, (name, size) in zip(keys, sizes.items(), strict=True)}

    def outputs(self, params: Params, xs: Array, real: Array, keys: Array | None) -> Array:
        """Down to the deepest level and up again."""
        steps, levels = xs.shape[1], len(self.filters)
        extra = -(-steps // 2**levels) * 2**levels - steps
        xs = jnp.pad(xs, ((0, 0), (0, extra), (0, 0)))  # [B, T', D], T' a multiple of 2 ** levels
        reals = [jnp.pad(real, ((0, 0), (0, extra)))]  # of each level: [B, T' / 2 ** level]

        def block(name, number, xs, real):
            hs = drop_features(keys, number, self.dropout, convolve(params[name], xs, causal=self.causal))
            hs = jax.nn.relu(hs)
            hs = hs / (hs.max(axis=-1, keepdims=True) + jnp.asarray(1e-5, hs.dtype))
            return tree.zero_where_not(real, hs)

        for i in range(levels):
            xs = _pool(block(f"encoder_{i}", i, xs, reals[-1]), self.causal)
            pairs = reals[-1].reshape(real.shape[0], xs.shape[1], 2)
            reals.append(pairs[:, :, 0] if self.causal else pairs.any(axis=2))
            xs = tree.zero_where_not(reals[-1], xs)
        for i in reversed(range(levels)):
            xs = block(f"decoder_{i}", levels + i, jnp.repeat(xs, 2, axis=1), reals[i])
        return xs[:, :steps]


def _pool(xs: Array, causal: bool) -> Array:
    """The maxima of the steps 2j and 2j + 1, if causal 2j - 1 and 2j: [B, T, F] to [B, T / 2, F]; xs is not negative."""
    if causal:
        xs = jnp.pad(xs, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    rows, steps, features = xs.shape
    return xs.reshape(rows, steps // 2, 2, features).max(axis=2)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class DilatedConvNet(TemporalLayer):
    """Dilated convolutions over time in residual blocks; the output is as long as the input.

        x = W x + b;   then for l = 0 .. depth - 1:   x = x + W_l relu(conv_l(x)) + b_l,   conv_l with dilation 2 ** l

    A step of the output reads (width - 1) (2 ** depth - 1) + 1 steps. Noisy with dropout, which drops features of each block.

    Args:
        input_size: D.
        hidden_size: H, features of every step.
        depth: blocks.
        width: taps of a convolution.
        causal: whether step t reads no later step.
        dropout: rate.

    Raises:
        InputError: a size that is not positive, or a dropout that is not a rate; on use, a reset.

    Example:
        >>> layer = DilatedConvNet(input_size=3, hidden_size=4, depth=2)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.ones((2, 7, 3)))[1].shape
        (2, 7, 4)

    Farha, Gall 2019, arXiv:1903.01945 (one stage); Bai, Kolter, Koltun 2018, arXiv:1803.01271 (causal).
    """

    hidden_size: int
    depth: int = 8
    width: int = 3
    causal: bool = False
    dropout: float = 0.0  # type: ignore[misc]

    def __post_init__(self):
        check_size(self, input_size=self.input_size, hidden_size=self.hidden_size, depth=self.depth, width=self.width)
        check_rate(self, dropout=self.dropout)
        check_flag(self, causal=self.causal)

    def init(self, key: Key) -> Params:
        """ "input", then for each block "conv_l" and "out_l", each `kernel` [taps, ., H] and `bias` [H]."""
        sizes = {"input": (1, self.input_size)}
        for i in range(self.depth):
            sizes |= {f"conv_{i}": (self.width, self.hidden_size), f"out_{i}": (1, self.hidden_size)}
        keys = jax.random.split(key, len(sizes))
        return {name: init_kernel(k, *size, self.hidden_size) for k, (name, size) in zip(keys, sizes.items(), strict=True)}

    def outputs(self, params: Params, xs: Array, real: Array, keys: Array | None) -> Array:
        """The blocks, one after another."""
        xs = tree.zero_where_not(real, convolve(params["input"], xs))  # [B, T, H]
        for i in range(self.depth):
            hs = jax.nn.relu(convolve(params[f"conv_{i}"], xs, causal=self.causal, dilation=2**i))
            hs = drop_features(keys, i, self.dropout, convolve(params[f"out_{i}"], hs))
            xs = xs + tree.zero_where_not(real, hs)
        return xs
