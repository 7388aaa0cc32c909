"""Functions with one program for forward mode and another for reverse mode.

JAX derives reverse mode from forward mode: it traces a derivative, and splits it into values and a linear program if that is to
be transposed. So a program that saves residuals for the backward pass would run in forward mode too. Here the derivative is one
operation, `derivative`: where JAX splits it, it becomes the program for reverse mode, and elsewhere the one for forward mode.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive, Var, set_current_trace
from jax.interpreters import ad, batching, mlir, partial_eval

from seqjax import placement


def is_floating(a) -> bool:
    """True if an array can have a tangent."""
    return jnp.issubdtype(a.dtype if hasattr(a, "dtype") else jnp.result_type(a), jnp.inexact)


def tangents_of(results, d_results, zero) -> list:
    """The tangents of all results: `d_results` of the floating ones, in their order, and `zero` of the type of the others'."""
    d_results = iter(d_results)
    return [next(d_results) if is_floating(a) else zero(jax.typeof(a).to_tangent_aval()) for a in results]


def has_tangent(d) -> bool:
    """True for a tangent that is not zero by its type."""
    return not isinstance(d, SymbolicZero | ad.Zero) and is_floating(d)


def replaced(values, indices, new):
    """A list with new entries at some indices."""
    changed = dict(zip(indices, new, strict=True))
    return [changed.get(i, a) for i, a in enumerate(values)]


@dataclasses.dataclass(frozen=True, eq=False)
class Derivative:
    """The derivative of a function with respect to some of its arguments; these and the results are lists of arrays.

    `forward`, `reverse` and `again` compute the same: (arguments, tangents of the active) -> [*results, *tangents of the
    floating results].

    Args:
        value: arguments -> results.
        forward: for forward mode.
        reverse: for reverse mode: computes the results from the arguments alone, and the rest linearly in the tangents.
        again: for reverse mode over forward mode.
        active: indices of the arguments that have a tangent; without any, this is `value`.
        out: shapes and dtypes of the results, if they are known: finding them takes a trace.
    """

    value: Callable
    forward: Callable
    reverse: Callable
    again: Callable
    active: tuple[int, ...]
    out: tuple | None = None

    def __call__(self, arguments, tangents) -> tuple[list, list]:
        """(Results, tangents of the floating results)."""
        values = _derivative.bind(*placement.varying_alike([*arguments, *tangents]), of=self)
        count = next(k for k in range(len(values) + 1) if sum(map(is_floating, values[:k])) == len(values) - k)
        return values[:count], values[count:]

    def split(self, values) -> tuple[list, list]:
        """(Arguments, tangents of the active)."""
        count = len(values) - len(self.active)
        return list(values[:count]), list(values[count:])

    def types(self, values) -> list:
        """The types of the results and of their tangents."""
        results = self.results(values)
        results += [a for a in results if is_floating(a)] if self.active else []
        return [placement.reshaped(values[0], a.shape).update(dtype=a.dtype) for a in results]

    def results(self, values) -> list:
        """Shapes and dtypes of the results."""
        return list(self.out or jax.eval_shape(self.value, list(values[: len(values) - len(self.active)])))

    def mapped(self, size, axes, out_axes) -> "Derivative":
        """The derivative of the function that is mapped over a leading axis of what has an axis 0, not None."""
        of_arguments, of_tangents = self.split(axes)
        value = self.value if out_axes[0] is None else jax.vmap(self.value, (of_arguments,), axis_size=size)

        def mapped(program):
            return jax.vmap(program, (of_arguments, of_tangents), out_axes=out_axes, axis_size=size)

        return Derivative(value, mapped(self.forward), mapped(self.reverse), mapped(self.again), self.active)


def derivative_of(function: Callable, active) -> Callable:
    """JAX's derivative of a function of a list of arrays, as a program of `Derivative`."""

    def program(arguments, tangents):
        moving = [arguments[i] for i in active]
        results, d_results = jax.jvp(lambda new: function(replaced(arguments, active, new)), (moving,), (tangents,))
        return [*results, *(d for a, d in zip(results, d_results, strict=True) if is_floating(a))]

    return program


