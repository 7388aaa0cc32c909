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

    Returns:
        A mesh, for `make_train_step` and `train_loop`, which divide the rows of a batch over it.

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


def check_rows(mesh: Mesh, batch_size: int, *, parts: int = 1):
    """Raise InputError unless the rows of a batch can be split evenly over the devices, and on each into equal parts.

    Example:
        >>> check_rows(data_mesh(jax.devices()[:1]), 5)
    """
    if batch_size % mesh.size:
        raise InputError(f"batch size {batch_size} is not divisible by {mesh.size} devices: give a multiple of {mesh.size}")
    if batch_size % (mesh.size * parts):
        rows = (
            f"batch size {batch_size} ({batch_size // mesh.size} rows on a device)"
            if mesh.size > 1
            else f"batch size {batch_size}"
        )
        raise InputError(f"{rows} is not divisible by accumulate {parts}: give a divisor")


def into_parts(tree, parts: int):
    """Leaves [B, ...] as [parts, B / parts, ...]: row r is in part r % parts, so that each device divides its own rows."""
    return jax.tree.map(lambda a: jnp.swapaxes(a.reshape(-1, parts, *a.shape[1:]), 0, 1), tree)


def join_parts(tree):
    """The inverse of `into_parts`.

    Example:
        >>> join_parts(into_parts(jnp.arange(6), 3)).tolist()
        [0, 1, 2, 3, 4, 5]
    """
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1).reshape(-1, *a.shape[2:]), tree)


def describe(mesh: Mesh, batch_size: int) -> str:
    """The number of devices and of the rows on each, in words.

    Example:
        >>> describe(data_mesh(jax.devices()[:1]), 32)
        '1 device, 32 rows each'
    """
    check_rows(mesh, batch_size)
    return f"{mesh.size} device{'s' * (mesh.size > 1)}, {batch_size // mesh.size} rows each"
