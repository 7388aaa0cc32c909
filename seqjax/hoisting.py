"""Loop-invariant work of a step, hoisted out of the loop."""

from collections.abc import Callable

import jax
import jax.core
from jax.extend.core import Var


def hoist(step: Callable, fixed, *changing) -> Callable:
    """The step of a loop, with done what depends on `fixed` alone: kernels cut in parts, transposed, cast to fewer bytes.

        hoist(step, fixed, *changing)(*changing) == step(fixed, *changing)

    XLA leaves such work in a loop. What makes more bytes of fewer, as broadcasting does, stays there: it costs less than to
    read them.

    Args:
        step: (fixed, *changing) -> a pytree of arrays.
        fixed: a pytree of arrays, the same at every step.
        changing: pytrees of arrays, or of their shapes and dtypes: what the step is called with.

    Returns:
        A function of `changing`.

    Example:
        >>> step = hoist(lambda kernel, h: h @ kernel.T, jax.numpy.eye(2) * 3, jax.numpy.zeros(2))
        >>> step(jax.numpy.ones(2)).tolist()
        [3.0, 3.0]
    """
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(fixed, *changing)
    jaxpr, leaves = closed.jaxpr, jax.tree.leaves(fixed)
    given, asked = jaxpr.invars[: len(leaves)], jaxpr.invars[len(leaves) :]
    known, alone, after = {*jaxpr.constvars, *given}, [], []
    for equation in jaxpr.eqns:
        if _variables(equation.invars) <= known and not equation.effects:
            known.update(equation.outvars)
            alone.append(equation)
        else:
            after.append(equation)
    needed, again = _variables(jaxpr.outvars).union(*(_variables(equation.invars) for equation in after)), []
    for equation in reversed(alone):
        if not needed.isdisjoint(equation.outvars) and _bytes(equation.outvars) > _bytes(equation.invars):
            again.append(equation)
            needed = (needed | _variables(equation.invars)) - {*equation.outvars}
    kept = [var for equation in alone for var in equation.outvars if var in needed]
    first = jaxpr.replace(invars=given, outvars=kept, eqns=alone)
    rest = jaxpr.replace(invars=[*given, *kept, *asked], eqns=[*reversed(again), *after])
    made = jax.core.eval_jaxpr(first, closed.consts, *leaves)

    def remaining(*changing):
        results = jax.core.eval_jaxpr(rest, closed.consts, *leaves, *made, *jax.tree.leaves(changing))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return remaining


def _variables(atoms) -> set:
    return {atom for atom in atoms if isinstance(atom, Var)}


def _bytes(atoms) -> int:
    return sum(atom.aval.size * atom.aval.dtype.itemsize for atom in atoms)
