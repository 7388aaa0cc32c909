"""The bridge from an encoder's final state to a decoder's first state."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.products import affine
from seqjax.types import Key, Params, State

BRIDGES = ("dense", "final", "none")


def check_bridge(kind: str, summary: State, state: State):
    """Raise InputError unless the bridge can make `state` from `summary`, both of arrays or shapes [B, ...]."""
    has, needs = _form(summary), _form(state)
    if kind == "final" and has != needs:
        forms = [", ".join(f"{name} {list(shape)}" for name, shape in form) for form in (has, needs)]
        raise InputError(
            f"bridge=\"final\" copies the encoder's final state ({forms[0]}) into the decoder's ({forms[1]}): "
            'they must be equal, or take bridge="dense"'
        )
    if kind == "dense" and needs and not has:
        raise InputError('bridge="dense" needs an encoder with a state: take bridge="none"')
    if kind == "dense" and any(len(shape) != 1 for _, shape in (*has, *needs)):
        raise InputError('bridge="dense" needs states of vectors: take bridge="none"')


def init_bridge(key: Key, summary: State, state: State) -> Params:
    """A dense layer for each array of the state: {"0": {"kernel" [features of the summary, H], "bias" [H]}, ...}."""
    features = sum(a.shape[-1] for a in _read(summary))
    sizes = [shape[0] for _, shape in _form(state)]
    keys = jax.random.split(key, len(sizes))
    return {
        str(i): {"kernel": glorot(k, (features, size)), "bias": jnp.zeros(size)}
        for i, (k, size) in enumerate(zip(keys, sizes, strict=True))
    }


def cross(kind: str, params: Params, summary: State, state: State) -> State:
    """The decoder's first state.

        dense:  every floating array is tanh(W s + b), s the summary's arrays named h side by side (without an h, all arrays)
        final:  the summary;    none:  the decoder's initial state

    Args:
        kind: "dense", "final" or "none".
        params: from `init_bridge`; read if dense.
        summary: the encoder's, leaves [B, ...].
        state: the decoder's initial state, leaves [B, ...].

    Returns:
        A state with the structure and dtypes of `state`.
    """
    if kind == "none":
        return state
    if kind == "final":
        arrays = [a for _, a in _named(summary)]
    else:
        joined = jnp.concatenate(_read(summary), axis=-1)
        arrays = [jnp.tanh(affine(joined, **params[str(i)])) for i in range(len(params))]
    crossed = iter(arrays)
    return jax.tree.map(lambda a: next(crossed).astype(a.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, state)


def _named(state) -> list[tuple[str, Any]]:
    """The floating arrays of a state, with the names of their fields."""
    leaves = jax.tree.leaves_with_path(state)
    return [
        (str(getattr(path[-1], "name", "")) if path else "", a) for path, a in leaves if jnp.issubdtype(a.dtype, jnp.floating)
    ]


def _form(state) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of one row of a state's floating arrays."""
    return [(name, a.shape[1:]) for name, a in _named(state)]


def _read(summary) -> list:
    """The encoder state that the bridge reads: every array named h, else all arrays."""
    return [a for name, a in _named(summary) if name == "h"] or [a for _, a in _named(summary)]
