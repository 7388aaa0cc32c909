"""Long sequences cut into pieces: recomputed in the backward pass, or with the gradient cut at every edge."""

import jax
import jax.numpy as jnp

from seqjax.types import State


def chunked(run, state: State, xs, length: int, *, reverse: bool = False):
    """`run` over consecutive pieces of `length` steps, the state handed on; the last piece may be shorter.

    Args:
        run: (state, piece of xs) -> (state, piece of ys).
        state: any pytree.
        xs: a pytree of arrays [T, ...], time first.
        length: steps of a piece.
        reverse: whether the pieces are taken from the last to the first.

    Returns:
        (state, ys), ys [T, ...].
    """
    steps = jax.tree.leaves(xs)[0].shape[0]
    pieces, rest = divmod(steps, length)
    whole = jax.tree.map(lambda a: a[: pieces * length].reshape((pieces, length, *a.shape[1:])), xs)
    tail = jax.tree.map(lambda a: a[pieces * length :], xs)
    tail_ys = None
    if rest and reverse:
        state, tail_ys = run(state, tail)
    state, ys = jax.lax.scan(run, state, whole, reverse=reverse)
    ys = jax.tree.map(lambda a: a.reshape((pieces * length, *a.shape[2:])), ys)
    if rest and not reverse:
        state, tail_ys = run(state, tail)
    return state, ys if tail_ys is None else jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, tail_ys)
