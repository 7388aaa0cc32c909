"""Convolutions over time: layers whose output at a step reads the steps around it, or before it."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax import masks, noise, tree
from seqjax.activations import ACTIVATIONS
from seqjax.checks import check_choice, check_flag, check_size, check_sizes
from seqjax.contracts import SequenceLayer
from seqjax.errors import InputError
from seqjax.noise import Noise
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, float_dtype, is_tokens, output_dtype


def init_kernel(key: Key, width: int, inputs: int, outputs: int) -> Params:
    """`kernel` [width, inputs, outputs] and `bias` [outputs] of a convolution: Glorot's uniform, and zeros."""
    return {"kernel": jax.nn.initializers.glorot_uniform()(key, (width, inputs, outputs)), "bias": jnp.zeros(outputs)}


def convolve(params: Params, xs: Array, *, causal: bool = False, dilation: int = 1) -> Array:
    """A convolution over time of the length of its input.

        y[t] = b + sum_k kernel[k]^T x[t + (k - offset) dilation],   x = 0 outside;   offset = K - 1 if causal, else (K - 1) // 2

    Args:
        params: `kernel` [K, D, F] and `bias` [F].
        xs: floating, [B, T, D], 0 at padded steps.
        causal: whether step t reads no later step.
        dilation: steps from one tap to the next.

    Returns:
        [B, T, F], float32 or wider.

    Example:
        >>> params = {"kernel": jnp.ones((3, 1, 1)), "bias": jnp.zeros(1)}
        >>> convolve(params, jnp.array([[[1.0], [2.0], [3.0]]]))[0, :, 0].tolist()
        [3.0, 6.0, 5.0]
        >>> convolve(params, jnp.array([[[1.0], [2.0], [3.0]]]), causal=True)[0, :, 0].tolist()
        [1.0, 3.0, 6.0]
    """
    kernel = params["kernel"]
    width, dtype = kernel.shape[0], at_least_float32(kernel.dtype)
    before = width - 1 if causal else (width - 1) // 2
    padding = [(before * dilation, (width - 1 - before) * dilation)]
    ys = jax.lax.conv_general_dilated(
        xs.astype(kernel.dtype), kernel, (1,), padding, rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )
    return ys.astype(dtype) + jnp.broadcast_to(params["bias"].astype(dtype), ys.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemporalLayer(SequenceLayer):
    """A layer of convolutions over time; padding is 0 and reaches nothing. Noisy with dropout.

    A subclass gives `init` and `outputs`. Dropout drops whole features of a row, for all its steps.

    Args:
        input_size: D.
        dropout: rate.
    """

    input_size: int
    dropout: ClassVar[float] = 0.0

    @property
    def input_shape(self) -> Shape:
        return (self.input_size,)

    def outputs(self, params: Params, xs: Array, real: Array, keys: Array | None) -> Array:
        """The outputs of all steps, from the first to the last.

        Args:
            params: from `init`.
            xs: [B, T, D], 0 where not real.
            real: bool, [B, T].
            keys: a typed key for each row [B]; None: no dropout.

        Returns:
            [B, T, F], finite but arbitrary where not real.
        """
        raise NotImplementedError

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """Noise, on with a key; the empty tuple without dropout."""
        return noise.reseed(Noise.off(batch_shape), key) if self.dropout else ()

    def unroll(
        self, params: Params, xs: Array, state: State, *, mask=None, reset=None, reverse=False, remat=None, collect="outputs",
        **options,
    ):  # fmt: skip
        """All steps at once; with remat the backward pass recomputes all of them."""
        if reset is not None:
            raise InputError(f"{type(self).__name__} takes no reset: give each sequence a row of its own")
        dtype = output_dtype(params, xs)
        real = jnp.ones(xs.shape[:2], jnp.bool_) if mask is None else mask  # [B, T]
        final, states = self._states(state, real, reverse)
        if collect != "outputs":
            return final, states if collect == "states" else {}
        if is_tokens(xs, self.input_shape):
            xs = jax.nn.one_hot(xs, self.input_size, dtype=float_dtype(params))
        if not xs.shape[1]:
            return final, jnp.zeros((*xs.shape[:2], *self._output_shape(params, xs)), dtype)
        keys = state.key if self.dropout else None

        def run(params, xs):
            xs = tree.zero_where_not(real, xs)  # [B, T, D]
            if not reverse:
                return self.outputs(params, xs, real, keys)
            order = _reversed(real)
            flipped = jnp.take_along_axis(real, order, axis=1)
            return _reorder(self.outputs(params, _reorder(xs, order), flipped, keys), order)

        return final, (run if remat is None else jax.checkpoint(run))(params, xs).astype(dtype)

    def _states(self, state, real, reverse):
        """(The state after all steps, the states after each step.)"""
        if not self.dropout:
            return state, ()
        counts = state.count[:, None] + masks.real_steps_before(real, reverse=reverse) + real.astype(jnp.int32)  # [B, T]
        keys = None if state.key is None else jnp.broadcast_to(state.key[:, None], real.shape)
        return Noise(state.key, state.count + real.sum(1, dtype=jnp.int32)), Noise(keys, counts)

    def _output_shape(self, params, xs):
        one = jax.ShapeDtypeStruct((1, 1, self.input_size), xs.dtype)
        real = jax.ShapeDtypeStruct((1, 1), jnp.bool_)
        return jax.eval_shape(lambda p, x, r: self.outputs(p, x, r, None), params, one, real).shape[2:]


def drop_features(keys: Array | None, number: int, rate: float, xs: Array) -> Array:
    """Dropout of whole features of each row, the same at all steps (Tompson et al. 2015).

    Args:
        keys: a typed key for each row [B]; None: xs is returned unchanged.
        number: of this dropout in its layer: equal keys with another number draw other masks.
        rate: 0 <= rate < 1.
        xs: floating, [B, T, F].

    Returns:
        [B, T, F].
    """
    if keys is None or not rate:
        return xs
    keys = noise.fold_counts(keys, jnp.full(keys.shape, number, jnp.int32))
    scale = noise.drop(keys, rate, jnp.ones((xs.shape[0], xs.shape[2]), xs.dtype))  # [B, F]
    return xs * jnp.broadcast_to(scale[:, None], xs.shape)


def _reversed(real: Array) -> Array:
    """The order that reverses every row up to its last real step, int32 [B, T]; it is its own inverse."""
    steps = jnp.broadcast_to(jnp.arange(real.shape[1], dtype=jnp.int32), real.shape)
    last = jnp.max(jnp.where(real, steps, -1), axis=1, keepdims=True)  # [B, 1]
    return jnp.where(steps <= last, last - steps, steps)


def _reorder(xs: Array, order: Array) -> Array:
    """xs [B, T, F] with the steps of each row in another order."""
    return jnp.take_along_axis(xs, order[..., None], axis=1)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution(TemporalLayer):
    """A convolution over time, or several of different widths side by side; the output is as long as the input.

        y[t] = [f(b_w + sum_k W_w[k]^T x[t + (k - offset) dilation]) for w in widths]

    x is 0 outside the sequence. offset = w - 1 if causal, else (w - 1) // 2.

    Args:
        input_size: D.
        features: F of each width; a step's output has F * len(widths).
        widths: taps of each convolution, such as (3, 4, 5) for sentences.
        dilation: steps from one tap to the next.
        causal: whether step t reads no later step.
        activation: f, a name of `seqjax.activations.ACTIVATIONS`, such as "relu", "tanh", "gelu" or "linear".

    Raises:
        InputError: a size that is not positive, no widths, or an unknown activation; on use, a reset.

    Example:
        >>> from seqjax.masks import masked_max
        >>> layer = Convolution(input_size=8, features=4, widths=(3, 4, 5))
        >>> _, ys = layer.apply(layer.init(jax.random.key(0)), jnp.ones((2, 6, 8)), lengths=jnp.array([6, 2]))
        >>> masked_max(ys, lengths=jnp.array([6, 2])).shape  # max over time
        (2, 12)

    Kim 2014, arXiv:1408.5882.
    """

    features: int
    widths: tuple[int, ...] = (3,)
    dilation: int = 1
    causal: bool = False
    activation: str = "relu"

    def __post_init__(self):
        check_sizes(self, widths=self.widths)
        if not self.widths:
            raise InputError("Convolution has no widths: give at least one, such as widths=(3,)")
        check_size(self, input_size=self.input_size, features=self.features, dilation=self.dilation)
        check_flag(self, causal=self.causal)
        check_choice(self, tuple(ACTIVATIONS), activation=self.activation)

    def init(self, key: Key) -> Params:
        """For each width, by its number: `kernel` [w, D, F], `bias` [F]."""
        keys = jax.random.split(key, len(self.widths))
        parts = zip(keys, self.widths, strict=True)
        return {str(i): init_kernel(k, width, self.input_size, self.features) for i, (k, width) in enumerate(parts)}

    def outputs(self, params: Params, xs: Array, real: Array, keys: Array | None) -> Array:
        """Every convolution and its activation, side by side."""
        options = {"causal": self.causal, "dilation": self.dilation}
        ys = [convolve(params[str(i)], xs, **options) for i in range(len(self.widths))]
        return ACTIVATIONS[self.activation](jnp.concatenate(ys, axis=-1))
