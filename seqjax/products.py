"""The matrix product of every cell: JAX's own, with a derivative whose transpose has the operand order that XLA runs faster.

JAX transposes h @ kernel to (dz^T h)^T. Over more than one leading axis XLA first copies dz, the larger operand, into that
order; h^T dz needs no copy, and computes the kernel's gradient in a half to a third of the time (CPU, jax 0.10).

The cotangent of h is dz kernel^T. For a few rows XLA copies the kernel into that order first, at every step of a loop, and a step
takes up to four times as long as with a transposed kernel. So the tangent of h is multiplied by a transposed kernel, contracted
over its last axis: JAX transposes it before a loop over steps, and the cotangent needs no other order. (Outside of loops XLA
makes one product of the two transposes.)

With few rows, two more forms are faster: a sum of products over blocks of the contracted axis, each of which one core computes,
and h^T dz as a sum of outer products, which XLA adds to a gradient in the same pass (see thresholds.py).

A primitive of our own, which gives these orders, stands in tangents only: where nothing is differentiated, and in the programs of
gradients, an interpreter of jaxprs meets no operation that JAX does not have.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from seqjax.placement import automatic, varying_alike
from seqjax.thresholds import adds_outer_products, contraction_blocks, transposes_kernel
from seqjax.types import Array, at_least_float32


def product(h: Array, kernel: Array) -> Array:
    """The matrix product of every cell: `h` cast to the kernel's dtype, the result at least float32.

    Args:
        h: floating, [..., K]; or [..., N, K] for N heads.
        kernel: floating, [K, M]; or [N, K, M], one for each head.

    Returns:
        [..., M], or [..., N, M]; float32 or wider.

    Example:
        >>> product(jnp.ones((2, 3)), jnp.ones((3, 4), jnp.bfloat16)).dtype
        dtype('float32')
    """
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return _product(precision, h.astype(kernel.dtype), kernel)


def kernel_cotangent(h: Array, kernel: Array, dz: Array) -> Array:
    """The cotangent of `kernel` in `product(h, kernel)`, from that of the product: h^T dz, summed over leading axes.

    Args:
        h: [..., K] or [..., N, K]; it is cast to the kernel's dtype, as in `product`.
        kernel: [K, M] or [N, K, M].
        dz: the cotangent of the product, [..., M] or [..., N, M].

    Returns:
        An array of the kernel's shape and dtype.

    Example:
        >>> kernel_cotangent(jnp.ones((5, 2)), jnp.ones((2, 3)), jnp.ones((5, 3))).tolist()
        [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
    """
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return _times_transposed(h.astype(kernel.dtype), jax.typeof(kernel), dz, precision)


def _dimensions(a, kernel, axis):
    """Dimension numbers: the last axis of a contracted with an axis of the kernel; the heads of both, if any, as batch axes."""
    heads = ((a.ndim - 2,), (0,)) if kernel.ndim == 3 else ((), ())
    return ((a.ndim - 1,), (axis % kernel.ndim,)), heads


def _dot(a, kernel, axis, precision, dtype):
    dims = _dimensions(a, kernel, axis)
    out = jax.lax.dot_general(a, kernel, dims, precision=precision, preferred_element_type=dtype)
    return jnp.moveaxis(out, 0, -2) if kernel.ndim == 3 else out  # XLA puts the heads first


def _plain(h, kernel, *, precision, axis=-2, alone=True):
    return _dot(h, kernel, axis, precision, at_least_float32(kernel.dtype))


def _sum_of_blocks(a, kernel, precision, dtype):
    """`_dot` over axis -2 of the kernel, as a sum of products over blocks of that axis where this is faster."""
    rows, columns = a.shape[:-1], kernel.shape[-1]
    blocks = 1 if _explicit(a) or _explicit(kernel) else contraction_blocks(math.prod(rows), kernel)
    if blocks == 1:
        return _dot(a, kernel, -2, precision, dtype)
    lefts = a.reshape(math.prod(rows), blocks, -1)  # [rows, blocks, K / blocks]
    rights = kernel.reshape(blocks, -1, columns)
    dims = ((2,), (1,)), ((1,), (0,))
    terms = jax.lax.dot_general(lefts, rights, dims, precision=precision, preferred_element_type=dtype)  # [blocks, rows, columns]
    return functools.reduce(jnp.add, [terms[i] for i in range(blocks)]).reshape(*rows, columns)


def _explicit(a) -> bool:
    """True if an array's sharding is part of its type."""
    return not jax.typeof(a).sharding.mesh.empty


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _differentiable(precision, h, kernel):
    return _sum_of_blocks(h, kernel, precision, at_least_float32(kernel.dtype))


_product = jax.jit(_differentiable, static_argnums=0, inline=True)


def _jvp(precision, primals, tangents):
    (h, kernel), (d_h, d_kernel) = primals, tangents
    terms = []  # [..., M] each
    if not isinstance(d_h, SymbolicZero):
        transposed = kernel.ndim == 2 and transposes_kernel(math.prod(h.shape[:-1]), kernel)
        operands = varying_alike((d_h, kernel.T if transposed else kernel))
        alone = isinstance(d_kernel, SymbolicZero)
        terms.append(_times.bind(*operands, precision=precision, axis=-1 if transposed else -2, alone=alone))
    if not isinstance(d_kernel, SymbolicZero):
        terms.append(_times.bind(*varying_alike((h, d_kernel)), precision=precision, axis=-2, alone=False))
    return _product(precision, h, kernel), functools.reduce(jnp.add, terms)


_differentiable.defjvp(_jvp, symbolic_zeros=True)


@functools.lru_cache(maxsize=1024)  # a trace takes a tenth of a second for the products of one training step
def _shape(h, kernel, **params):
    return jax.make_jaxpr(functools.partial(_plain, **params))(h, kernel).out_avals[0]


def _times_transposed(h, kernel, dz, precision):
    rows = math.prod(h.shape[:-1])
    if adds_outer_products(rows, kernel) and not (_explicit(h) or _explicit(dz)):
        return _sum_of_outer_products(h.reshape(rows, -1), dz.reshape(rows, -1), precision)
    heads = kernel.ndim - 2
    leading, heads = tuple(range(h.ndim - 1 - heads)), tuple(range(h.ndim - 1 - heads, h.ndim - 1))
    dims = (leading, leading), (heads, heads)
    # with explicit axes, the sharding of a sum over rows must be given
    sharding = None if kernel.sharding.mesh.empty else kernel.sharding
    return jax.lax.dot_general(h, dz, dims, precision=precision, preferred_element_type=kernel.dtype, out_sharding=sharding)


def _sum_of_outer_products(h, dz, precision):
    """h^T dz. XLA would fuse the reads of h and dz, element by element, into the sum; a product with 1 stands between."""
    identity = jnp.eye(h.shape[0], dtype=h.dtype)
    h, dz = (jnp.matmul(*varying_alike((identity, a)), precision=precision) for a in (h, dz))
    return functools.reduce(jnp.add, [a[:, None] * b[None] for a, b in zip(h, dz, strict=True)])


def _cotangent_of_h(dz, h, kernel, *, precision, axis, alone):
    # where the gradient of the kernel is computed beside it, the other cores are at work already
    if alone and axis == -1:
        return _sum_of_blocks(dz, kernel, precision, h.aval.dtype)
    return _dot(dz, kernel, -3 - axis, precision, h.aval.dtype)


def _cotangent_of_kernel(dz, h, kernel, *, precision, axis, alone):
    left, right = (h, dz) if axis == -2 else (dz, h)
    return _times_transposed(left, kernel.aval, right, precision)


def _batched(arguments, axes, **params):
    return jax.vmap(functools.partial(_plain, **params), axes)(*arguments), 0


_times = Primitive("product")
_times.def_impl(jax.jit(_plain, static_argnames=("precision", "axis", "alone")))
_times.def_abstract_eval(_shape)
mlir.register_lowering(_times, mlir.lower_fun(_plain, multiple_results=False))
ad.defbilinear(_times, _cotangent_of_h, _cotangent_of_kernel)
batching.primitive_batchers[_times] = _batched


def affine(xs: Array, kernel: Array, bias: Array) -> Array:
    """xs @ kernel + bias, float32 or wider: [..., D], [D, N], [N] to [..., N]."""

    def run(xs, kernel, bias):
        ys = product(xs, kernel)
        return ys + jnp.broadcast_to(bias.astype(ys.dtype), ys.shape)

    return automatic(run, xs, kernel, bias, rows=xs)
