"""Centring: each feature of a sequence, without its mean over the sequence."""

import dataclasses

import jax.numpy as jnp

from seqjax import masks
from seqjax.checks import check_size
from seqjax.layers.convolution import TemporalLayer
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Center(TemporalLayer):
    """A sequence without its mean: what changes in a clip stays, what does not (a scene, a microphone) is taken off.

        y_t = x_t - (1 / L) sum over s of x_s,    s over the L real steps

    It sees the whole sequence, so a network that begins with it cannot follow a stream.

    Args:
        input_size: D.

    Raises:
        InputError: a size that is not positive; on use, a reset.

    Example:
        >>> layer = Center(input_size=1)
        >>> layer.apply({}, jnp.array([[[1.0], [5.0], [9.0]]]), lengths=jnp.array([2]))[1][0, :2, 0].tolist()
        [-2.0, 2.0]

    Atal 1974 (cepstral mean subtraction).
    """

    def __post_init__(self):
        check_size(self, input_size=self.input_size)

    def init(self, key: Key) -> Params:
        """An empty dict."""
        return {}

    def outputs(self, params: Params, xs: Array, real: Array, keys: Array | None) -> Array:
        """xs - mean."""
        mean = masks.masked_mean(xs, mask=real)  # [B, D]
        return xs - jnp.broadcast_to(mean[:, None], xs.shape)
