"""Diagonal systems that are the same at every step, as convolutions: in blocks of about sqrt(T) steps, by matrix products alone.

What the inputs of a block add to its outputs is a convolution with the first R entries of the system's kernel,

    K[0] = Re(sum_n c_n g_n) + d,    K[t] = Re(sum_n c_n a_n^t g_n)

one product of a block with a Toeplitz matrix. What came before the block reaches its outputs by the state at its edge, and the
inputs of a block reach the next edge: two more products, with powers of a. A loop over the edges is all that is left of the loop
over the steps, and only the edges' states are stored, [H, T/R, B, N].

One convolution of all steps by FFT needs the last two products as well, for the first state's outputs and the last state. Without
both it was measured slower than blocks in training except with 64 modes and up to 1,024 steps (8 rows, 64 features, 2 cores;
milliseconds by FFT and in blocks, modes and T: forward, training), and slower forward than the loop at 8 modes and 4,096 steps:

    8, 256     1.9  1.5    3.4  2.2        64, 256     3.3   5.5    8   10
    8, 1024    6.0  3.7   11.3  6.6        64, 1024   12    15     24   36
    8, 4096     36   14    79   29         64, 4096   43    55    215  107

Dao, Gu 2024, arXiv:2405.21060, section 6 (blocks).
"""

import functools
import math

import jax
import jax.numpy as jnp

from seqjax.linear import DiagonalSystem
from seqjax.recurrence.linear_scans import linear_scan
from seqjax.types import Array

# the place of multiplications entry by entry, which are exact to the last digit on every device
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def run_system(system: DiagonalSystem, zs: Array, h0: Array, real: Array | None, reverse: bool) -> tuple[Array, Array]:
    """The last state and all outputs of a diagonal system.

    A masked step changes no state, so real steps that are not at the front of their row are moved there, and their outputs back.

    Args:
        system: the system, of H features with N modes each.
        zs: [B, T, H], floating; T is at least 1.
        h0: complex, [B, H N].
        real: bool, [B, T], or None: every step is real.
        reverse: from the last step to the first.

    Returns:
        (h, ys): complex [B, H N]; [B, T, H], finite but arbitrary at masked steps.
    """
    if reverse:
        h, ys = run_system(system, jnp.flip(zs, 1), h0, None if real is None else jnp.flip(real, 1), False)
        return h, jnp.flip(ys, 1)
    if real is None:
        return _run_blocks(system, zs, h0, zs.shape[1])
    count = jnp.sum(real, axis=1, dtype=jnp.int32)  # [B]
    place = jnp.where(real, jnp.cumsum(real, 1, jnp.int32), count[:, None] + jnp.cumsum(~real, 1, jnp.int32)) - 1  # [B, T]
    in_front = jnp.all(real == (jnp.arange(zs.shape[1], dtype=jnp.int32)[None] < count[:, None]))  # rows are padded behind
    zs = jnp.where(real[..., None], zs, jnp.zeros((), zs.dtype))
    h, ys = _run_blocks(system, jax.lax.cond(in_front, _as_they_are, _moved_to, zs, place), h0, count)
    return h, jax.lax.cond(in_front, _as_they_are, _taken_from, ys, place)


def _as_they_are(steps: Array, place: Array) -> Array:
    return steps


@jax.vmap
def _moved_to(steps: Array, place: Array) -> Array:
    return jnp.zeros_like(steps).at[place].set(steps, unique_indices=True, mode="promise_in_bounds")


@jax.vmap
def _taken_from(steps: Array, place: Array) -> Array:
    return steps.at[place].get(unique_indices=True, mode="promise_in_bounds")


