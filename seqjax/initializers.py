"""Initial parameters: recurrent kernels are orthogonal per gate, input kernels Glorot per gate."""

import jax
import jax.numpy as jnp

from seqjax.types import Array, Key

glorot = jax.nn.initializers.glorot_uniform()  # (key, (D, N)): uniform, of variance 2 / (D + N)
embedding_table = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)  # (key, (V, D)): rows of length 1

_PER_GATE = {
    "orthogonal": jax.nn.initializers.orthogonal(),
    "glorot": glorot,
    "identity": lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype),
    "normal": jax.nn.initializers.normal(0.001),  # the IRNN paper's input kernels
}


def gate_kernel(kind: str, key: Key, rows: int, hidden_size: int, gates: int, dtype=jnp.float32) -> Array:
    """Kernels of several gates side by side, each drawn separately (one wide orthogonal draw is not orthogonal per gate).

    Args:
        kind: "orthogonal", "glorot", "identity" or "normal" (standard deviation 0.001).
        key: a typed key.
        rows: input features (D or H).
        hidden_size: H.
        gates: n.
        dtype: floating.

    Returns:
        [rows, n * H].

    Example:
        >>> kernel = gate_kernel("orthogonal", jax.random.key(0), 3, 3, 2)
        >>> jnp.allclose(kernel[:, 3:] @ kernel[:, 3:].T, jnp.eye(3), atol=1e-5).item()
        True
    """
    draw = _PER_GATE[kind]
    # one program for all gates, [n, rows, H]: a QR decomposition takes long to compile
    kernels = jax.vmap(lambda k: draw(k, (rows, hidden_size), dtype))(jax.random.split(key, gates))
    return jnp.swapaxes(kernels, 0, 1).reshape(rows, gates * hidden_size)


def recurrent_kernel(key: Key, hidden_size: int, gates: int, heads: int = 1) -> Array:
    """A recurrent kernel, orthogonal for every gate of every head.

    Args:
        key: a typed key.
        hidden_size: H, the units of all heads together.
        gates: n.
        heads: N heads of H/N units each; a head reads its own units only.

    Returns:
        [H, nH]; with several heads [N, H/N, n H/N], a head's gates side by side.

    Example:
        >>> recurrent_kernel(jax.random.key(0), 6, gates=4, heads=2).shape
        (2, 3, 12)
    """
    size = hidden_size // heads
    if heads == 1:
        return gate_kernel("orthogonal", key, size, size, gates)
    return jax.vmap(lambda k: gate_kernel("orthogonal", k, size, size, gates))(jax.random.split(key, heads))


def uniform_like(params, key: Key, scale: float):
    """Parameters drawn from U(-scale, scale), the initialisation of Zaremba et al. 2014 and Karpathy et al. 2015.

    Args:
        params: a pytree of arrays, which gives the shapes and dtypes.
        key: a typed key.
        scale: half the width of the interval.

    Returns:
        A pytree of the same structure.

    Example:
        >>> float(abs(uniform_like({"w": jnp.zeros(100)}, jax.random.key(0), 0.1)["w"]).max()) <= 0.1
        True
    """
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.uniform(k, a.shape, a.dtype, -scale, scale) for k, a in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)
