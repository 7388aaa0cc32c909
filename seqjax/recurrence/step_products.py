"""What one step of a loop does with `dot`, seen in an abstract trace of it."""

import collections
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import Var, get_opaque_trace_state
from jax.interpreters.partial_eval import dce_jaxpr

from seqjax.products import product


class Products(NamedTuple):
    """What one step does with `dot`.

    Args:
        results: shapes and dtypes of (state, output).
        kernels: a function of the leaves of constants that gives the kernel of every product; None for one that is not the
            same at every step.
        outs: shape and dtype of every product.
        sums: for every product the leaf of the input to which it is added where either is used nowhere else, so that one
            tangent serves both; its number among the leaves of (constants, state, input); None for others.
        lives: for every leaf of (constants, state, input) whether it acts on the step otherwise than as such a kernel.
        hidden: how many more products stand inside another transformation, a vmap or a loop of the cell's own.
    """

    results: Any
    kernels: list
    outs: list
    sums: list
    lives: list[bool]
    hidden: int


def find_products(step, constants, state, inputs) -> Products:
    """Traces one step, on shapes alone, and sees where the products' kernels come from.

    Args:
        step: (dot, constants, state, input) -> (state, output).
        constants, state: pytrees of arrays or shapes.
        inputs: of one step.

    Returns:
        The products, in the order of their calls.
    """
    outs, hidden = [], []

    def probe(constants, state, inputs):
        lefts, kernels, results, outside = [], [], [], get_opaque_trace_state()

        def dot(h, kernel):
            if get_opaque_trace_state() != outside:
                hidden.append(None)
                return product(h, kernel)
            lefts.append(h)
            kernels.append(kernel)
            outs.append(jax.eval_shape(product, h, kernel))
            results.append(jnp.zeros(outs[-1].shape, outs[-1].dtype))  # behind it, only other uses of a kernel are seen
            return results[-1]

        return step(dot, constants, state, inputs), lefts, kernels, results

    closed, (results, *_) = jax.make_jaxpr(probe, return_shape=True)(constants, state, inputs)
    fixed = len(jax.tree.leaves(constants))
    count = len(outs)
    others = len(closed.jaxpr.outvars) - 2 * count

    def kernel_function(index):
        jaxpr, used = dce_jaxpr(closed.jaxpr, [i == others + index for i in range(others + 2 * count)])
        if any(used[fixed:]):
            return None
        return lambda leaves: jax.core.eval_jaxpr(jaxpr, closed.consts, *(a for a, u in zip(leaves, used, strict=False) if u))[0]

    functions = [kernel_function(i) for i in range(count)]
    _, lives = dce_jaxpr(closed.jaxpr, [True] * others + [f is None for f in functions] + [False] * count)
    first = fixed + len(jax.tree.leaves(state))
    return Products(results, functions, outs, _sums(closed.jaxpr, count, first), lives, len(hidden))


def _sums(jaxpr, count, first):
    """For each of the last `count` outputs the argument, from `first` on, to which it is added where neither is used else."""
    users = collections.defaultdict(list)
    for eqn in jaxpr.eqns:
        for var in eqn.invars:
            if isinstance(var, Var):
                users[var].append(eqn)
    for var in jaxpr.outvars[: len(jaxpr.outvars) - count]:
        if isinstance(var, Var):
            users[var].append(None)
    place = {var: i for i, var in enumerate(jaxpr.invars) if i >= first}

    def partner(var):
        if len(users[var]) != 1 or users[var][0] is None or users[var][0].primitive.name != "add":
            return None
        [other] = [v for v in users[var][0].invars if v is not var] or [None]
        return place[other] if other in place and len(users[other]) == 1 and other.aval == var.aval else None

    return [partner(var) for var in jaxpr.outvars[len(jaxpr.outvars) - count :]]
