"""Comparisons of pytrees in NumPy (nothing is compiled), and the weighted sum whose gradients are compared."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import noise, tree
from seqjax.types import Array, is_floating


def require(condition: bool, law: str, message: str) -> None:
    """Raise an AssertionError "law: message" unless the condition holds."""
    if not condition:
        raise AssertionError(f"{law}: {message}")


def floating_leaves(values) -> list:
    """The floating arrays of a pytree."""
    return [a for a in jax.tree.leaves(values) if is_floating(a)]


def all_finite(values) -> bool:
    """True where no floating array of a pytree holds NaN or infinity."""
    return all(np.isfinite(np.asarray(a)).all() for a in floating_leaves(values))


def cast(values, dtype):
    """The floating arrays of a pytree in another dtype."""
    return map_floating(lambda a: a.astype(dtype), values)


def map_floating(function, values):
    """Applies a function of NumPy arrays to the floating arrays of a pytree; other leaves stay."""
    return jax.tree.map(lambda a: jnp.asarray(function(np.asarray(a))) if is_floating(a) else a, values)


def map_arrays(function, values):
    """Applies a function of NumPy arrays to every array of a pytree but noise keys, which are left out."""
    return jax.tree.map(lambda a: function(np.asarray(a)), noise.split_keys(values)[0])


def split_floating(values):
    """(floating arrays, other arrays): the pytree twice, None in place of the other kind."""
    floating = jax.tree.map(lambda a: a if is_floating(a) else None, values)
    return floating, jax.tree.map(lambda a: None if is_floating(a) else a, values)


def join(floating, others):
    """The inverse of `split_floating`."""
    return jax.tree.map(lambda a, b: b if a is None else a, floating, others, is_leaf=lambda a: a is None)


def weighted_sum(values) -> Array:
    """A sum over all entries of all floating arrays, each entry with its own weight."""
    weights = [np.sin(1 + np.arange(a.size)).reshape(a.shape).astype(a.dtype) for a in floating_leaves(values)]
    return sum((jnp.vdot(w, a) for w, a in zip(weights, floating_leaves(values), strict=True)), start=jnp.zeros(()))


def same_form(actual, expected, law: str) -> None:
    """Raise unless structure, shapes and dtypes are equal; noise keys are left out."""
    actual, expected = noise.split_keys(actual)[0], noise.split_keys(expected)[0]
    require(jax.tree.structure(actual) == jax.tree.structure(expected), law, "the structure changed")
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        forms = f"{jax.tree_util.keystr(path) or 'the array'} is {tree.form(a)}, was {tree.form(b)}"
        require((a.shape, a.dtype) == (b.shape, b.dtype), law, forms)


def close(actual, expected, tolerance: float, law: str) -> None:
    """Raise unless equal within `tolerance` of each array's largest entry; integers exactly; noise keys are left out."""
    actual, expected = noise.split_keys(actual)[0], noise.split_keys(expected)[0]
    require(jax.tree.structure(actual) == jax.tree.structure(expected), law, "the structures differ")
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        a, b, where = np.asarray(a), np.asarray(b), jax.tree_util.keystr(path) or "the array"
        require(a.shape == b.shape, law, f"{where} has shape {a.shape} against {b.shape}")
        if not a.size:
            continue
        if not is_floating(b):
            require(bool((a == b).all()), law, f"{where} differs: {a.tolist()} against {b.tolist()}")
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        singular = "on both sides: a step is singular there, such as x / |x|, sqrt(x), log(x) or 1 / x at 0"
        require(bool(np.isfinite(a).all() or np.isfinite(b).all()), law, f"{where} is NaN or infinite, {singular}")
        gap, scale = np.abs(a - b).max(), np.abs(b).max()
        differs = f"{where} differs by {gap:.3g} where the largest entry is {scale:.3g}"
        require(bool(gap <= tolerance * max(scale, 1e-3)), law, differs)
