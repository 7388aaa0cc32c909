"""Pytrees whose every leaf starts with the same (batch, or batch and time) axes."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax.types import Array, is_floating


def expand_right(flags: Array, ndim: int) -> Array:
    """`flags` with unit axes added on the right up to rank `ndim`, so that it broadcasts against a leaf."""
    return flags.reshape(flags.shape + (1,) * (ndim - flags.ndim))


def where(flags: Array, if_true, if_false):
    """Select leaf by leaf: `if_true` where `flags`, else `if_false`.

    A select: neither values nor gradients (NaN included) of the other branch come through.

    Args:
        flags: bool, the shared leading axes of the leaves, e.g. [B].
        if_true, if_false: pytrees of one structure, leaves [*flags.shape, ...].

    Returns:
        A pytree of the same structure.

    Example:
        >>> where(jnp.array([True, False]), jnp.ones((2, 3)), jnp.zeros((2, 3))).sum(1).tolist()
        [3.0, 0.0]
    """

    def select(a, b):
        return a if a is b else jnp.where(expand_right(flags, a.ndim), a, b)

    return jax.tree.map(select, if_true, if_false)


def zero_where_not(flags: Array, tree):
    """Set every leaf to 0 where not `flags`."""
    return jax.tree.map(lambda a: jnp.where(expand_right(flags, a.ndim), a, jnp.zeros((), a.dtype)), tree)


def swap_batch_time(tree):
    """Swap the first two axes of every leaf: [B, T, ...] to [T, B, ...], or back."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)


def pad_time(tree, steps):
    """Add steps of zeros at the end of every leaf: [B, T, ...] to [B, T + steps, ...]."""
    return jax.tree.map(lambda a: jnp.pad(a, [(0, 0), (0, steps)] + [(0, 0)] * (a.ndim - 2)), tree)


def add_batch(tree):
    """Add a leading axis of size 1 to every leaf."""
    return jax.tree.map(lambda a: a[None], tree)


def drop_batch(tree):
    """The inverse of `add_batch`."""
    return jax.tree.map(lambda a: a[0], tree)


def cast_floating(tree, dtype):
    """Cast floating leaves to `dtype`; leave the others unchanged."""
    return jax.tree.map(lambda a: a.astype(dtype) if is_floating(a) else a, tree)


def at(tree, index):
    """Index every leaf: `leaf[index]`."""
    return jax.tree.map(lambda a: a[index], tree)


def form(tree) -> str:
    """A pytree in a message: the names of its parts, and each array's dtype and shape; at most 70 characters."""
    text = _form(tree)
    return text if len(text) <= 70 else f"{text[:67]}..."


def _form(tree) -> str:
    if hasattr(tree, "dtype") and hasattr(tree, "shape"):
        return f"{tree.dtype}{list(tree.shape)}"
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{name}: {_form(value)}' for name, value in tree.items())}}}"
    if (fields := getattr(tree, "_asdict", None)) is not None:  # a NamedTuple
        parts = ", ".join(f"{name}={_form(value)}" for name, value in fields().items())
        return f"{type(tree).__name__}({parts})"
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = ((f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree))
        return f"{type(tree).__name__}({', '.join(f'{name}={_form(value)}' for name, value in fields)})"
    if isinstance(tree, tuple | list):
        left, right = "()" if isinstance(tree, tuple) else "[]"
        return f"{left}{', '.join(map(_form, tree))}{right}"
    return "None" if tree is None else f"{type(tree).__name__} {tree!r}".split("\n")[0]
