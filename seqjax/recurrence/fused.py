"""The scan with a derivative of its own: the gradient of a recurrent kernel is one product after the loop.

Autodiff of a scan adds h_t^T dz_t to an [H, nH] array at every step. Here a `dot` of our own keeps its left operands h_t,
and has a tap: an input whose value is ignored and whose tangent is added to the product's. With the kernels R held fixed
the loop is linearized in the taps and in everything else, and

    d ys = J_taps (h_t dR  of all t)  +  J_rest d rest

is the whole derivative. Both h_t dR and its transpose, sum_t h_t^T dz_t, are one product over all steps. Forward mode uses
the line as it stands, reverse mode its transpose, higher orders its derivative.
"""

import collections
import functools
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Var, get_opaque_trace_state
from jax.interpreters.partial_eval import dce_jaxpr

from seqjax.contracts import product
from seqjax.recurrence import scan


class Products(NamedTuple):
    """What one step does with `dot`.

    Args:
        kernels: a function of the leaves of constants that gives the kernel of every product; None for one that is not the
            same at every step.
        outs: shape and dtype of every product.
        sums: for every product the leaf of (constants, state, input) to which it is added where either is used nowhere
            else, so that one tangent serves both; None for others.
        lives: for every leaf of (constants, state, input) whether it acts on the step otherwise than as such a kernel.
        hidden: how many more products stand inside another transformation, a vmap or a loop of the cell's own.
    """

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

    closed = jax.make_jaxpr(probe)(constants, state, inputs)
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
    return Products(functions, outs, _sums(closed.jaxpr, count), lives, len(hidden))


def _sums(jaxpr, count):
    """For each of the last `count` outputs the input that it is added to, where neither is used otherwise."""
    users = collections.defaultdict(list)
    for eqn in jaxpr.eqns:
        for var in eqn.invars:
            if isinstance(var, Var):
                users[var].append(eqn)
    for var in jaxpr.outvars[: len(jaxpr.outvars) - count]:
        if isinstance(var, Var):
            users[var].append(None)
    place = {var: i for i, var in enumerate(jaxpr.invars)}

    def partner(var):
        if len(users[var]) != 1 or users[var][0] is None or users[var][0].primitive.name != "add":
            return None
        [other] = [v for v in users[var][0].invars if v is not var] or [None]
        return place[other] if other in place and len(users[other]) == 1 and other.aval == var.aval else None

    return [partner(var) for var in jaxpr.outvars[len(jaxpr.outvars) - count :]]


@jax.custom_jvp
def _tapped(out, tap):
    return out


@_tapped.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


def supports(cell, call) -> str | None:
    """Why `cell` cannot run so; None: it can."""
    params, xs, state = call.arguments

    def step(dot, constants, state, z):
        return cell.recur(constants[0], state, z, dot=dot, context=constants[1])

    try:
        z = jax.eval_shape(cell.project, params, jax.ShapeDtypeStruct((xs.shape[0], *xs.shape[2:]), xs.dtype))
        found = find_products(step, (params, call.context), state, z)
    except Exception as error:  # whatever is wrong with the cell, the plain scan shows it as it is
        return f"one step of it cannot be traced: {str(error).splitlines()[0]}"
    if found.hidden:
        return "one of its recurrent products stands inside another transformation"
    if not found.kernels:
        return "its recur calls no dot"
    if None in found.kernels:
        return "the kernel of one of its recurrent products is not the same at every step"
    return None


# What the backward pass makes again from its operands: cheaper than to store it at every step and read it back.
_REMADE = {"add", "sub", "mul", "neg", "max", "min", "select_n", "convert_element_type", "broadcast_in_dim", "integer_pow"}


def _worth_storing(primitive, *_, **__):
    return primitive.name not in _REMADE


def loop(step, constants, state, inputs, *, reverse):
    """`scan.plain` with the derivative of this module.

    Args:
        step: (dot, constants, state, input) -> (state, output).
        constants: a pytree of what is the same at every step.
        state: a pytree.
        inputs: a pytree of arrays [T, ...].
        reverse: from the last step to the first.

    Returns:
        (state, outputs), outputs [T, ...].
    """
    values, treedef = jax.tree.flatten((constants, state, inputs))
    found = find_products(step, constants, state, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), inputs))
    kernels = [None if f is None else f(values) for f in found.kernels]

    def run(kernels, values, taps=None, keep=()):
        """(state, outputs), and [T, ...] each the left operands of the products in `keep`; taps: {product: [T, ...]}."""
        constants, state, inputs = jax.tree.unflatten(treedef, values)

        def tapped_step(state, inputs):
            inputs, taps = inputs
            lefts, calls, outside = [], iter(range(len(kernels))), get_opaque_trace_state()

            def dot(h, kernel):
                if get_opaque_trace_state() != outside:
                    return product(h, kernel)
                call = next(calls)
                kernel = kernel if kernels[call] is None else kernels[call]
                if call in keep:
                    lefts.append(h.astype(kernel.dtype))
                out = product(h, kernel)
                return _tapped(out, taps[call]) if call in taps else out

            state, out = step(dot, constants, state, inputs)
            return state, (out, lefts)

        if keep:
            tapped_step = jax.checkpoint(tapped_step, prevent_cse=False, policy=_worth_storing)
        state, (outputs, lefts) = jax.lax.scan(tapped_step, state, (inputs, taps or {}), reverse=reverse)
        return (state, outputs), lefts

    @jax.custom_jvp
    def whole(kernels, values):
        return run(kernels, values)[0]

    def jvp(primals, tangents):
        kernels, values = primals
        d_kernels = {i: d for i, d in enumerate(tangents[0]) if d is not None and not isinstance(d, SymbolicZero)}
        d_values = {i: d for i, d in enumerate(tangents[1]) if not isinstance(d, SymbolicZero)}
        sums = {i: found.sums[i] for i in d_kernels if found.sums[i] is not None}
        taps = {i: jnp.zeros((steps, *found.outs[i].shape), found.outs[i].dtype) for i in d_kernels if i not in sums}

        def of_moving(taps, moved):
            return run(kernels, [moved.get(i, value) for i, value in enumerate(values)], taps, tuple(d_kernels))

        moving = {i: values[i] for i in {*d_values, *sums.values()}}
        results, push, lefts = jax.linearize(of_moving, taps, moving, has_aux=True)
        d_taps = {}
        for i, left in zip(d_kernels, lefts, strict=True):
            d_out = product(left, d_kernels[i])
            if i not in sums:
                d_taps[i] = d_out
            else:
                d_values[sums[i]] = d_values[sums[i]] + d_out if sums[i] in d_values else d_out
        return results, push(d_taps, d_values)

    whole.defjvp(jvp, symbolic_zeros=True)
    steps = jax.tree.leaves(inputs)[0].shape[0]
    still = [a if lives else jax.lax.stop_gradient(a) for a, lives in zip(values, found.lives, strict=True)]
    return whole(kernels, still)


run = functools.partial(scan.run, loop=loop)
