"""Checks of sequences with any leading axes, and functions on one sequence [T, ...] mapped over them."""

import functools
import math

import jax
import jax.numpy as jnp

from seqjax import masks
from seqjax.checks import as_array
from seqjax.errors import InputError
from seqjax.types import Array, at_least_float32

METHODS = ("sequential", "associative")


def check_method(method: str) -> None:
    """Raise InputError unless `method` names one of the ways to run over the steps."""
    if method not in METHODS:
        raise InputError(f"method is {method!r}, it must be 'sequential' or 'associative'")


def check_shapes(owner: str, arrays: dict, shapes: dict) -> None:
    """Raise InputError unless every named array has its shape."""
    for name, shape in shapes.items():
        if (found := jnp.shape(arrays[name])) != shape:
            raise InputError(f"{owner} has {name} of shape {found}, it must be {shape}")


def sequences(name: str, xs, size: int, unit: str) -> Array:
    """The argument `name` as an array [..., T, size], float32 or wider, of at least one step.

    Raises:
        InputError: another last axis, fewer than two axes, no steps, or values that are not real numbers.
    """
    xs = as_array(name, xs)
    if jnp.issubdtype(xs.dtype, jnp.complexfloating) or xs.dtype == jnp.bool_:
        raise InputError(f"{name} has dtype {xs.dtype}, it must be real numbers")
    if xs.ndim < 2 or xs.shape[-1] != size:
        raise InputError(f"{name} has shape {xs.shape}, it must be [..., T, {size}]: {size} {unit}")
    if not xs.shape[-2]:
        raise InputError(f"{name} has shape {xs.shape}, it must have at least one step")
    return jnp.asarray(xs, at_least_float32(xs.dtype) if jnp.issubdtype(xs.dtype, jnp.floating) else jnp.float32)


def over_rows(function, xs: Array, lengths, model):
    """`function(xs [T, ...], mask [T], model)` for every sequence of xs [..., T, D], results [..., *of one sequence]."""
    leading, steps = xs.shape[:-2], xs.shape[-2]
    mask = masks.resolve(lengths, None, (*leading, steps))
    mask = jnp.ones((*leading, steps), bool) if mask is None else mask
    return _over_rows(function, xs, mask, model)


@functools.partial(jax.jit, static_argnums=0)
def _over_rows(function, xs, mask, model):
    leading, steps = xs.shape[:-2], xs.shape[-2]
    count = math.prod(leading)
    rows = xs.reshape(count, *xs.shape[-2:]), mask.reshape(count, steps)
    results = jax.vmap(function, in_axes=(0, 0, None))(*rows, model)
    return jax.tree.map(lambda a: a.reshape(*leading, *a.shape[1:]), results)
