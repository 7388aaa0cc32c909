"""Parts without recurrence, for use between cells: an affine map and dropout."""

import dataclasses

import jax.numpy as jnp

from seqjax import masks, noise
from seqjax.checks import check_choice, check_rate, check_size, check_sizes
from seqjax.contracts import CompositeCell
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.noise import Noise
from seqjax.products import product
from seqjax.serial import register
from seqjax.tables import look_up
from seqjax.types import Array, Key, Params, Shape, at_least_float32, is_tokens, output_dtype


@register
@dataclasses.dataclass(frozen=True)
class Dense(CompositeCell):
    """A matrix product and a bias at every step, such as the lectures' readout y = W_hy h + b_y. No state.

    Args:
        input_size: D.
        output_size: features of y.

    Raises:
        InputError: a size that is not positive.

    Example:
        >>> import jax
        >>> dense = Dense(3, 2)
        >>> dense.step(dense.init(jax.random.key(0)), (), jnp.ones(3))[1].shape
        (2,)
    """

    input_size: int
    output_size: int

    def __post_init__(self):
        check_size(self, input_size=self.input_size, output_size=self.output_size)

    @property
    def input_shape(self) -> Shape:
        return (self.input_size,)

    def init(self, key: Key) -> Params:
        """`kernel` [D, output_size], `bias` [output_size]."""
        return {"kernel": glorot(key, (self.input_size, self.output_size)), "bias": jnp.zeros(self.output_size)}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The empty tuple."""
        return ()

    def project(self, params: Params, xs: Array) -> Array:
        """The output, xs @ kernel + bias."""
        kernel = params["kernel"]
        if is_tokens(xs, self.input_shape):
            ys = look_up(kernel, xs).astype(at_least_float32(kernel.dtype))
        else:
            ys = product(xs, kernel)
        return ys + jnp.broadcast_to(params["bias"].astype(ys.dtype), ys.shape)

    def recur(self, params: Params, state, z, *, dot=product, context=None):
        """z unchanged."""
        return state, z

    def unroll(self, params: Params, xs: Array, state, **options):
        """One product over all steps."""
        ys = self.project(params, xs)
        return state, ys.astype(output_dtype(params, xs))


@register
@dataclasses.dataclass(frozen=True)
class Dropout(CompositeCell):
    """Dropout: sets each feature to 0 with probability `rate`, else divides it by 1 - rate. Noisy; the identity without a key.

    Its position in a Stack decides what is dropped: before a cell its input, after it its output.

    Args:
        rate: 0 <= rate < 1.
        per: "step" draws a mask at every step, "sequence" draws one for all steps of a row (variational dropout).
        input_shape: the shape of one step of one row; None: any shape.

    Raises:
        InputError: a rate outside 0 <= rate < 1, or an unknown `per`.

    Example:
        >>> import jax
        >>> cell = Dropout(0.5)
        >>> cell.step({}, cell.initial_state({}, key=jax.random.key(1)), jnp.ones(6))[1].tolist()
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]

    Srivastava et al. 2014; Zaremba, Sutskever, Vinyals 2014 (per step, never on the recurrence);
    Gal, Ghahramani 2016 (per sequence).
    """

    rate: float
    per: str = "step"
    input_shape: Shape | None = None  # type: ignore[assignment]

    def __post_init__(self):
        check_rate(self, rate=self.rate)
        check_choice(self, ("step", "sequence"), per=self.per)
        if self.input_shape is not None:
            check_sizes(self, input_shape=self.input_shape)

    def __repr__(self):
        shape = "" if self.input_shape is None else f", input_shape={self.input_shape}"
        return f"Dropout({self.rate}, per={self.per!r}{shape}, noisy)"

    def init(self, key: Key) -> Params:
        """An empty dict."""
        return {}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> Noise:
        """Noise, on with a key."""
        return noise.reseed(Noise.off(batch_shape), key)

    def recur(self, params: Params, state: Noise, z: Array, *, dot=product, context=None) -> tuple[Noise, Array]:
        """The input times the mask of this step, or of the sequence."""
        self._check(z)
        keys = state.key
        if keys is not None and self.per == "step":
            keys = noise.fold_counts(keys, state.count)
        return state.advance(), noise.drop(keys, self.rate, z)

    def unroll(self, params: Params, xs: Array, state: Noise, *, mask=None, reverse=False, **options):
        """All steps at once: the count of a step is the number of real steps before it."""
        self._check(xs)
        real = jnp.ones(xs.shape[:2], jnp.bool_) if mask is None else mask
        keys = state.key
        if keys is not None:
            keys = jnp.broadcast_to(keys[:, None], xs.shape[:2])
            if self.per == "step":  # padding repeats the first real step
                before = jnp.where(real, masks.real_steps_before(real, reverse=reverse), 0)
                keys = noise.fold_counts(keys, state.count[:, None] + before)
        return Noise(state.key, state.count + real.sum(1, dtype=jnp.int32)), noise.drop(keys, self.rate, xs)

    @staticmethod
    def _check(xs):
        if not jnp.issubdtype(xs.dtype, jnp.floating):
            raise InputError(f"Dropout drops floating features, and xs is {xs.dtype}: put it after the part that reads xs")
