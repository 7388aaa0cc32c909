"""The arguments of `unroll`: its options, and the checks of all of them against the cell."""

import dataclasses
import math
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import masks
from seqjax.checks import as_array, as_integer, check_key, concrete, kind_of, shown
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.parameters import check_params
from seqjax.recurrence.backends import Backend, check_backend
from seqjax.recurrence.call import Collect
from seqjax.recurrence.chunks import Remat
from seqjax.tree import form
from seqjax.types import Key, Params, Shape, is_tokens

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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embedded:
    """Parameters with a table of symbols embedded, as `part.embed(params, table)` makes them, for `unroll` over symbols.

    Args:
        params: with input kernels of V rows.
        size: V, the rows of the table.
    """

    params: Params
    size: int = dataclasses.field(metadata=_STATIC)


def options_of(function: str, options: dict[str, Any]) -> Options:
    """The options of a call of `function`; raises InputError for an unknown name."""
    names = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in names:
            raise InputError(f"{function} has no argument {name!r}: its options are {', '.join(names)}")
    return Options(**options)


def checked(cell, params, xs, state, options: Options) -> tuple[Params, Any, Options]:
    """(params, xs, options) with arrays in place of lists; raises InputError unless the arguments fit the cell and each other.

    The checks that need a trace, of the state and of all that a cell's step does, share a single one.
    """
    if not isinstance(cell, Cell | SequenceLayer):
        raise InputError(f"unroll runs a Cell or a SequenceLayer, not {kind_of(cell)}")
    if cell.input_shape is None:
        name = type(cell).__name__
        raise InputError(f"{name} reads inputs of any shape, so unroll cannot tell rows from features: give it an input_shape")
    size = None
    if isinstance(params, Embedded):
        params, size = params.params, params.size
    check_params(cell, params, size)
    xs = as_array("xs", xs)
    leading = xs.shape[: xs.ndim - len(feature_shape(cell, xs))]
    lengths, mask = masks.check(options.lengths, options.mask, leading)
    if is_tokens(xs, cell.input_shape):
        check_tokens(cell, xs, size or math.prod(cell.input_shape), lengths, mask)
    _check_leaves("state", state, ())
    _check_leaves("context", options.context, leading[:-1])
    if options.key is not None:
        check_key("key", options.key)
        if options.key.shape not in ((), leading[:-1]):
            raise InputError(f"key has shape {options.key.shape}, it must be one key, or one for each row of xs, {leading[:-1]}")
    if not isinstance(options.reverse, bool | np.bool_):
        raise InputError(f"reverse={shown(options.reverse)}, it must be True or False")
    check_backend(options.backend)
    if options.collect not in get_args(Collect):
        raise InputError(f"collect={shown(options.collect)}, it must be 'outputs', 'states' or 'gates'")
    reset = None if options.reset is None else masks.check_flags("reset", options.reset, leading)
    changes = {"lengths": lengths, "mask": mask, "reset": reset, "remat": _remat(options.remat), "reverse": bool(options.reverse)}
    return params, xs, dataclasses.replace(options, **changes)


def check_array(part, xs):
    """Raise InputError unless the outputs that `part` reads are one array, which those of an attentive cell are not."""
    if not hasattr(xs, "dtype"):
        raise InputError(f"{type(part).__name__} reads one array, the cell before it gives {form(xs)}")


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


def check_steps(name: str, steps) -> int:
    """A number of steps as an int; raises InputError unless it is an integer of at least 1, which a bool is not."""
    number = as_integer(steps)
    if number is None or number < 1:
        raise InputError(f"{name}={shown(steps)}, it must be an integer of at least 1 step")
    return number


def _remat(remat) -> Remat:
    number = as_integer(remat)
    if number is not None and number >= 1:
        return number
    if remat is None or (isinstance(remat, str) and remat == "sqrt"):
        return remat
    raise InputError(f"remat={shown(remat)}, it must be None, 'sqrt', or a number of steps of at least 1")


def check_tokens(cell, xs, size: int, lengths=None, mask=None):
    """Raise InputError if a token of a real step is outside the vocabulary; traced tokens are not checked."""
    tokens = concrete(xs)
    if tokens is None or not tokens.size or (tokens.min() >= 0 and tokens.max() < size):
        return
    real = np.ones(tokens.shape, bool)
    if lengths is not None or mask is not None:
        flags = concrete(lengths if mask is None else mask)
        if flags is None:
            return
        real = np.arange(tokens.shape[-1]) < flags[..., None] if mask is None else flags
    outside = tokens[real & ((tokens < 0) | (tokens >= size))]
    if outside.size:
        raise InputError(f"xs holds token {outside[0]}, {type(cell).__name__} reads tokens from 0 to {size - 1}")


def _check_leaves(name: str, values, rows: Shape):
    """Raise InputError unless every leaf of a pytree is an array that starts with the batch shape `rows`."""
    if values is None:
        return
    for leaf in jax.tree.leaves(values):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float):
            raise InputError(f"{name} holds {shown(leaf)}, all its leaves must be arrays")
        if rows and np.shape(leaf)[:1] != rows:
            rows_of_leaf = " ".join([*map(str, np.shape(leaf)[:1]), "rows"]) if np.ndim(leaf) else "an array without rows"
            raise InputError(f"{name} has {rows_of_leaf}, xs has {rows[0]}: every leaf must be [{rows[0]}, ...]")