def by_mode(function: Callable, plain: Callable) -> Callable:
    """A function whose value and reverse mode are those of `function`, and whose other derivatives are those of `plain`.

    Args:
        function: of pytrees of arrays, to a pytree of arrays; closes over nothing traced.
        plain: a function with the same results.

    Returns:
        A function with the arguments and results of both.

    Example:
        >>> twice = by_mode(lambda x: x + x, lambda x: 2 * x)
        >>> jax.jvp(twice, (3.0,), (1.0,))[1].item(), jax.grad(twice)(3.0).item()
        (2.0, 2.0)
    """

    def run(*arguments):
        leaves, treedef = jax.tree.flatten(arguments)
        results_tree = out = None

        def flat(f):
            def of_leaves(leaves):
                nonlocal results_tree, out
                results, results_tree = jax.tree.flatten(f(*treedef.unflatten(leaves)))
                results = placement.varying_as(results, leaves)  # a constant result too, since its tangent varies
                out = tuple(map(jax.typeof, results))
                return results

            return of_leaves

        value, by_plain = flat(function), flat(plain)

        @jax.custom_jvp
        def whole(leaves):
            return value(leaves)

        def jvp(primals, tangents):
            (leaves,), (d_leaves,) = primals, tangents
            active = tuple(i for i, d in enumerate(d_leaves) if has_tangent(d))
            forward = derivative_of(by_plain, active)
            derivative = Derivative(value, forward, derivative_of(value, active), forward, active, out)
            results, d_results = derivative(leaves, [d_leaves[i] for i in active])
            return results, tangents_of(results, d_results, SymbolicZero)

        whole.defjvp(jvp, symbolic_zeros=True)
        results = whole(leaves)
        return jax.tree.unflatten(results_tree, results)

    return run


def _run(*values, of: Derivative):
    arguments, tangents = of.split(values)
    return of.forward(arguments, tangents) if tangents else of.value(arguments)


def _jvp(values, d_values, *, of: Derivative):
    active = tuple(i for i, d in enumerate(d_values) if has_tangent(d))
    forward, again = (lambda values, f=f: f(*of.split(values)) if of.active else of.value(values) for f in (of.forward, of.again))
    transposable = derivative_of(again, active)
    derivative = Derivative(forward, derivative_of(forward, active), transposable, transposable, active)
    results, d_results = derivative(values, [d_values[i] for i in active])
    return results, tangents_of(results, d_results, ad.Zero)


def _divide(trace, *tracers, of: Derivative):
    """Partial evaluation: with known arguments and unknown tangents, the program for reverse mode."""
    arguments, tangents = of.split(tracers)
    if all(t.is_known() for t in tangents) or not all(a.is_known() for a in arguments):
        return trace.default_process_primitive(_derivative, tracers, {"of": of})
    with set_current_trace(trace):
        return of.reverse([a.pval.get_known() for a in arguments], tangents)


def _divide_equation(saveable, unknown, present, eqn):
    """Partial evaluation of an equation inside `jax.checkpoint`: the results come from `value`; the rest is computed later."""
    of, count = eqn.params["of"], len(eqn.invars) - len(eqn.params["of"].active)
    needed = [v for v, here in zip(eqn.invars, present, strict=True) if isinstance(v, Var) and not here]
    if any(unknown[:count]):
        return None, eqn, [True] * len(eqn.outvars), [True] * len(eqn.outvars), needed
    results = len(of.results([v.aval for v in eqn.invars]))
    value = dataclasses.replace(of, active=())
    known = eqn.replace(invars=eqn.invars[:count], outvars=eqn.outvars[:results], params={"of": value})
    if not any(unknown):
        known, results = eqn, len(eqn.outvars)
    return known, eqn, [i >= results for i in range(len(eqn.outvars))], [True] * len(eqn.outvars), needed


def _batched(values, axes, *, of: Derivative):
    [size] = {a.shape[axis] for a, axis in zip(values, axes, strict=True) if axis is not None}
    one = [a if axis is None else jnp.moveaxis(a, axis, 0)[0] for a, axis in zip(values, axes, strict=True)]
    types = of.results(one)
    values = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(values, axes, strict=True)]
    axes = [None if axis is None else 0 for axis in axes]
    # the results do not depend on the tangents: where these alone are mapped, as by `jax.jacfwd`, the results are not
    out_axes = [None if set(of.split(axes)[0]) == {None} else 0] * len(types)
    out_axes += [0] * sum(map(is_floating, types)) if of.active else []
    return _derivative.bind(*values, of=of.mapped(size, axes, out_axes)), out_axes


_derivative = Primitive("derivative")
_derivative.multiple_results = True
_derivative.def_impl(_run)
_derivative.def_abstract_eval(lambda *values, of: of.types(values))
mlir.register_lowering(_derivative, mlir.lower_fun(_run, multiple_results=True))
ad.primitive_jvps[_derivative] = _jvp
batching.primitive_batchers[_derivative] = _batched
partial_eval.custom_partial_eval_rules[_derivative] = _divide
partial_eval.partial_eval_jaxpr_custom_rules[_derivative] = _divide_equation
