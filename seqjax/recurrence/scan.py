"""The reference backend: one big `project`, then `jax.lax.scan` over `recur`. Any cell, any device."""

import functools
import math

import jax

from seqjax import noise, tree
from seqjax.products import product
from seqjax.recurrence.chunks import recomputed
from seqjax.thresholds import projected_inside


def supports(cell, call) -> str | None:
    """Why `cell` cannot run so; None: it can. This backend runs every cell."""
    return None


def plain(step, constants, state, inputs, *, reverse):
    """The loop: `step(product, constants, state, input) -> (state, output)` over the leading axis of inputs."""
    return jax.lax.scan(functools.partial(step, product, constants), state, inputs, reverse=reverse)


def run(cell, params, xs, state, call, loop=plain, batch_first=False):
    """All steps of a cell, batch first; see `seqjax.recurrence.engine.Call` for the options.

    Args:
        cell: a Cell.
        params: its parameters.
        xs: [B, T, *input_shape], or integer tokens [B, T].
        state: leaves [B, ...].
        call: the options.
        loop: `plain`, or what gives the same with other derivatives.
        batch_first: whether the loop's inputs and outputs are [B, T, ...], else [T, B, ...]. Such a loop may also be given
            `undifferentiated`: a step from x and its inputs, to run where no derivative is asked for.

    Returns:
        (state, ys), ys [B, T, ...]; of masked steps anything finite. With collect="states" the states instead of ys.
        With remat padding may hold anything: it is set to zero piece by piece, so that no other array is as long as xs.
    """
    state, keys = noise.split_keys(state)  # no step changes a key: the loop need not carry it
    fresh = None if call.reset is None else cell.initial_state(params, xs.shape[:1], context=call.context)

    def restart(flags, fresh, state):
        return tree.where(flags, noise.keep_noise(noise.split_keys(fresh)[0], state), state)

    def step(dot, constants, state, inputs):
        params, context, fresh, keys = constants
        z, real, reset = inputs
        if reset is not None and not call.reverse:
            state = restart(reset, fresh, state)
        new, y = cell.recur(params, noise.join_keys(state, keys), z, dot=dot, context=context)
        new, _ = noise.split_keys(new)
        if real is not None:
            new = tree.where(real, new, state)
        out = tree.cast_floating(y, call.output_dtype) if call.collect == "outputs" else new
        if reset is not None and call.reverse:
            new = restart(reset, fresh, new)
        return new, out

    def whole_step(dot, constants, state, inputs):
        x, *others = inputs
        return step(dot, constants, state, (cell.project(constants[0], x), *others))

    def project(params, xs):
        if not batch_first:
            return cell.project(params, xs)
        # as one axis XLA sees that what x W reads is what x^T dz reads; with the rows second it would gather split batches
        zs = cell.project(params, xs.reshape(xs.shape[0] * xs.shape[1], *xs.shape[2:]))
        return jax.tree.map(lambda z: z.reshape(*xs.shape[:2], *z.shape[1:]), zs)

    def piece(constants, state, inputs):
        xs, real, reset = inputs if batch_first else tree.swap_batch_time(inputs)
        zs, options = project(constants[0], xs), {}
        if batch_first and projected_inside(xs, zs):
            options["undifferentiated"] = (whole_step, (xs, real, reset))
        state, ys = loop(step, constants, state, (zs, real, reset), reverse=call.reverse, **options)
        return state, ys if batch_first else tree.swap_batch_time(ys)

    def clean_piece(constants, state, inputs):
        xs, real, reset = inputs
        if real is None:
            return piece(constants, state, inputs)
        state, ys = piece(constants, state, (tree.zero_where_not(real, xs), real, reset))
        return state, tree.zero_where_not(real, ys) if call.collect == "outputs" else ys

    constants, inputs = (params, call.context, fresh, keys), (xs, call.mask, call.reset)
    if call.remat is None or not xs.shape[1]:
        state, ys = piece(constants, state, inputs)
    else:
        length = math.isqrt(xs.shape[1] - 1) + 1 if call.remat == "sqrt" else call.remat
        state, ys = recomputed(clean_piece, constants, state, inputs, length, reverse=call.reverse)
    if call.collect == "states":
        over_time = [k if k is None else jax.numpy.broadcast_to(k[:, None], xs.shape[:2]) for k in keys]
        ys = noise.join_keys(ys, over_time)
    return noise.join_keys(state, keys), ys
