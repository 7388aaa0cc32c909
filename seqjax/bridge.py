"""The bridge from an encoder's final state to a decoder's first state."""

from typing import Any

import jax
import jax.numpy as jnp


def named_arrays(state) -> list[tuple[str, Any]]:
    """The floating arrays of a state, with the names of their fields."""
    leaves = jax.tree.leaves_with_path(state)
    return [
        (str(getattr(path[-1], "name", "")) if path else "", a) for path, a in leaves if jnp.issubdtype(a.dtype, jnp.floating)
    ]


def shapes_of_row(state) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of one row of a state's floating arrays."""
    return [(name, a.shape[1:]) for name, a in named_arrays(state)]


def summaries(state) -> list:
    """The encoder state that the bridge reads: every array named h, else all arrays."""
    return [a for name, a in named_arrays(state) if name == "h"] or [a for _, a in named_arrays(state)]
