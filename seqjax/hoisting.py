"""Loop-invariant work of a step: found, and hoisted out of the loop."""

from collections.abc import Callable

import jax
import jax.core
from jax.extend.core import ClosedJaxpr, Var

from seqjax.thresholds import at_least

_LOOPS = ("scan", "while", "cond")


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


def invariant_work(step: Callable, fixed, *changing) -> list[str]:
    """List the operations of a step that read matrices of `fixed` alone, such as slices of kernels.

    Those on vectors, of at most one axis longer than 1, are left out, and broadcasts: XLA makes them part of the operation that
    reads their result.

    Args:
        step, fixed, *changing: as for `hoist`.

    Returns:
        A phrase for each such operation.

    Example:
        >>> invariant_work(lambda kernel, h: h @ kernel[:2], jax.numpy.eye(3), jax.numpy.zeros(2))
        ['slice of float32[3,3]']
    """
    jaxpr = jax.make_jaxpr(step)(fixed, *changing).jaxpr
    return _invariant_work(jaxpr, set(jaxpr.invars[: len(jax.tree.leaves(fixed))]))[0]


def _invariant_work(jaxpr, invariant: set) -> tuple[list[str], set]:
    """(the operations, all invariant variables) of a program, from the invariant ones among its arguments."""
    work, invariant = [], {*invariant, *jaxpr.constvars}
    for equation in jaxpr.eqns:
        inner = [getattr(p, "jaxpr", p) for p in equation.params.values() if isinstance(p, ClosedJaxpr | type(jaxpr))]
        operands = _variables(equation.invars)
        if len(inner) == 1 and len(inner[0].invars) == len(equation.invars) and equation.primitive.name not in _LOOPS:
            pairs = zip(equation.invars, inner[0].invars, strict=True)
            within, of_inner = _invariant_work(inner[0], {new for old, new in pairs if _variables([old]) & invariant})
            work += within
            pairs = zip(equation.outvars, inner[0].outvars, strict=True)
            invariant.update(out for out, new in pairs if _variables([new]) & of_inner)
        elif operands and operands <= invariant:
            invariant.update(equation.outvars)
            matrices = [v.aval for v in operands if sum(size != 1 for size in v.aval.shape) > 1]
            if matrices and equation.primitive.name != "broadcast_in_dim":
                work.append(f"{equation.primitive.name} of {matrices[0].str_short()}")
    return work, invariant


def _variables(atoms) -> set:
    return {atom for atom in atoms if isinstance(atom, Var)}


def _bytes(atoms) -> int:
    return sum(atom.aval.size * atom.aval.dtype.itemsize for atom in atoms)
