"""Laws that are read off a trace: donation, empty batches, export. Nothing is compiled."""

import jax
import jax.numpy as jnp
from jax import export
from jax.extend.core import Var

from seqjax import noise
from seqjax.contracts import Cell
from seqjax.testing.case import STEPS
from seqjax.testing.comparison import join, require, split_floating, weighted_sum


def law_donation(case):
    """Parameters and initial states can be donated: no two of their arrays are one, and no state holds a parameter."""

    def check(name, function, *arguments):
        jaxpr, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
        others, paths = {*jaxpr.jaxpr.invars, *jaxpr.jaxpr.constvars}, jax.tree.leaves_with_path(result)
        for var, (path, _) in zip(jaxpr.jaxpr.outvars, paths, strict=True):
            if not isinstance(var, Var):  # a literal
                continue
            where = f"{jax.tree_util.keystr(path)} of {name}"
            require(var not in others, "donation", f"{where} is an array that stands elsewhere too: make one for each place")
            others.add(var)

    check("init", case.cell.init, jax.eval_shape(lambda: jax.random.key(0)))
    for batch in ((), (2,)) if case.context is None else ((case.rows,),):
        check("initial_state", lambda p, c, b=batch: case.cell.initial_state(p, b, context=c), case.params, case.context)


def law_empty(case):
    """No rows, or no steps: there are results and gradients, of those shapes. Nothing is compiled."""
    noisy = noise.reseed(case.state, jax.random.key(9))
    for rows, steps in ((0, STEPS), (case.rows, 0)):
        state, context = jax.tree.map(lambda a, n=rows: a[:n], (noisy, case.context))
        xs = case.xs[:rows, :steps]
        flags = {"reset": jnp.zeros((rows, steps), jnp.bool_)} if isinstance(case.cell, Cell) else {}

        def total(params, state, xs=xs, context=context, flags=flags):
            results = case.unroll(params, xs, state, context, lengths=jnp.zeros(xs.shape[0], jnp.int32), **flags)
            reversed_results = case.unroll(params, xs, state, context, reverse=True, remat=2)
            return weighted_sum(noise.split_keys((results, reversed_results))[0])

        floating, others = split_floating(noise.split_keys(state)[0])
        keys = noise.split_keys(state)[1]
        jax.eval_shape(
            jax.grad(lambda p, s, o=others, k=keys: total(p, noise.join_keys(join(s, o), k)), (0, 1)), case.params, floating
        )


def law_export(case):
    """`jax.export` takes symbolic numbers of rows and steps: a program serves any batch and time. Nothing is compiled."""
    rows, steps = export.symbolic_shape("rows, steps")
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct((rows, *a.shape[1:]), a.dtype), (case.state, case.context))
    xs = jax.ShapeDtypeStruct((rows, steps, *case.xs.shape[2:]), case.xs.dtype)
    lengths = jax.ShapeDtypeStruct((rows,), jnp.int32)
    leaves, treedef = jax.tree.flatten((case.params, xs, *shapes, lengths))

    def served(*leaves):
        params, xs, state, context, lengths = treedef.unflatten(leaves)
        results = [case.unroll(params, xs, state, context, lengths=lengths)]
        if isinstance(case.cell, Cell):
            results.append(case.cell.step(params, state, xs[:, 0], context))
        return jax.tree.leaves(results)

    export.export(jax.jit(served))(*leaves)
