"""Jaxprs as the laws read them: the programs inside an equation, and the work of a step that a loop would repeat."""

from collections.abc import Callable

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Var

_LOOPS = ("scan", "while", "cond")


def programs_in(eqn) -> list[Jaxpr]:
    """The programs inside an equation."""
    values = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda value: isinstance(value, ClosedJaxpr | Jaxpr))
    programs = [value for value in values if isinstance(value, ClosedJaxpr | Jaxpr)]
    return [program.jaxpr if isinstance(program, ClosedJaxpr) else program for program in programs]


def invariant_work(step: Callable, fixed, *changing) -> list[str]:
    """List the operations of a step that read matrices of `fixed` alone, such as slices of kernels.

    Those on vectors, of at most one axis longer than 1, are left out, and broadcasts: XLA makes them part of the operation that
    reads their result.

    Args:
        step: (fixed, *changing) -> a pytree of arrays.
        fixed: a pytree of arrays, the same at every step.
        changing: pytrees of arrays, or of their shapes and dtypes: the step's other arguments.

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
        inner = programs_in(equation)
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
