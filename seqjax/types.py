"""Aliases, and the legend of the shape letters that every docstring uses.

    B  batch rows                   T  time steps
    D  input features               H  hidden units
    nH all gates of a cell, side by side (4H for an LSTM, 3H for a GRU, H for an Elman cell)
    V  symbols of a vocabulary      N  best hypotheses kept
    ... any leading axes

Arrays are batch first, `[B, T, D]`, on every public surface; time first only inside the engine.
"""

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)
Params = dict[str, Any]  # nested plain dicts of arrays
State = Any  # a pytree whose every leaf starts with the batch axes
Shape = tuple[int, ...]


def at_least_float32(dtype) -> jnp.dtype:
    """The dtype of states and row-wise maths when products are in `dtype`: float32, or wider."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def float_dtype(tree, default=jnp.float32) -> jnp.dtype:
    """The widest floating dtype among the leaves of `tree`; `default` if no leaf is floating."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(tree) if is_floating(leaf)]
    return max(dtypes, key=lambda d: jnp.finfo(d).bits, default=jnp.dtype(default))


def is_floating(array) -> bool:
    """True for an array, or a shape and dtype, of a floating dtype."""
    return bool(jnp.issubdtype(array.dtype, jnp.floating))


def is_tokens(xs, input_shape: Shape | None) -> bool:
    """True if xs are tokens, which stand for one-hot vectors: integers, where one step of one row has the shape (D,).

    Other integers, such as frames of bytes [B, T, 28, 28, 1], are features.

    Args:
        xs: an array, or its shape and dtype.
        input_shape: the shape of one step of one row, as a cell declares it.

    Example:
        >>> is_tokens(jnp.zeros((2, 5), int), (10,)), is_tokens(jnp.zeros((2, 5, 8, 8, 1), "uint8"), (8, 8, 1))
        (True, False)
    """
    return jnp.issubdtype(xs.dtype, jnp.integer) and input_shape is not None and len(input_shape) == 1


def as_features(xs, dtype) -> Array:
    """Features as floats of a dtype: bytes, such as frames of uint8, as values / 255.

    Args:
        xs: an array of any numbers.
        dtype: floating.

    Example:
        >>> as_features(jnp.array([0, 255], "uint8"), jnp.float32).tolist()
        [0.0, 1.0]
    """
    return (xs.astype(at_least_float32(dtype)) / 255).astype(dtype) if xs.dtype == jnp.uint8 else xs.astype(dtype)


def output_dtype(params: Params, xs) -> jnp.dtype:
    """The dtype of a cell's outputs: that of xs if floating, else the widest floating dtype of the parameters."""
    return xs.dtype if is_floating(xs) else float_dtype(params)
