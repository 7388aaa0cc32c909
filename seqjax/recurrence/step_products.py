"""The recurrent products of one step, found in an abstract trace of it."""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
from jax.extend.core import ClosedJaxpr, Var, get_opaque_trace_state
from jax.interpreters.partial_eval import dce_jaxpr

from seqjax import placement
from seqjax.products import product


class Product(NamedTuple):
    """One call of `dot` in a step.

    Args:
        kernel: a function of the leaves of (constants, ...) that gives its kernel; None if the kernel changes from step to step.
        out: shape and dtype of the product.
        left: the index of the first product that has the same left operand.
        addend: the index of the input leaf that it is added to, if neither is used elsewhere: both then have the same cotangent.
    """

    kernel: Callable | None
    out: jax.ShapeDtypeStruct
    left: int
    addend: int | None


class StepTrace(NamedTuple):
    """The recurrent products of one step.

    Args:
        results: shapes and dtypes of (state, output).
        products: in the order of their calls.
        used: for every leaf of (constants, state, input), whether the step depends on it other than as a kernel of a product.
        hidden: the number of further products, inside another transformation: a vmap, or a loop of the cell itself.
    """

    results: Any
    products: list[Product]
    used: list[bool]
    hidden: int


def find_products(step, constants, state, inputs) -> StepTrace:
    """Trace one step, on shapes alone, and find the origin of each product's kernel.

    The trace is a program in which zeros stand for every product:

        (constants, state, input) -> (state, output, h_1 .. h_n | kernel_1 .. kernel_n | product_1 .. product_n)

    A kernel that depends on the constants alone is the same at every step. A leaf on which state, output and all h do not
    depend is used in kernels only.

    Args:
        step: (dot, constants, state, input) -> (state, output).
        constants, state: pytrees of arrays or shapes.
        inputs: a pytree of arrays or shapes, the inputs of one step.

    Returns:
        A StepTrace.
    """
    outs, left, hidden = [], [], []

    def probe(constants, state, inputs):
        lefts, kernels, zeros, outside = [], [], [], get_opaque_trace_state()

        def dot(h, kernel):
            if get_opaque_trace_state() != outside:
                hidden.append(None)
                return product(h, kernel)
            lefts.append(h)
            left.append(next(i for i, other in enumerate(lefts) if other is h))
            kernels.append(kernel)
            outs.append(jax.eval_shape(product, h, kernel))
            zeros.append(placement.full(outs[-1]))
            return zeros[-1]

        return step(dot, constants, state, inputs), lefts, kernels, zeros

    program, (results, *_) = jax.make_jaxpr(probe, return_shape=True)(constants, state, inputs)
    constant_leaves = len(jax.tree.leaves(constants))
    n, first_kernel = len(outs), len(program.jaxpr.outvars) - 2 * len(outs)
    kernels = [_constant_output(program, first_kernel + i, constant_leaves) for i in range(n)]
    addends = _addends(program.jaxpr, n, constant_leaves + len(jax.tree.leaves(state)))
    _, used = dce_jaxpr(program.jaxpr, [True] * first_kernel + [kernel is None for kernel in kernels] + [False] * n)
    return StepTrace(results, list(map(Product, kernels, outs, left, addends)), used, len(hidden))


def _constant_output(program: ClosedJaxpr, index: int, constants: int) -> Callable | None:
    """One output of a program as a function of its arguments' leaves; None if the first `constants` of them do not suffice."""
    jaxpr, used = dce_jaxpr(program.jaxpr, [i == index for i in range(len(program.jaxpr.outvars))])
    if any(used[constants:]):
        return None
    return lambda leaves: jax.core.eval_jaxpr(jaxpr, program.consts, *(a for a, u in zip(leaves, used, strict=False) if u))[0]


def _addends(jaxpr, count: int, first_input: int) -> list[int | None]:
    """For each of the last `count` outputs the index of the input that it is added to, if neither is used elsewhere."""
    users = collections.defaultdict(list)
    for eqn in jaxpr.eqns:
        for var in eqn.invars:
            if isinstance(var, Var):
                users[var].append(eqn)
    for var in jaxpr.outvars[: len(jaxpr.outvars) - count]:
        if isinstance(var, Var):
            users[var].append(None)
    index_of = {var: i for i, var in enumerate(jaxpr.invars[first_input:])}

    def addend(var):
        if len(users[var]) != 1 or users[var][0] is None or users[var][0].primitive.name != "add":
            return None
        [other] = [v for v in users[var][0].invars if v is not var] or [None]
        return index_of[other] if other in index_of and len(users[other]) == 1 and other.aval == var.aval else None

    return [addend(var) for var in jaxpr.outvars[len(jaxpr.outvars) - count :]]
