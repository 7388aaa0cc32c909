"""One call of a backend: its options, and a cell's step under them."""

from typing import Any, Literal, NamedTuple

import jax

from seqjax import masks, noise, placement, tree
from seqjax.errors import InputError
from seqjax.gates import recording_gates
from seqjax.recurrence.chunks import Remat, chunk_length, recomputed
from seqjax.types import Array, output_dtype

Collect = Literal["outputs", "states", "gates"]


class Call(NamedTuple):
    """The options of one loop over the steps of a cell.

    Args:
        arguments: (params, xs, state), for their shapes and dtypes.
        mask: bool, [B, T], or None: every step is real.
        reset: bool, [B, T], False at masked steps, or None.
        context: a pytree, leaves [B, ...], or None.
        reverse: from the last step to the first.
        backend: the requested name, or "auto".
        remat: None; or the number of steps in a chunk, whose residuals the backward pass recomputes; or "sqrt".
        collect: "outputs", "states" or "gates".
    """

    arguments: tuple
    mask: Array | None = None
    reset: Array | None = None
    context: Any = None
    reverse: bool = False
    backend: str = "auto"
    remat: Remat = None
    collect: Collect = "outputs"


def _restarted(flags, initial, state):
    """The initial state where flags are True; its noise is that of `state`."""
    return tree.where(flags, noise.keep_noise(noise.split_keys(initial)[0], state), state)


def _first_state(state, initial, mask: Array, call: Call):
    """The state that the first real step of each row reads; a row without real steps takes that of another row."""
    if call.reset is not None and not call.reverse:
        state = _restarted(masks.at_steps(call.reset, masks.first_real_step(mask)), initial, state)
    return jax.lax.stop_gradient(masks.from_real_rows(state, mask))


def masked_step(cell, call: Call):
    """One step of a cell under the options of a call, for the loop of any backend.

        state = initial_state                     where reset (with reverse: after the step)
        new, y = recur(state where real, else start, z)
        state = new where real, else state

    Args:
        cell: a Cell.
        call: the options.

    Returns:
        (dot, constants, state, inputs) -> (state, output), where constants is (params, context, the initial state or None, the
        noise keys of the state, start or None) and inputs is (z, real or None, reset or None), with one flag for each row. A
        masked step of a row repeats its first real step, which reads the state `start`; so its output is that step's.
    """
    dtype = output_dtype(*call.arguments[:2])

    def step(dot, constants, state, inputs):
        params, context, initial, keys, start = constants
        z, real, reset = inputs
        if reset is not None and not call.reverse:
            state = _restarted(reset, initial, state)
        before = state if real is None or start is None else tree.where(real, state, start)  # None: no steps
        with recording_gates() as gates:
            results = cell.recur(params, noise.join_keys(before, keys), z, dot=dot, context=context)
        new, y = check_step(cell, state, results, params)
        new = placement.varying_as(new, z)
        if real is not None:
            new = tree.where(real, new, state)
        output = new if call.collect == "states" else tree.cast_floating(y if call.collect == "outputs" else gates, dtype)
        if reset is not None and call.reverse:
            new = _restarted(reset, initial, new)
        return new, output

    return step


def check_step(cell, before, results, params) -> tuple[Any, Any]:
    """(state without its noise keys, y): the results of one step, whose state must have the form of the state before it.

    Args:
        cell: a Cell.
        before: the state that the step was given, without its noise keys.
        results: returned by `recur`.
        params: the cell's.

    Raises:
        InputError: another structure, shape or dtype of the state.
    """
    name = type(cell).__name__
    if not isinstance(results, tuple) or len(results) != 2:
        raise InputError(f"{name}.recur returns {tree.form(results)}, it must be the pair (state, y)")
    after = noise.split_keys(results[0])[0]
    if jax.tree.structure(after) != jax.tree.structure(before):
        raise InputError(
            f"{name}.recur returns the state {tree.form(after)}, it was given {tree.form(before)}: return (state, y)"
        )
    for (path, new), old in zip(jax.tree.leaves_with_path(after), jax.tree.leaves(before), strict=True):
        if tree.form(new) != tree.form(old):
            where = f"state{jax.tree_util.keystr(path)}"
            names = [(jax.tree_util.keystr(at, simple=True, separator="."), a) for at, a in jax.tree.leaves_with_path(params)]
            dtypes = {a.dtype: f"{name} is {a.dtype}" for name, a in names}
            mixed = f" ({', '.join(dtypes.values())})" if getattr(new, "dtype", None) != old.dtype and len(dtypes) > 1 else ""
            raise InputError(f"a step of {name} turns {where} from {tree.form(old)} into {tree.form(new)}{mixed}")
    return after, results[1]


def run_steps(all_steps, cell, params, xs, state, call: Call):
    """Run all steps of a cell: at once, or with remat chunk by chunk.

    Args:
        all_steps: (step, constants, state, (xs, real, reset)) -> (state, ys): a backend's loop over arrays [B, t, ...], with the
            step and the constants of `masked_step`.
        cell: a Cell.
        params: its parameters.
        xs: [B, T, *input_shape], or integer tokens [B, T].
        state: leaves [B, ...].
        call: the options.

    Returns:
        (state, ys), ys [B, T, ...], finite but arbitrary at masked steps. With collect="states" or "gates", they replace ys.
        The padding of xs may hold anything. With remat, each chunk masks its own padding, so that no further array is as long
        as xs, and outputs are 0 at masked steps.
    """
    state, keys = noise.split_keys(state)  # no step changes a key: the loop need not carry it
    initial = None if call.reset is None else cell.initial_state(params, xs.shape[:1], context=call.context)
    initial = placement.varying_as(initial, xs)
    context, start, first, step = call.context, None, None, masked_step(cell, call)
    mask = call.mask if xs.shape[1] else None  # without steps there is no padding
    if mask is not None:
        first = masks.first_steps(xs, mask, reverse=call.reverse)  # [B, *input_shape]
        start = _first_state(state, initial, mask, call)
        context = masks.from_real_rows(context, mask)
    constants, inputs = ((params, context, initial, keys, start), first), (xs, mask, call.reset)

    def chunk(constants, state, inputs):
        (constants, first), (xs, real, reset) = constants, inputs
        if real is None:
            return all_steps(step, constants, state, inputs)
        xs = tree.where(real, xs, first[:, None])
        state, ys = all_steps(step, constants, state, (xs, real, reset))
        return state, tree.zero_where_not(real, ys) if call.remat is not None and call.collect != "states" else ys

    if call.remat is None or not xs.shape[1]:
        state, ys = chunk(constants, state, inputs)
    else:
        length = chunk_length(call.remat, xs.shape[1])
        state, ys = recomputed(chunk, constants, state, inputs, length, reverse=call.reverse)
    if call.collect == "states":
        keys_over_time = [key if key is None else jax.numpy.broadcast_to(key[:, None], xs.shape[:2]) for key in keys]
        ys = noise.join_keys(ys, keys_over_time)
    return noise.join_keys(state, keys), ys
