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
    """All steps: state, outputs[t] = step(product, constants, state, inputs[t]). Leaves of inputs and outputs [T, B, ...]."""
    return jax.lax.scan(functools.partial(step, product, constants), state, inputs, reverse=reverse)


def run(cell, params, xs, state, call, loop=plain):
    """All steps of a cell; arguments and results as for `run_steps`.

    Args:
        cell, params, xs, state, call: as for `run_steps`.
        loop: `plain`, or another function with its arguments and results.
    """

    def all_steps(step, constants, state, inputs):
        xs, real, reset = tree.swap_batch_time(inputs)  # [T, B, ...]
        zs = cell.project(constants[0], xs)
        state, ys = loop(step, constants, state, (zs, real, reset), reverse=call.reverse)
        return state, tree.swap_batch_time(ys)

    return run_steps(all_steps, cell, params, xs, state, call)
