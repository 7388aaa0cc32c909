"""The arguments of `unroll`: its options, and the checks of all of them against the cell."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import masks, noise
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.recurrence.backends import Backend
from seqjax.recurrence.call import Collect
from seqjax.recurrence.chunks import Remat
from seqjax.types import Array, Key, Shape, is_tokens

_STATIC = {"static": True}  # under jit


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `unroll`, as one argument: arrays, and values that are static under jit."""

    lengths: Any = None
    mask: Any = None
    reset: Any = None
    context: Any = None
    key: Key | None = None
    reverse: bool = dataclasses.field(default=False, metadata=_STATIC)
    backend: Backend = dataclasses.field(default="auto", metadata=_STATIC)
    remat: Remat = dataclasses.field(default=None, metadata=_STATIC)
    collect: Collect = dataclasses.field(default="outputs", metadata=_STATIC)


def checked(cell, xs, options: Options) -> tuple[Array, Options]:
    """xs and lengths as arrays; raises InputError unless cell, xs and options fit each other."""
    name = type(cell).__name__
    if not isinstance(cell, Cell | SequenceLayer):
        raise InputError(f"unroll runs a Cell or a SequenceLayer, not a {name}")
    if cell.input_shape is None:
        raise InputError(f"{name} reads inputs of any shape, so unroll cannot tell rows from features: give it an input_shape")
    xs = xs if isinstance(xs, jax.Array) else jnp.asarray(xs)
    leading = xs.shape[: xs.ndim - len(feature_shape(cell, xs))]
    lengths = options.lengths
    if lengths is not None:
        lengths = lengths if isinstance(lengths, jax.Array) else jnp.asarray(np.asarray(lengths))
    masks.resolve(lengths, options.mask, leading)
    masks.resolve_reset(options.reset, leading)
    if options.key is not None and not jnp.issubdtype(jnp.result_type(options.key), jax.dtypes.prng_key):
        raise InputError("key is not a typed key: give jax.random.key(seed)")
    if options.remat not in (None, "sqrt") and not is_positive(options.remat):
        raise InputError(f"remat={options.remat!r}, it must be None, 'sqrt', or a number of steps of at least 1")
    if options.collect not in ("outputs", "states"):
        raise InputError(f"collect={options.collect!r}, it must be 'outputs' or 'states'")
    return xs, dataclasses.replace(options, lengths=lengths, reverse=bool(options.reverse))


def is_positive(steps) -> bool:
    """True for an integer of at least 1, which a bool is not."""
    return isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1


def feature_shape(part, xs) -> Shape:
    """The shape of one step of one row of xs; raises InputError where xs has another dtype, rank or shape than `part` reads."""
    name, tokens = type(part).__name__, is_tokens(xs, part.input_shape)
    shape = () if tokens else part.input_shape
    if not (jnp.issubdtype(xs.dtype, jnp.integer) or jnp.issubdtype(xs.dtype, jnp.floating)):
        raise InputError(f"xs has dtype {xs.dtype}, {name} reads floating features or integer tokens")
    if xs.ndim not in (len(shape) + 1, len(shape) + 2):
        kind = "integer tokens" if tokens else f"{xs.dtype} features"
        both = " or ".join(f"[{lead}{''.join(f', {n}' for n in shape)}]" for lead in ("B, T", "T"))
        raise InputError(
            f"xs of {kind} has shape {xs.shape} of rank {xs.ndim}, "
            f"{name} reads {both} of rank {len(shape) + 2} or {len(shape) + 1}"
        )
    if shape and xs.shape[-len(shape) :] != shape:
        raise InputError(f"xs has features of shape {xs.shape[-len(shape) :]}, {name} reads {shape}")
    return shape


def check_state(name: str, state, expected):
    """Raise InputError unless the state has the expected structure, shapes and dtypes; noise keys are ignored."""
    state, expected = noise.split_keys(state)[0], noise.split_keys(expected)[0]
    if jax.tree.structure(state) != jax.tree.structure(expected):
        raise InputError(f"state is {jax.tree.structure(state)}, the state of {name} is {jax.tree.structure(expected)}")
    for (path, a), b in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(expected), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            where = jax.tree_util.keystr(path)
            raise InputError(f"state{where} is {a.dtype}{list(a.shape)}, {name} with these xs has {b.dtype}{list(b.shape)}")
