"""Loop-invariant work of a step, hoisted out of the loop."""

from collections.abc import Callable

import jax
import jax.core
from jax.extend.core import Var

from seqjax.thresholds import at_least


def hoist(step: Callable, fixed, *changing) -> Callable:
    """Compute the part of a loop's step that depends on `fixed` alone: slices, transposes and narrower casts of kernels.

        hoist(step, fixed, *changing)(*changing) == step(fixed, *changing)

    XLA leaves such work in the loop. Operations whose results have more bytes than their operands, such as broadcasts, stay in
    the step: repeating them costs less than reading their results.

    Args:
        step: (fixed, *changing) -> a pytree of arrays.
        fixed: a pytree of arrays, the same at every step.
        changing: pytrees of arrays, or of their shapes and dtypes: the step's other arguments.

    Returns:
        The remaining step, a function of `changing`.

    Example:
        >>> step = hoist(lambda kernel, h: h @ kernel.T, jax.numpy.eye(2) * 3, jax.numpy.zeros(2))
        >>> step(jax.numpy.ones(2)).tolist()
        [3.0, 3.0]
    """
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(fixed, *changing)
    jaxpr, leaves = closed.jaxpr, jax.tree.leaves(fixed)
    fixed_vars, changing_vars = jaxpr.invars[: len(leaves)], jaxpr.invars[len(leaves) :]
    invariant_vars, invariant, stepwise = {*jaxpr.constvars, *fixed_vars}, [], []
    for equation in jaxpr.eqns:
        if _variables(equation.invars) <= invariant_vars and not equation.effects:
            invariant_vars.update(equation.outvars)
            invariant.append(equation)
        else:
            stepwise.append(equation)
    needed, repeated = _variables(jaxpr.outvars).union(*(_variables(equation.invars) for equation in stepwise)), []
    for equation in reversed(invariant):
        if not needed.isdisjoint(equation.outvars) and at_least(_bytes(equation.outvars), 1 + _bytes(equation.invars)):
            repeated.append(equation)
            needed = (needed | _variables(equation.invars)) - {*equation.outvars}
    hoisted = [var for equation in invariant for var in equation.outvars if var in needed]
    before = jaxpr.replace(invars=fixed_vars, outvars=hoisted, eqns=invariant)
    within = jaxpr.replace(invars=[*fixed_vars, *hoisted, *changing_vars], eqns=[*reversed(repeated), *stepwise])
    values = jax.core.eval_jaxpr(before, closed.consts, *leaves)

    def remaining(*changing):
        results = jax.core.eval_jaxpr(within, closed.consts, *leaves, *values, *jax.tree.leaves(changing))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return remaining


def _variables(atoms) -> set:
    return {atom for atom in atoms if isinstance(atom, Var)}


def _bytes(atoms) -> int:
    return sum(atom.aval.size * atom.aval.dtype.itemsize for atom in atoms)
