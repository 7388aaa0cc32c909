"""Data parallelism: one axis, "data", over the devices. Rows of a batch are split, parameters are copied."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from seqjax.errors import InputError


def data_mesh(devices=None) -> Mesh:
    """A mesh with the single axis "data".

    Args:
        devices: the devices; None: all local ones.

    Example:
        >>> data_mesh(jax.devices()[:1]).axis_names
        ('data',)
    """
    devices = jax.local_devices() if devices is None else devices
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def one_device(mesh: Mesh | None) -> Mesh:
    """`mesh`, or a mesh of the first device if `mesh` is None."""
    return data_mesh(jax.local_devices()[:1]) if mesh is None else mesh


def rows(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def everywhere(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def shard(mesh: Mesh, batch):
    """The leaves [B, ...] of `batch` with their rows split over the devices; always a copy.

    Args:
        mesh: returned by `data_mesh`.
        batch: a pytree of arrays, B divisible by the number of devices.

    Raises:
        InputError: B is not divisible.

    Example:
        >>> shard(data_mesh(jax.devices()[:1]), {"tokens": np.zeros((4, 2), np.int32)})["tokens"].shape
        (4, 2)
    """
    for leaf in jax.tree.leaves(batch):
        check_rows(mesh, leaf.shape[0])
    return jax.device_put(_copy(batch), rows(mesh))


def replicate(mesh: Mesh, tree):
    """A copy of `tree` in full on every device, so that donating it leaves the original intact."""
    return jax.device_put(_copy(tree), everywhere(mesh))


def _copy(tree):
    # A CPU device may share memory with a NumPy array even if device_put is called with may_alias=False.
    return jax.tree.map(lambda a: jnp.copy(a) if isinstance(a, jax.Array) else np.array(a), tree)


def check_rows(mesh: Mesh, batch_size: int):
    """Raises InputError unless the rows of a batch can be split evenly over the devices.

    Example:
        >>> check_rows(data_mesh(jax.devices()[:1]), 5)
    """
    if batch_size % mesh.size:
        raise InputError(f"batch size {batch_size} is not divisible by {mesh.size} devices: give a multiple of {mesh.size}")


def describe(mesh: Mesh, batch_size: int) -> str:
    """The number of devices and of the rows on each, in words.

    Example:
        >>> describe(data_mesh(jax.devices()[:1]), 32)
        '1 device, 32 rows each'
    """
    check_rows(mesh, batch_size)
    return f"{mesh.size} device{'s' * (mesh.size > 1)}, {batch_size // mesh.size} rows each"
