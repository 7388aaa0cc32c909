"""Parts without recurrence, for use before, between and after cells: affine maps, embeddings, normalisation, dropout."""

import dataclasses
import math
from typing import Any, ClassVar

import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax import masks, noise
from seqjax.annotations import public
from seqjax.checks import as_array, check_choice, check_number, check_rate, check_size, check_sizes, kind_of_dtype
from seqjax.contracts import CompositeCell
from seqjax.errors import InputError
from seqjax.gates import input_product, layer_norm
from seqjax.initializers import embedding_table, glorot
from seqjax.noise import Noise
from seqjax.parameters import check_params
from seqjax.products import product
from seqjax.recurrence.arguments import check_tokens
from seqjax.serial import register
from seqjax.tree import cast_floating
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, is_tokens, output_dtype


class Stateless(CompositeCell):
    """A part without recurrence, y[t] = f(x[t]): a cell, and a function of parameters and inputs.

        part(params, x) == y

    A subclass gives input_shape, init, and `project`, which is f.
    """

    @public
    def __call__(self, params: Params, xs: ArrayLike) -> Array:
        """f of one step or of many: [..., *input_shape], or integer tokens [...], to [..., *output_shape].

        Raises:
            InputError: parameters of another part, inputs of another shape, or tokens outside 0..D-1 (unless traced).
        """
        check_params(self, params)
        inputs = as_array("xs", xs)
        tokens = is_tokens(inputs, self.input_shape)
        shape = () if tokens else self.input_shape or ()
        leading = inputs.shape[: max(inputs.ndim - len(shape), 0)]
        if inputs.shape != (*leading, *shape) or kind_of_dtype(inputs.dtype) not in ("floating", "integer"):
            axes = "".join(f", {size}" for size in shape)
            raise InputError(f"xs is {inputs.dtype}{list(inputs.shape)}, {type(self).__name__} reads numbers [...{axes}]")
        if tokens:
            check_tokens(self, inputs, math.prod(self.input_shape or ()))
        inputs = jnp.asarray(inputs)
        ys = self.step(params, self.initial_state(params, leading), inputs)[1]
        return cast_floating(ys, output_dtype(params, inputs))

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """The empty tuple."""
        return ()

    def recur(self, params: Params, state: State, z, *, dot=product, context=None) -> tuple[State, Any]:
        """z unchanged."""
        return state, z

    def unroll(self, params: Params, xs: Array, state: State, **options) -> tuple[State, Any]:
        """All steps at once."""
        return state, self.project(params, xs).astype(output_dtype(params, xs))


@register
@dataclasses.dataclass(frozen=True)
class Dense(Stateless):
    """A matrix product and a bias at every step, such as the readout y = W_hy h + b_y. No state.

    Args:
        input_size: D.
        output_size: features of y.

    Raises:
        InputError: a size that is not positive.

    Example:
        >>> import jax
        >>> dense = Dense(3, 2)
        >>> dense(dense.init(jax.random.key(0)), jnp.ones(3)).shape
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

    def project(self, params: Params, xs: Array) -> Array:
        """xs @ kernel + bias."""
        ys = input_product(params["kernel"], xs)
        return ys + jnp.broadcast_to(params["bias"].astype(ys.dtype), ys.shape)


@register
@dataclasses.dataclass(frozen=True)
class Embedding(Stateless):
    """The embedding of each symbol, a row of a table, to be read by the next part of a Stack. No state.

        y = E[x]

    Args:
        vocabulary_size: V; xs are integer tokens from 0 to V - 1, or weights of the V rows.
        embedding_size: features of a row.

    Raises:
        InputError: a size that is not positive.

    Example:
        >>> import jax
        >>> embedding = Embedding(10, 3)
        >>> embedding(embedding.init(jax.random.key(0)), jnp.array([[7, 2]])).shape
        (1, 2, 3)
    """

    vocabulary_size: int
    embedding_size: int

    input_kernels: ClassVar[tuple[str, ...]] = ("table",)

    def __post_init__(self):
        check_size(self, vocabulary_size=self.vocabulary_size, embedding_size=self.embedding_size)

    @property
    def input_shape(self) -> Shape:
        return (self.vocabulary_size,)

    def init(self, key: Key) -> Params:
        """`table` [V, embedding_size], its rows of length 1 in the mean."""
        return {"table": embedding_table(key, (self.vocabulary_size, self.embedding_size))}

    def project(self, params: Params, xs: Array) -> Array:
        """The rows of tokens, or xs @ table."""
        return input_product(params["table"], xs)


@register
@dataclasses.dataclass(frozen=True)
class LayerNorm(Stateless):
    """Layer normalisation of every step: its features are normalised to mean 0 and variance 1, then scaled and shifted. No state.

        y = scale * (x - mean(x)) / sqrt(variance(x) + epsilon) + bias

    Args:
        input_size: D.
        epsilon: keeps a step of equal features finite.

    Raises:
        InputError: a size that is not positive, or an epsilon that is not above 0; on use, tokens.

    Example:
        >>> import jax
        >>> norm = LayerNorm(2)
        >>> norm(norm.init(jax.random.key(0)), jnp.array([1.0, 5.0])).round(3).tolist()
        [-1.0, 1.0]

    Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    input_size: int
    epsilon: float = 1e-5

    def __post_init__(self):
        check_size(self, input_size=self.input_size)
        check_number(self, epsilon=self.epsilon)
        if self.epsilon <= 0:
            raise InputError(f"LayerNorm has epsilon={self.epsilon}, it must be above 0")

    @property
    def input_shape(self) -> Shape:
        return (self.input_size,)

    def init(self, key: Key) -> Params:
        """`scale` and `bias`, [D] each."""
        return {"scale": jnp.ones(self.input_size), "bias": jnp.zeros(self.input_size)}

    def project(self, params: Params, xs: Array) -> Array:
        """The normalised features."""
        if is_tokens(xs, self.input_shape):
            raise InputError("LayerNorm reads floating features, and integer tokens are none: embed them first")
        xs = xs.astype(at_least_float32(xs.dtype))
        return layer_norm(xs, params["scale"], params["bias"], self.epsilon)


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