def _run_blocks(system: DiagonalSystem, zs: Array, h0: Array, count: int | Array) -> tuple[Array, Array]:
    """`run_system` forwards, with `count` real steps of each row at its front, and zeros behind them."""
    rows, steps, features = zs.shape
    factor, gain, output = (a.reshape(features, -1) for a in (system.factor, system.gain, system.output))  # [H, N]
    modes = factor.shape[1]
    length = math.isqrt(steps - 1) + 1  # R
    blocks = -(-steps // length)  # Q
    powers = _powers(factor, length + 1)  # [H, N, R + 1]
    padded = jnp.pad(zs, ((0, 0), (0, blocks * length - steps), (0, 0))).reshape(rows, blocks, length, features)
    inputs = jnp.transpose(padded, (3, 1, 0, 2))  # [H, Q, B, R]: Q and B are not one axis, so that B can be split over devices

    to_edge = jnp.flip(powers[..., :-1], -1) * gain[..., None]  # [H, N, R]
    to_edge = jnp.concatenate([to_edge.real, to_edge.imag], axis=1)  # [H, 2N, R]
    sums = _einsum("hqbr,hnr->hqbn", inputs, to_edge)  # [H, Q, B, 2N]
    first = jnp.moveaxis(h0.reshape(rows, features, modes), 1, 0)  # [H, B, N]
    # [H, Q, B, N], the states after each block
    edges = linear_scan(powers[:, None, None, :, -1], _complex(sums), first)
    before = jnp.concatenate([first[:, None], edges[:, :-1]], axis=1)  # [H, Q, B, N]

    kernel = jnp.sum(_real_product(output * gain, powers[..., :-1]), axis=1)  # [H, R]
    kernel = jnp.concatenate([kernel[:, :1] + system.through[:, None], kernel[:, 1:]], axis=1)
    from_edge = output[..., None] * powers[..., 1:]  # [H, N, R]
    from_edge = jnp.concatenate([from_edge.real, -from_edge.imag], axis=1)  # [H, 2N, R]
    states = jnp.concatenate([before.real, before.imag], axis=-1)  # [H, Q, B, 2N]
    ys = _einsum("hqbr,hrs->hqbs", inputs, _toeplitz(kernel)) + _einsum("hqbn,hnr->hqbr", states, from_edge)  # [H, Q, B, R]
    ys = jnp.transpose(ys, (2, 1, 3, 0)).reshape(rows, blocks * length, features)

    # the state after the last real step, which is the m-th of block q
    if isinstance(count, int):
        q, m = blocks - 1, count - (blocks - 1) * length
        edge, decay = jnp.moveaxis(before[:, q], 1, 0), powers[..., m]  # [B, H, N]; [H, N]
        block = jnp.roll(padded[:, q], length - m, axis=1)  # [B, R, H]
    else:
        q = jnp.maximum(count - 1, 0) // length  # [B]
        m = count - q * length  # [B]
        edge = jax.vmap(lambda states, q: states[:, q], in_axes=(2, 0))(before, q)  # [B, H, N]
        decay = jnp.moveaxis(jnp.take(powers, m, axis=-1), -1, 0)  # [B, H, N]
        block = jax.vmap(lambda steps, q, m: jnp.roll(steps[q], length - m, axis=0))(padded, q, m)  # [B, R, H]
    added = _complex(_einsum("brh,hnr->bhn", block, to_edge))
    return (jnp.broadcast_to(decay, edge.shape) * edge + added).reshape(h0.shape), ys[:, :steps]


def _complex(parts: Array) -> Array:
    """[..., 2N] of real and imaginary parts as [..., N]."""
    return jax.lax.complex(*jnp.split(parts, 2, axis=-1))


def _real_product(a: Array, b: Array) -> Array:
    """Re(a b): [H, N] and [H, N, R] to [H, N, R]."""
    real, imaginary = jnp.broadcast_to(a.real[..., None], b.shape), jnp.broadcast_to(a.imag[..., None], b.shape)
    return real * b.real - imaginary * b.imag


def _powers(a: Array, count: int) -> Array:
    """a^0, a^1, ...: [H, N] to [H, N, count], by doubling: as far from the exact powers of a as a loop's products are."""
    powers, factor = jnp.ones_like(a)[..., None], a[..., None]
    while powers.shape[-1] < count:
        powers, factor = jnp.concatenate([powers, powers * factor], axis=-1), factor * factor
    return powers[..., :count]


def _toeplitz(kernel: Array) -> Array:
    """[H, R] to [H, R, R]: kernel[s - r] at (r, s), and 0 where s < r."""
    features, length = kernel.shape
    cycle = jnp.concatenate([kernel, jnp.zeros_like(kernel)], axis=1)  # [H, 2R]
    cycles = jnp.broadcast_to(cycle[:, None], (features, length, 2 * length)).reshape(features, 2 * length**2)
    return cycles[:, : length * (2 * length - 1)].reshape(features, length, 2 * length - 1)[..., :length]
