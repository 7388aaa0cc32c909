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
    """The dtype of states and row-wise maths beside products in `dtype`: float32, or wider."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def float_dtype(tree, default=jnp.float32) -> jnp.dtype:
    """The widest floating dtype among the leaves of `tree`; `default` where there is none."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return max(dtypes, key=lambda d: jnp.finfo(d).bits, default=jnp.dtype(default))


def is_tokens(xs) -> bool:
    """Whether `xs` holds integer symbols (to be one-hot by row lookup) rather than features."""
    return jnp.issubdtype(xs.dtype, jnp.integer)
