"""A linear map whose transpose is computed by a function of its own, and that every derivative goes through.

`jax.custom_vjp` takes away forward mode, and `jax.custom_derivatives.linear_call` has no rule for vmap or for a derivative
with respect to what the map is made of. Here both follow from a plain form of the map, which any JAX can differentiate.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


@dataclasses.dataclass(frozen=True, eq=False)
class _Map:
    """Functions of (residuals, x), each a flat list of arrays, that give a list; the forms of x and of the result."""

    value: Callable
    plain: Callable
    value_transposed: Callable
    plain_transposed: Callable
    residuals: int
    x: list
    out: list

    def transposed(self):
        backward, forward = (self.value_transposed, self.plain_transposed), (self.value, self.plain)
        return _Map(*backward, *forward, self.residuals, self.out, self.x)

    def mapped(self, size, axes):
        """Over a leading axis of x, of the result, and of the residuals where axes is 0."""
        value, plain, value_transposed, plain_transposed = (
            jax.vmap(f, (axes, 0), axis_size=size) for f in (self.value, self.plain, self.value_transposed, self.plain_transposed)
        )
        x, out = ([jax.ShapeDtypeStruct((size, *a.shape), a.dtype) for a in form] for form in (self.x, self.out))
        return _Map(value, plain, value_transposed, plain_transposed, self.residuals, x, out)

    def apart(self, values):
        return list(values[: self.residuals]), list(values[self.residuals :])


def linear_map(plain, residuals, x, *, transposed: Callable, out=None) -> Any:
    """plain(residuals, x), linear in x.

        <c, plain(r, x)> = <transposed(r, c), x>

    Jacobians, derivatives of the transpose, and derivatives with respect to the residuals are those of `plain`.

    Args:
        plain: (residuals, x) -> result, linear in x; any JAX.
        residuals: a pytree of arrays.
        x: a pytree of floating arrays.
        transposed: (residuals, cotangent of the result) -> cotangent of x, by any means.
        out: shapes and dtypes of the result; None: found by a trace of `plain`, which then is traced at every first call.

    Returns:
        The result, a pytree of floating arrays.

    Example:
        >>> f = lambda r, x: linear_map(jnp.multiply, r, x, transposed=lambda r, c: r * c)
        >>> jax.grad(lambda x: f(3.0, x) ** 2)(2.0).item()
        36.0
    """
    flat_residuals, residual_tree = jax.tree.flatten(residuals)
    flat_x, x_tree = jax.tree.flatten(x)
    out = jax.eval_shape(plain, residuals, x) if out is None else out
    flat_out, out_tree = jax.tree.flatten(out)

    def flat(function, tree):
        return lambda r, a: jax.tree.leaves(function(residual_tree.unflatten(r), tree.unflatten(a)))

    def plain_transposed(r, cotangent):
        return jax.linear_transpose(lambda a: plain(r, a), x)(cotangent)[0]

    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in map(jnp.asarray, flat_x)]
    linear = _Map(
        flat(plain, x_tree),
        flat(plain, x_tree),
        flat(transposed, out_tree),
        flat(plain_transposed, out_tree),
        len(flat_residuals),
        shapes,
        flat_out,
    )
    return out_tree.unflatten(_linear_map.bind(*flat_residuals, *flat_x, map=linear))


def put(values, numbers, new):
    """The values, with new ones at some numbers."""
    changed = dict(zip(numbers, new, strict=True))
    return [changed.get(i, a) for i, a in enumerate(values)]


def is_floating(a) -> bool:
    """Whether an array can have a tangent."""
    return jnp.issubdtype(a.dtype, jnp.inexact)


def _value(*values, map):
    return map.value(*map.apart(values))


def _jvp(primals, tangents, *, map):
    residuals, x = map.apart(primals)
    d_residuals, d_x = map.apart(tangents)
    out = _linear_map.bind(*primals, map=map)
    d_x = [ad.instantiate_zeros(d) for d in d_x]
    d_out = _linear_map.bind(*residuals, *d_x, map=map)
    moving = [i for i, d in enumerate(d_residuals) if not isinstance(d, ad.Zero)]
    if moving:

        def of_moving(*moved):
            return map.plain(put(residuals, moving, moved), x)

        _, more = jax.jvp(of_moving, tuple(residuals[i] for i in moving), tuple(d_residuals[i] for i in moving))
        d_out = [a + b for a, b in zip(d_out, more, strict=True)]
    return out, d_out


def _transpose(cotangents, *values, map):
    residuals, x = map.apart(values)
    cotangents = [ad.instantiate_zeros(c) for c in cotangents]
    found = _linear_map.bind(*residuals, *cotangents, map=map.transposed())
    wanted = [c if ad.is_undefined_primal(a) else None for a, c in zip(x, found, strict=True)]  # what is known is zero
    return [None] * len(residuals) + wanted


def _batched(values, axes, *, map):
    [size] = {a.shape[axis] for a, axis in zip(values, axes, strict=True) if axis is not None}
    values = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(values, axes, strict=True)]
    residuals, x = map.apart(values)
    residual_axes, x_axes = map.apart([None if axis is None else 0 for axis in axes])
    x = [jnp.broadcast_to(a, (size, *a.shape)) if axis is None else a for a, axis in zip(x, x_axes, strict=True)]
    out = _linear_map.bind(*residuals, *x, map=map.mapped(size, residual_axes))
    return out, [0] * len(out)


_linear_map = Primitive("linear_map")
_linear_map.multiple_results = True
_linear_map.def_impl(_value)
_linear_map.def_abstract_eval(lambda *_, map: [jax.core.ShapedArray(a.shape, a.dtype) for a in map.out])
mlir.register_lowering(_linear_map, mlir.lower_fun(_value, multiple_results=True))
ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batched
