"""Flax Linen modules as cells: the one door for feed-forward networks, such as convolutions over frames."""

import contextlib
import dataclasses
import functools
import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp

from seqjax import linen, masks, noise
from seqjax.checks import check_sizes
from seqjax.compose.stateless import Stateless
from seqjax.errors import InputError
from seqjax.noise import Noise
from seqjax.recurrence.chunks import chunk_length, recomputed
from seqjax.serial import register
from seqjax.tree import cast_floating
from seqjax.types import Array, Key, Params, Shape, State, as_features, float_dtype, is_tokens, output_dtype


@register
@dataclasses.dataclass(frozen=True, repr=False)
class Feedforward(Stateless):
    """Any Flax Linen module as a cell without recurrence: y[t] = module(x[t]), all steps at once.

    The module is called with the rows of all steps as one batch, [N, *input_shape] to [N, ...]. Frames of uint8 become float32
    values / 255, other integers floats; integer tokens, which need an input_shape (D,), become one-hot vectors.

    Noisy if the module draws dropout: every row and step has its own key (rng "dropout"). A `Dropout` inside is on with a key
    and the identity without; an argument of a `__call__` named `deterministic`, `train` or `training` is set to match, where
    the calling module leaves it open.

    Its parameters are the module's variables, {"params": ...} and other collections, such as {"batch_stats": ...}, which
    are constants: they get no gradient, no weight decay, and are never updated.

    Args:
        module: a Linen module, such as `flax.linen.Dense(8)`; its fields must be hashable: tuples, not lists.
        input_shape: the shape of one step of one row.

    Raises:
        InputError: no Linen module, or an unhashable field; on use, a module that updates a collection (a BatchNorm needs
            use_running_average=True), draws from an rng other than "dropout", or does not return floating [N, ...].

    Example:
        >>> from flax import linen as nn
        >>> from seqjax.recurrence.engine import unroll
        >>> cell = Feedforward(nn.Sequential((nn.Conv(4, (3, 3)), nn.relu)), input_shape=(8, 8, 1))
        >>> unroll(cell, cell.init(jax.random.key(0)), jnp.ones((2, 5, 8, 8, 1)))[1].shape
        (2, 5, 8, 8, 4)
    """

    module: Any
    input_shape: Shape = None  # type: ignore[assignment]  # required: the default takes the place of Cell's property

    def __post_init__(self):
        if not linen.is_module(self.module):
            kind = type(self.module).__name__
            raise InputError(f"Feedforward has a module of type {kind}, it must be a flax.linen.Module such as linen.Dense(8)")
        check_sizes(self, input_shape=self.input_shape)
        if (field := _unhashable(self.module)) is not None:
            raise InputError(f"Feedforward has a module whose {field} cannot be hashed: give a tuple or another immutable value")

    def __repr__(self):
        return f"Feedforward({type(self.module).__name__}, input_shape={self.input_shape})"

    def __deepcopy__(self, memo):
        return self  # it is a value; copy.deepcopy would make activations such as linen.relu, which are objects, unequal

    def init(self, key: Key) -> Params:
        """The module's variables: {"params": ..., other collections}."""
        _draws(self.module, self.input_shape)
        return _init(self.module, self.input_shape, key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """Noise, on with a key; the empty tuple if the module draws nothing."""
        return noise.reseed(Noise.off(batch_shape), key) if _draws(self.module, self.input_shape) else ()

    def project(self, params: Params, xs: Array):
        """The outputs; the inputs of a module that draws dropout."""
        return xs if _draws(self.module, self.input_shape) else self._outputs(params, xs, None)

    def recur(self, params: Params, state: State, z, *, dot=None, context=None):
        """z unchanged, or the outputs with the dropout of this step."""
        if not _draws(self.module, self.input_shape):
            return state, z
        keys = None if state.key is None else noise.fold_counts(state.key, state.count)
        return state.advance(), self._outputs(params, z, keys)

    def unroll(self, params: Params, xs: Array, state: State, *, mask=None, reverse=False, remat=None, **options):
        """All steps at once, or with remat chunk by chunk; the count of a step is the number of real steps before it.

        The chunks of remat save memory at a price: on CPUs, XLA runs a convolution in a loop about ten times slower.
        """
        keys = None  # [B, T]
        if _draws(self.module, self.input_shape):
            real = jnp.ones(xs.shape[:2], jnp.bool_) if mask is None else mask
            if state.key is not None:
                counts = state.count[:, None] + masks.real_steps_before(real, reverse=reverse)
                keys = noise.fold_counts(jnp.broadcast_to(state.key[:, None], xs.shape[:2]), counts)
            state = Noise(state.key, state.count + real.sum(1, dtype=jnp.int32))
        if remat is None or not xs.shape[1]:
            return state, self._outputs(params, xs, keys)

        def chunk(params, nothing, inputs):
            return nothing, self._outputs(params, *inputs)

        return state, recomputed(chunk, params, (), (xs, keys), chunk_length(remat, xs.shape[1]), reverse=reverse)[1]

    def _outputs(self, params: Params, xs: Array, keys: Array | None):
        """The module's outputs for xs [..., *input_shape] with keys [...], or with None for no dropout."""
        rank = 0 if is_tokens(xs, self.input_shape) else len(self.input_shape)
        leading, dtype = xs.shape[: xs.ndim - rank], output_dtype(params, xs)
        values = self._values(params, xs).reshape(math.prod(leading), *self.input_shape)  # [N, *input_shape]
        if keys is None:
            ys = _apply(self.module, False, params, values, {})
        else:
            alone = jax.vmap(lambda x, key: _apply(self.module, True, params, x[None], {"dropout": key}))
            ys = jax.tree.map(lambda y: y[:, 0], alone(values, keys.reshape(-1)))
        return cast_floating(jax.tree.map(lambda y: y.reshape(*leading, *y.shape[1:]), ys), dtype)  # [..., *output_shape]

    def _values(self, params: Params, xs: Array) -> Array:
        """The inputs as floats in the dtype of the parameters."""
        dtype = float_dtype(params, default=xs.dtype if jnp.issubdtype(xs.dtype, jnp.floating) else jnp.float32)
        if is_tokens(xs, self.input_shape):
            return jax.nn.one_hot(xs, self.input_shape[0], dtype=dtype)
        return as_features(xs, dtype)


def _unhashable(module) -> str | None:
    """The field of a module, or of a module in it, that cannot be hashed; None if all can."""
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        try:
            hash(value)
        except TypeError:
            inner = [item for item in (value if isinstance(value, tuple) else (value,)) if linen.is_module(item)]
            name = f"{type(module).__name__}.{field.name} ({type(value).__name__})"
            return next(filter(None, map(_unhashable, inner)), name)
    return None


def _apply(module, noisy: bool, variables: Params, xs: Array, rngs: dict[str, Key]):
    """The module's outputs for a batch [N, ...], with dropout or without."""
    constants = {name: values if name == "params" else jax.lax.stop_gradient(values) for name, values in variables.items()}
    with _as_in_linen(noisy):
        return module.apply(constants, xs, rngs=rngs, mutable=False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(module, input_shape: Shape, key: Key) -> Params:
    """The module's variables as nested plain dicts."""
    from flax import core

    with _as_in_linen(False):
        variables = module.init(key, jnp.zeros((1, *input_shape), jnp.float32))
    return core.unfreeze(core.meta.unbox(variables))


@contextlib.contextmanager
def _as_in_linen(noisy: bool):
    """A context in which Linen's modules run: their Dropout follows the noise, and dtypes and ranks promote as Linen expects."""
    from flax import linen as nn

    promotion = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with nn.intercept_methods(functools.partial(_call_if, noisy)), promotion[0], promotion[1]:
        yield


def _call_if(noisy: bool, next_function, args, kwargs, context):
    """Intercept a call inside the module: tell it whether there is noise, unless its caller has said so."""
    from flax import linen as nn

    module = context.module
    if context.method_name != "__call__":
        return next_function(*args, **kwargs)
    names = list(inspect.signature(type(module).__call__).parameters)[1:]
    given = dict(zip(names, args, strict=False)) | kwargs
    if isinstance(module, nn.Dropout):
        return _drop_if(noisy, module, given)
    modes = {"deterministic": not noisy, "train": noisy, "training": noisy}
    unset = {
        name: on for name, on in modes.items() if name in names and name not in given and getattr(module, name, None) is None
    }
    return next_function(*args, **kwargs, **unset)


def _drop_if(noisy: bool, dropout, given: dict):
    """Linen's Dropout: the identity without noise; with it, on unless the module itself says otherwise.

    The draws are those of `seqjax.noise.drop`, the same in float32 and float64.
    """
    xs, argument = given["inputs"], given.get("deterministic")
    if not noisy or (dropout.deterministic if argument is None else argument) or dropout.rate == 0:
        return xs
    rng = given.get("rng")
    key = dropout.make_rng(dropout.rng_collection) if rng is None else rng
    if dropout.rate >= 1:
        return jnp.zeros_like(xs)
    dims = {axis % xs.ndim for axis in dropout.broadcast_dims}
    scale = noise.drop(key, dropout.rate, jnp.ones([1 if i in dims else n for i, n in enumerate(xs.shape)], xs.dtype))
    return jnp.where(scale > 0, xs * scale, jnp.zeros((), xs.dtype))


@functools.lru_cache(maxsize=256)
def _draws(module, input_shape: Shape) -> bool:
    """Tell whether a module draws dropout, and refuse one that cannot be a cell; nothing is computed."""
    from flax import errors

    name = type(module).__name__
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(functools.partial(_init, module, input_shape), key)
    for path, leaf in jax.tree.leaves_with_path(variables):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise InputError(f"Feedforward: {name} has a variable {where} of dtype {leaf.dtype}, all must be floating")
    batch = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)

    def outputs(noisy, **rngs):
        return jax.eval_shape(functools.partial(_apply, module, noisy), variables, batch, rngs)

    draws, problem = False, "draws random numbers without noise: give its __call__ an argument deterministic"
    try:
        ys = outputs(False)
        try:
            outputs(True)
        except errors.InvalidRngError:
            draws, problem = True, 'draws from another rng than "dropout"'
            outputs(True, dropout=key)
    except errors.InvalidRngError as error:
        raise InputError(f"Feedforward: {name} {problem} ({_first_sentence(error)})") from error
    except errors.ModifyScopeVariableError as error:
        raise InputError(
            f"Feedforward: {name} updates a collection, and all but params are constants: a BatchNorm needs "
            f"use_running_average=True ({_first_sentence(error)})"
        ) from error
    for leaf in jax.tree.leaves(ys):
        if leaf.shape[:1] != (2,) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(
                f"Feedforward: {name} returns {leaf.dtype}{list(leaf.shape)} for a batch {list(batch.shape)}, "
                "it must return floating features of each row, [N, ...]"
            )
    return draws


def _first_sentence(error: Exception) -> str:
    """An error of Flax without its link."""
    return str(error).split(" (http")[0].rstrip(".")
