"""Parameters that a program rounds to a narrower dtype, found in its jaxpr: nothing is computed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Var

from seqjax.testing.programs import programs_in
from seqjax.types import Params


def rounded_parameters(function: Callable, params: Params, *others) -> list[str]:
    """The parameters that a function casts to a narrower floating dtype.

    Args:
        function: of (params, *others).
        params: a pytree of arrays or of their shapes and dtypes.
        *others: pytrees of arrays or shapes; what depends on them may be rounded.

    Returns:
        A line for each: its path, its dtype, and the narrower one.

    Example:
        >>> params = {"kernel": jnp.ones((2, 2), jnp.bfloat16), "bias": jnp.ones(2)}
        >>> rounded_parameters(lambda p, x: x @ p["kernel"] + p["bias"].astype(x.dtype), params, jnp.ones(2, jnp.bfloat16))
        ["['bias'] is float32, rounded to bfloat16"]
    """
    program = jax.make_jaxpr(function)(params, *others)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    origins = [frozenset({path}) for path in paths]
    origins += [None] * (len(program.jaxpr.invars) - len(origins))
    return sorted(set(_rounded(program.jaxpr, origins)))


def _rounded(jaxpr: Jaxpr, origins: list) -> list[str]:
    """The lines of `rounded_parameters`; `origins` holds for each argument the parameters that it is made of, or None."""
    made_of = dict(zip(jaxpr.invars, origins, strict=True))
    lines = []
    for eqn in jaxpr.eqns:
        operands = [made_of.get(v) if isinstance(v, Var) else frozenset() for v in eqn.invars]
        for program in programs_in(eqn):
            lines += _rounded(program, _arguments(eqn, operands, len(program.invars)))
        known = [operand for operand in operands if operand is not None]
        origin = frozenset().union(*known) if len(known) == len(operands) and any(known) else None
        made_of.update((v, origin) for v in eqn.outvars)
        if origin and eqn.primitive.name == "convert_element_type":
            old, new = (v.aval.dtype for v in (*eqn.invars, *eqn.outvars))  # pyright: ignore[reportAttributeAccessIssue]
            lines += [f"{path} is {old}, rounded to {new}" for path in sorted(origin) if _narrows(old, new)]
    return lines


def _arguments(eqn, operands: list, count: int) -> list:
    """The origins of the arguments of a program inside an equation: those of the last operands. A loop's carry changes."""
    carry = {"scan": eqn.params.get("num_carry", 0), "while": len(eqn.outvars)}.get(eqn.primitive.name, 0)
    first = eqn.params["num_consts"] if eqn.primitive.name == "scan" else len(operands) - carry
    operands = [None if first <= i < first + carry else origin for i, origin in enumerate(operands)]
    return [None] * (count - len(operands)) + operands[len(operands) - min(count, len(operands)) :]


def _narrows(dtype, new) -> bool:
    both_floating = jnp.issubdtype(dtype, jnp.floating) and jnp.issubdtype(new, jnp.floating)
    return both_floating and jnp.finfo(new).bits < jnp.finfo(dtype).bits
