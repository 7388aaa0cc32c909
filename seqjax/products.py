"""The matrix product of every cell, as a primitive whose transpose is written the way round that compilers run fast.

JAX transposes h @ kernel to (dz^T h)^T. Over more than one leading axis XLA copies dz into that order first, and dz is
the larger one; h^T dz needs no copy. The kernel's gradient costs a half to a third of the time (CPU, jax 0.10).
"""

import functools

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from seqjax.types import Array, at_least_float32


def product(h: Array, kernel: Array) -> Array:
    """The matrix product of every cell: `h` cast to the kernel's dtype, the result at least float32.

    Args:
        h: floating, [..., K].
        kernel: floating, [K, M].

    Returns:
        [..., M], float32 or wider.

    Example:
        >>> import jax.numpy as jnp
        >>> product(jnp.ones((2, 3)), jnp.ones((3, 4), jnp.bfloat16)).dtype
        dtype('float32')
    """
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return _product.bind(h.astype(kernel.dtype), kernel, precision=precision)


def _dot(a, b, contract, precision, dtype):
    return jax.lax.dot_general(a, b, (contract, ((), ())), precision=precision, preferred_element_type=dtype)


def _plain(h, kernel, *, precision):
    return _dot(h, kernel, ((h.ndim - 1,), (0,)), precision, at_least_float32(kernel.dtype))


def _shape(h, kernel, *, precision):
    dims = (((h.ndim - 1,), (0,)), ((), ()))
    out = at_least_float32(kernel.dtype)
    return jax.lax.dot_general_p.abstract_eval(
        h, kernel, dimension_numbers=dims, precision=None, preferred_element_type=out, out_sharding=None
    )[0]


def _cotangent_of_h(dz, h, kernel, *, precision):
    kept = tuple(range(dz.ndim - kernel.ndim + 1, dz.ndim)), tuple(range(1, kernel.ndim))
    return _dot(dz, kernel, kept, precision, h.aval.dtype)


def _cotangent_of_kernel(dz, h, kernel, *, precision):
    leading = tuple(range(h.ndim - 1))
    return _dot(h, dz, (leading, leading), precision, kernel.aval.dtype)


def _batched(arguments, axes, *, precision):
    return jax.vmap(functools.partial(_plain, precision=precision), axes)(*arguments), 0


_product = Primitive("product")
_product.def_impl(jax.jit(_plain, static_argnames="precision"))
_product.def_abstract_eval(_shape)
mlir.register_lowering(_product, mlir.lower_fun(_plain, multiple_results=False))
ad.defbilinear(_product, _cotangent_of_h, _cotangent_of_kernel)
batching.primitive_batchers[_product] = _batched
