"""The backend of linear recurrences: the elements and outputs of all steps at once, and between them `linear_scan`.

A recurrence that is the same at every step is a convolution, whose outputs need no states (`linear_blocks.py`).
"""

import math

import jax
import jax.numpy as jnp

from seqjax import masks, tree
from seqjax.gates import recording_gates
from seqjax.linear import DiagonalCell, LinearCell
from seqjax.recurrence.call import check_step, run_steps
from seqjax.recurrence.linear_blocks import run_system
from seqjax.recurrence.linear_scans import linear_scan
from seqjax.thresholds import convolves_in_blocks, makes_terms_inside, scan_method
from seqjax.types import output_dtype


def supports(cell, call) -> str | None:
    """The reason why `cell` cannot be run this way; None if it can."""
    if not isinstance(cell, LinearCell):
        return "it is not a LinearCell"
    if type(cell).recur is not LinearCell.recur:
        return "it has a recur of its own"
    if call.backend != "auto" or _convolves(cell, call):
        return None
    params, xs, state = call.arguments
    projected = sum(math.prod(z.shape[2:]) for z in jax.tree.leaves(jax.eval_shape(cell.project, params, xs)))
    stored = sum(math.prod(h.shape[1:]) for h in jax.tree.leaves(state))
    if not makes_terms_inside(stored, projected):
        return None
    return f"it would store {stored} numbers of each step, and a loop makes them from {projected}"


def _convolves(cell, call) -> bool:
    """True if the outputs are made by a convolution in blocks, which cannot represent resets and makes no states."""
    is_system = isinstance(cell, DiagonalCell) and all(
        getattr(type(cell), name) is getattr(DiagonalCell, name) for name in ("elements", "readout")
    )
    return is_system and call.reset is None and call.collect == "outputs" and convolves_in_blocks(*call.arguments[1].shape[:2])


def layout(cell, call) -> str:
    """The method of the scan."""
    if _convolves(cell, call):
        return "a convolution in blocks of steps"
    names = {"loop": "a loop over the steps", "chunked": "in chunks", "associative": "an associative scan"}
    return names[scan_method(call.arguments[1].shape[1])]


def run(cell, params, xs, state, call):
    """All steps of a cell; arguments and results as for `run_steps`.

    A masked step has a = 1 and b = 0. At a step that starts from the initial state, a times that state is part of b, and a = 0;
    backwards, this is the step that is read after one with a reset.
    """
    dtype = output_dtype(params, xs)

    def all_blocks(step, constants, state, inputs):
        params, (xs, real, _) = constants[0], inputs
        zs, h0 = cell.project(params, xs), cell.hidden(state)
        h, ys = run_system(cell.system(params, zs.dtype), zs, h0, real, call.reverse)
        after, _ = check_step(cell, state, (cell.state_of(h), None), params)
        return after, tree.cast_floating(ys, dtype)

    def all_steps(step, constants, state, inputs):
        params, _, initial, *_ = constants
        xs, real, reset = inputs
        z, h0, some = cell.project(params, xs), cell.hidden(state), xs.shape[1] != 0
        with recording_gates() as gates:
            a, b = cell.checked_elements(params, z, (*xs.shape[:2], *h0.shape[1:]))
            if real is not None:
                flags = tree.expand_right(real, b.ndim)
                a = jnp.where(flags, jnp.broadcast_to(a, b.shape), jnp.ones((), a.dtype))
                b = jnp.where(flags, b, jnp.zeros((), b.dtype))
            if reset is not None and some:
                restarts = jnp.concatenate([reset[:, 1:], jnp.zeros_like(reset[:, :1])], axis=1) if call.reverse else reset
                flags, a = tree.expand_right(restarts, b.ndim), jnp.broadcast_to(a, b.shape)
                b = jnp.where(flags, b + a * cell.hidden(initial)[:, None], b)
                a = jnp.where(flags, jnp.zeros((), a.dtype), a)
            hs = linear_scan(a, b, h0, reverse=call.reverse)
            # as in every backend, a padded step repeats the first real step of its row
            ys = cell.readout(params, hs if real is None else masks.fill(hs, real, reverse=call.reverse), z)
        after = cell.state_of(hs[:, 0 if call.reverse else -1]) if some else state
        after, _ = check_step(cell, state, (after, None), params)
        if reset is not None and some and call.reverse:
            after = tree.where(reset[:, 0], initial, after)
        if call.collect == "states":
            return after, cell.state_of(hs)
        return after, tree.cast_floating(ys if call.collect == "outputs" else gates, dtype)

    return run_steps(all_blocks if _convolves(cell, call) else all_steps, cell, params, xs, state, call)
