"""Several devices: the rows of explicit meshes, and the manual axes that arrays vary over inside `jax.shard_map`.

An array's type says on which mesh axes its parts lie. With explicit axes (as `jax.make_mesh` makes them) every operation must
be told the parts of its result where they do not follow from its operands; `automatic` leaves that to XLA. Inside
`jax.shard_map` each array's type names the axes over which its values vary, and a loop's carry must keep its type; so arrays
that are made afresh are cast to the axes of the arrays that they go with.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from seqjax.types import Array


def full(like, value=0, *, dtype=None) -> Array:
    """An array filled with `value`, with the shape, the dtype and the varying axes of `like`, an array or its type."""
    return varying_as(jnp.full(like.shape, value, dtype or like.dtype), like)


def reshaped(like, shape: tuple[int, ...]) -> jax.core.ShapedArray:
    """The type of an array of another shape, with the dtype and the varying axes of `like`, an array or its type."""
    aval = _type(like)
    sharding = NamedSharding(aval.sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return aval.update(shape=shape, sharding=sharding, weak_type=False)


def varying_as(values, like):
    """The arrays of a pytree, varying over all axes over which the first array of the pytree `like` does."""
    axes = [_type(a).mat.varying for a in jax.tree.leaves(like)[:1]]
    return jax.tree.map(lambda a: _vary(a, axes[0]), values) if axes else values


def varying_alike(values):
    """The arrays of a pytree, each varying over all axes over which any of them does, as JAX's own operations cast them."""
    axes = frozenset[str]().union(*(_type(a).mat.varying for a in jax.tree.leaves(values)))
    return jax.tree.map(lambda a: _vary(a, axes), values) if axes else values


def automatic(function: Callable, *arguments, rows=(), shardings=None) -> Any:
    """`function(*arguments)` on any devices: its arguments vary alike, and explicit axes of their mesh are automatic ones inside.

    Args:
        function: of pytrees of arrays, to a pytree of arrays.
        *arguments: pytrees.
        rows: a pytree of arrays [B, ...]: the first of them whose rows are split says how rows are.
        shardings: those of the result, as a prefix of its tree; None: the rows of its arrays [B, ...] are split as those of
            `rows`, and every other array is held by all devices.

    Returns:
        The result.
    """
    arguments = varying_alike(arguments)
    arrays = (a for a in jax.tree.leaves(arguments) if not isinstance(a, np.ndarray))  # whose types would be made afresh
    meshes = (_type(a).sharding.mesh for a in arrays)
    meshes = itertools.chain([jax.sharding.get_abstract_mesh()], meshes)
    mesh = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
    if mesh is None:
        return function(*arguments)
    explicit = tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit)
    with jax.sharding.use_abstract_mesh(mesh):
        if shardings is None:
            everywhere = jax.sharding.auto_axes(function, axes=explicit, out_sharding=PartitionSpec())
            shardings = _shardings(mesh, jax.tree.leaves(rows), jax.eval_shape(everywhere, *arguments))
        return jax.sharding.auto_axes(function, axes=explicit, out_sharding=shardings)(*arguments)


def _shardings(mesh, rows: list, results):
    """The shardings of `automatic`'s results, a pytree of shapes."""
    specs = (_type(a).sharding.spec for a in rows if a.ndim)
    split = next((spec[0] for spec in specs if spec[0] is not None), None)
    leading = {a.shape[0] for a in rows if a.ndim}  # {B}
    of_rows, everywhere = NamedSharding(mesh, PartitionSpec(split)), NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: of_rows if leading.intersection(a.shape[:1]) else everywhere, results)


def _type(a) -> jax.core.ShapedArray:
    return a if isinstance(a, jax.core.ShapedArray) else jax.typeof(a)


def _vary(a, axes):
    missing = tuple(axis for axis in sorted(axes) if axis not in _type(a).mat.varying)
    return jax.lax.pcast(a, missing, to="varying") if missing else a
