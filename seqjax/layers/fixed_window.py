"""A feed-forward network over a whole sequence, with weights of its own for every position."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax.checks import check_size
from seqjax.errors import InputError
from seqjax.layers.convolution import TemporalLayer
from seqjax.layers.heads import fully_connected, init_layers
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedWindow(TemporalLayer):
    """The feed-forward network that recurrent ones are compared with: it reads all N positions at once.

        (y_1; ...; y_N) = relu(W_2 relu(W_1 (x_1; ...; x_N) + b_1) + b_2),    x_t = 0 after the end

    Whatever it learns at one position it knows at that position only, and no sequence may have more than N.

    Args:
        input_size: D.
        hidden_size: M, the features of every y_t, and 4 M those of the layer between.
        length: N, the longest sequence.

    Raises:
        InputError: a size that is not positive; on use, a longer sequence or a reset.

    Example:
        >>> layer = FixedWindow(input_size=2, hidden_size=3, length=4)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.ones((5, 4, 2)))[1].shape
        (5, 4, 3)

    Bengio et al. 2003 (a window of words); Hinton, Neural Networks for Machine Learning, lecture 7 (its limits).
    """

    hidden_size: int
    length: int

    def __post_init__(self):
        check_size(self, input_size=self.input_size, hidden_size=self.hidden_size, length=self.length)

    def init(self, key: Key) -> Params:
        """Two fully connected layers: {"0": `kernel` [N D, 4 M] and `bias`, "1": `kernel` [4 M, N M] and `bias`}."""
        return init_layers(key, (self.length * self.input_size, 4 * self.hidden_size, self.length * self.hidden_size))

    def outputs(self, params: Params, xs: Array, real: Array, keys: Array | None) -> Array:
        """[B, T, M]."""
        rows, steps, _ = xs.shape
        if steps > self.length:
            raise InputError(f"FixedWindow reads {self.length} steps and has no weights for the others: xs has {steps}")
        xs = jnp.pad(xs, ((0, 0), (0, self.length - steps), (0, 0)))  # [B, N, D]
        ys = fully_connected(params, xs.reshape(rows, -1), end=True)  # [B, N M]
        return jax.lax.slice_in_dim(ys.reshape(rows, self.length, self.hidden_size), 0, steps, axis=1)
