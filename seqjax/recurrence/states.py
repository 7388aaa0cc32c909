"""The state before the first step of a call: the cell's own, or the one that was given."""

import jax
import numpy as np

from seqjax import noise, tree
from seqjax.errors import InputError
from seqjax.types import Key, Params, Shape, State


def starting_state(cell, params: Params, rows: Shape, state: State, context, key: Key | None) -> State:
    """The state of a call of `unroll`.

    Args:
        cell: a Cell or a SequenceLayer.
        params: its parameters.
        rows: (B,), or () unbatched.
        state: leaves [*rows, ...], a plain tuple in place of a NamedTuple too; None: the cell's initial state.
        context: leaves [*rows, ...].
        key: turns on the state's noise; None leaves it as it is.

    Returns:
        The state, leaves [*rows, ...].

    Raises:
        InputError: a state of another structure, shape or dtype than the cell's.
    """
    name = type(cell).__name__
    if state is None:
        state = cell.initial_state(params, rows, context=context, key=key)
        for path, leaf in jax.tree.leaves_with_path(noise.split_keys(state)[0]):
            if np.shape(leaf)[: len(rows)] != rows:
                where = f"state{jax.tree_util.keystr(path)}"
                raise InputError(
                    f"{name}.initial_state gives {where} {tree.form(leaf)} for batch_shape {rows}: its shape must begin with that"
                )
        return state
    expected = jax.eval_shape(lambda p, c: cell.initial_state(p, rows, context=c), params, context)
    state = _named_like(state, expected)
    _check_state(name, state, expected)
    return state if key is None else noise.reseed(state, key)


def _named_like(state, expected):
    """The state with NamedTuples in place of plain tuples, where the expected state has them."""
    if not isinstance(state, tuple) or not isinstance(expected, tuple) or len(state) != len(expected):
        return state
    if type(state) not in (tuple, type(expected)):
        return state
    parts = [_named_like(a, b) for a, b in zip(state, expected, strict=True)]
    return type(expected)(*parts) if hasattr(expected, "_fields") else tuple(parts)


def _check_state(name: str, state, expected):
    """Raise InputError unless the state has the expected structure, shapes and dtypes; noise keys are ignored."""
    state, expected = noise.split_keys(state)[0], noise.split_keys(expected)[0]
    if jax.tree.structure(state) != jax.tree.structure(expected):
        raise InputError(f"state is {tree.form(state)}, the state of {name} is {tree.form(expected)}")
    for (path, a), b in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(expected), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            where = jax.tree_util.keystr(path)
            raise InputError(f"state{where} is {tree.form(a)}, {name} with these xs has {tree.form(b)}")
