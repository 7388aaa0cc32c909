"""Linear maps with a custom transpose, and functions whose derivatives are such maps.

`jax.custom_vjp` has no forward mode, and `jax.custom_derivatives.linear_call` has no rule for vmap or for a derivative with
respect to its residuals. Here both follow from a plain form of the map, which JAX can differentiate.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from seqjax import placement
from seqjax.recurrence.two_modes import has_tangent, is_floating, replaced, tangents_of


@dataclasses.dataclass(frozen=True, eq=False)
class _Map:
    """Functions (residuals, x) -> result over flat lists of arrays, and the shapes and dtypes of x and of the result."""

    value: Callable
    plain: Callable
    value_transposed: Callable
    plain_transposed: Callable
    residuals: int
    x: list
    out: list
    is_transpose: bool = False

    def transposed(self):
        backward, forward = (self.value_transposed, self.plain_transposed), (self.value, self.plain)
        return _Map(*backward, *forward, self.residuals, self.out, self.x, not self.is_transpose)

    def mapped(self, size, axes):
        """The map over a leading axis of x, of the result, and of the residuals where axes is 0."""
        value, plain, value_transposed, plain_transposed = (
            jax.vmap(f, (axes, 0), axis_size=size) for f in (self.value, self.plain, self.value_transposed, self.plain_transposed)
        )
        x, out = ([placement.reshaped(a, (size, *a.shape)) for a in shapes] for shapes in (self.x, self.out))
        return _Map(value, plain, value_transposed, plain_transposed, self.residuals, x, out, self.is_transpose)

    def split(self, values):
        return list(values[: self.residuals]), list(values[self.residuals :])


def linear_map(plain, residuals, x, *, transposed: Callable, plain_transposed: Callable | None = None, out=None) -> Any:
    """The value of plain(residuals, x), which is linear in x, with a custom transpose.

        <c, plain(r, x)> = <transposed(r, c), x>

    Jacobians, derivatives of the transpose, and derivatives with respect to the residuals are those of the plain forms.

    Args:
        plain: (residuals, x) -> result, linear in x and differentiable by JAX.
        residuals: a pytree of arrays.
        x: a pytree of floating arrays.
        transposed: (residuals, cotangent of the result) -> cotangent of x, computed in any way.
        plain_transposed: the same, differentiable by JAX; None: JAX's transpose of `plain`.
        out: shapes and dtypes of the result; None: `plain` is traced to find them.

    Returns:
        The result, a pytree of floating arrays.

    Example:
        >>> f = lambda r, x: linear_map(jnp.multiply, r, x, transposed=lambda r, c: r * c)
        >>> jax.grad(lambda x: f(3.0, x) ** 2)(2.0).item()
        36.0
    """
    residuals, x = placement.varying_alike((residuals, x))
    flat_residuals, residual_tree = jax.tree.flatten(residuals)
    flat_x, x_tree = jax.tree.flatten(x)
    out = jax.eval_shape(plain, residuals, x) if out is None else out
    flat_out, out_tree = jax.tree.flatten(out)

    def flat(function, tree):
        return lambda r, a: jax.tree.leaves(function(residual_tree.unflatten(r), tree.unflatten(a)))

    def transposed_by_jax(r, cotangent):
        return jax.linear_transpose(lambda a: plain(r, a), x)(cotangent)[0]

    shapes = [placement.reshaped(a, a.shape) for a in map(jnp.asarray, flat_x)]
    linear = _Map(
        flat(plain, x_tree),
        flat(plain, x_tree),
        flat(transposed, out_tree),
        flat(plain_transposed or transposed_by_jax, out_tree),
        len(flat_residuals),
        shapes,
        flat_out,
    )
    return out_tree.unflatten(_linear_map.bind(*flat_residuals, *flat_x, map=linear))


def with_linearization(value: Callable, linearize: Callable, *, differentiable: bool = False) -> Callable:
    """A function whose forward mode is a linear map and whose reverse mode is that map's custom transpose.

    Args:
        value: (arguments, *others) -> list of arrays. `arguments` is a NamedTuple of lists of arrays; nothing is
            differentiated with respect to `others`.
        linearize: (arguments, active) -> (results, residuals, push_forward, pull_back). `active`, a NamedTuple of the same
            type, holds the indices of the arguments that have a tangent. push_forward: ((arguments, residuals), tangents of
            the active) -> tangents of the floating results. pull_back: ((arguments, residuals), cotangents of the floating
            results) -> cotangents of the active.
        differentiable: True if a second derivative is to be that of the residuals and of pull_back, both differentiable by JAX;
            else it is that of push_forward's transpose.

    Returns:
        A function with the arguments and results of `value`.
    """

    @jax.custom_jvp
    def function(arguments, *others):
        return value(arguments, *others)

    def jvp(primals, tangents):
        arguments, d_arguments = primals[0], tangents[0]
        active = type(arguments)(*([i for i, d in enumerate(ds) if has_tangent(d)] for ds in d_arguments))
        results, residuals, push_forward, pull_back = linearize(arguments, active)
        out, x = [jax.typeof(a) for a in results if is_floating(a)], pick(d_arguments, active)
        transposes = {"transposed": pull_back, "plain_transposed": pull_back if differentiable else None}
        d_results = linear_map(push_forward, (arguments, residuals), x, **transposes, out=out)
        return results, tangents_of(results, d_results, SymbolicZero)

    function.defjvp(jvp, symbolic_zeros=True)
    return function


def pick(lists, indices):
    """The entries of a NamedTuple of lists at `indices`, another NamedTuple of lists."""
    return type(lists)(*([values[i] for i in which] for values, which in zip(lists, indices, strict=True)))


def put(lists, indices, new):
    """A NamedTuple of lists with new entries at `indices`; both are NamedTuples of lists too."""
    return type(lists)(*(replaced(*field) for field in zip(lists, indices, new, strict=True)))


def _value(*values, map):
    return map.value(*map.split(values))


def _jvp(primals, tangents, *, map):
    residuals, _ = map.split(primals)
    d_residuals, d_x = map.split(tangents)
    d_x = [ad.instantiate_zeros(d) for d in d_x]
    if all(isinstance(d, ad.Zero) for d in d_residuals):
        return _linear_map.bind(*primals, map=map), _linear_map.bind(*residuals, *d_x, map=map)
    # one program for value and derivative; of x too in a transpose, whose derivative's transpose need not be the custom one
    of_plain = tangents if map.is_transpose else d_residuals
    active = [i for i, d in enumerate(of_plain) if not isinstance(d, ad.Zero)]

    def plain(*new):
        return map.plain(*map.split(replaced(primals, active, new)))

    out, d_out = jax.jvp(plain, [primals[i] for i in active], [tangents[i] for i in active])
    if not map.is_transpose:
        d_out = [a + b for a, b in zip(d_out, _linear_map.bind(*residuals, *d_x, map=map), strict=True)]
    return out, d_out


def _transpose(cotangents, *values, map):
    residuals, x = map.split(values)
    cotangents = [ad.instantiate_zeros(c) for c in cotangents]
    d_x = _linear_map.bind(*residuals, *cotangents, map=map.transposed())
    d_x = [d if ad.is_undefined_primal(a) else None for a, d in zip(x, d_x, strict=True)]  # the others are constants
    return [None] * len(residuals) + d_x


def _batched(values, axes, *, map):
    [size] = {a.shape[axis] for a, axis in zip(values, axes, strict=True) if axis is not None}
    values = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(values, axes, strict=True)]
    residuals, x = map.split(values)
    residual_axes, x_axes = map.split([None if axis is None else 0 for axis in axes])
    x = [jnp.broadcast_to(a, (size, *a.shape)) if axis is None else a for a, axis in zip(x, x_axes, strict=True)]
    out = _linear_map.bind(*residuals, *x, map=map.mapped(size, residual_axes))
    return out, [0] * len(out)


_linear_map = Primitive("linear_map")
_linear_map.multiple_results = True
_linear_map.def_impl(_value)
_linear_map.def_abstract_eval(lambda *_, map: [placement.reshaped(a, a.shape) for a in map.out])
mlir.register_lowering(_linear_map, mlir.lower_fun(_value, multiple_results=True))
ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batched
