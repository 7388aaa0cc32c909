"""The reference backend, for any cell and device: all inputs are projected at once, then `jax.lax.scan` runs the steps.

Every other backend gives the same values and derivatives. The step, with masks and resets, is `masked_step` of call.py.
"""

import functools

import jax

from seqjax import tree
from seqjax.products import product
from seqjax.recurrence.call import run_steps


def supports(cell, call) -> str | None:
    """The reason why `cell` cannot be run this way; None, since this backend runs every cell."""
    return None


def plain(step, constants, state, inputs, *, reverse):
    """All steps: state, outputs[t] = step(dot, constants, state, inputs[t]). Leaves of inputs and outputs [T, B, ...]."""
    dot = lambda h, kernel: product(h, kernel)  # noqa: E731 - not `product` itself, which is that of a step of its own
    return jax.lax.scan(functools.partial(step, dot, constants), state, inputs, reverse=reverse)


def all_steps(cell, reverse: bool, step, constants, state, inputs, loop=plain):
    """All steps of a cell, projected before the loop; the other arguments and the results as in `run_steps`."""
    xs, real, reset = tree.swap_batch_time(inputs)  # [T, B, ...]
    zs = cell.project(constants[0], xs)
    state, ys = loop(step, constants, state, (zs, real, reset), reverse=reverse)
    return state, tree.swap_batch_time(ys)


def run(cell, params, xs, state, call, loop=plain):
    """All steps of a cell; arguments and results as for `run_steps`.

    Args:
        cell, params, xs, state, call: as for `run_steps`.
        loop: `plain`, or another function with its arguments and results.
    """
    steps = functools.partial(all_steps, cell, call.reverse, loop=loop)
    return run_steps(steps, cell, params, xs, state, call)
