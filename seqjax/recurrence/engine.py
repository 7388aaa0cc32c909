"""`unroll`: a cell or a layer over a whole sequence, by the fastest backend that can run it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax import masks, placement, tree
from seqjax.contracts import Cell, CompositeCell, SequenceLayer
from seqjax.errors import InputError, inner_frames_hidden
from seqjax.recurrence.arguments import Embedded, Options, check_array, check_steps, checked, feature_shape, options_of
from seqjax.recurrence.backends import Backend, Choice, choose, recording
from seqjax.recurrence.call import Call, Collect
from seqjax.recurrence.chunks import Remat, chunked, missing_steps
from seqjax.recurrence.states import starting_state
from seqjax.types import Array, Key, Params, State

_P = ParamSpec("_P")
_R = TypeVar("_R")


def run(part, params: Params, xs: Array, state: State, **options) -> tuple[State, Any]:
    """Run a part of a composite: `unroll` without its checks, its jit, and its zeros at masked steps.

    Args:
        part: a Cell or a SequenceLayer.
        params: its parameters.
        xs: [B, T, *input_shape], or integer tokens [B, T].
        state: leaves [B, ...].
        **options: those of a composite's `unroll`, and `collect`: mask and reset bool [B, T] or None; context,
            reverse, backend, remat, collect as in `unroll`.

    Returns:
        (state, ys), ys [B, T, ...].
    """
    check_array(part, xs)  # the part before may have made xs
    if part.input_shape is not None:
        feature_shape(part, xs)
    mask, reverse = options.get("mask"), options.get("reverse", False)
    if isinstance(part, SequenceLayer):
        return part.unroll(params, _filled(xs, mask, reverse), state, **options)
    collect = options.pop("collect", "outputs")
    if isinstance(part, CompositeCell) and collect == "outputs":
        return part.unroll(params, _filled(xs, mask, reverse), state, **options)
    return run_steps_of(part, params, xs, state, collect=collect, **options)


def run_steps_of(cell: Cell, params: Params, xs: Array, state: State, **options) -> tuple[State, Any]:
    """Run a cell, a composite too, by a loop over its steps; arguments and results as for `run`."""
    call = Call((params, xs, state), **options)
    return choose(cell, call).run(cell, params, xs, state, call)


def _filled(xs, mask, reverse):
    return xs if mask is None or not xs.shape[1] else masks.fill(xs, mask, reverse=reverse)


def unroll(
    cell: Cell | SequenceLayer,
    params: Params | Embedded,
    xs: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | Sequence[int] | None = None,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    context: Any = None,
    key: Key | None = None,
    reverse: bool = False,
    backend: Backend = "auto",
    remat: Remat = None,
    collect: Collect = "outputs",
) -> tuple[State, Any]:
    """Run a cell or a layer over whole sequences.

    For every row, it computes the results of this loop, by the fastest backend that can run the cell:

        for t in range(T):
            if reset[t]: state = cell.initial_state(params, context=context)
            if mask[t]: state, y[t] = cell.step(params, state, x[t], context)
            else: y[t] = 0

    It is jitted inside: a second call with an equal cell and equal shapes compiles nothing. Padding may hold anything,
    NaN included: it affects no value and no gradient.

    Args:
        cell: a Cell or a SequenceLayer.
        params: its parameters, from `cell.init`; floating dtypes may be mixed, shapes and names may not differ.
        xs: [B, T, *input_shape], or unbatched [T, *input_shape]; integer tokens [B, T] or [T] are read as one-hot vectors
            (under jit, where their values are not checked, those outside 0..D-1 as zeros).
            Integers are features where input_shape has several axes. Unbatched, no other argument has a batch axis either.
        state: leaves [B, ...], from `cell.initial_state` or an earlier call; None: the initial state. A plain tuple stands for
            a NamedTuple with its fields in order: (c, h) for an LSTMState.
        lengths: integer, [B], real steps of each row, 0 to T. Not with mask.
        mask: bool, [B, T], True at real steps. Not with lengths.
        reset: bool, [B, T], True at the first step of a new sequence: the state becomes the initial state before it
            (with reverse: after it). Not at masked steps.
        context: a pytree, leaves [B, ...], that every step reads; its gradient is the sum over the steps.
        key: a typed key; turns on the state's noise and restarts it. None leaves the state's noise as it is. Keys [B], one for
            each row, make a row's noise independent of its place in the batch.
        reverse: from the last step to the first; ys keep the order of xs.
        backend: "auto", or a name that `explain` prints: "pallas" (LSTM and GRU on NVIDIA GPUs: one kernel for all steps, which
            keeps each head's recurrent kernel on chip), "linear" (cells that are a LinearCell), "fused", "scan".
        remat: None; a number of steps, or "sqrt" for sqrt(T): the backward pass recomputes chunks of that length instead of
            storing the residuals inside them.
        collect: "outputs"; "states": the second result is then the state after every step, leaves [B, T, ...]; or "gates": then
            it is {gate: [B, T, H]} of every gate's value, named as in `cell.gates`, 0 at masked steps. Parts of a Stack and the
            like stand under their names: {"0": {"i": ...}, "2": ...}.

    Returns:
        (state, ys): the state after the last step, leaves [B, ...]; ys [B, T, ...], 0 at masked steps, in the float dtype of
        xs (that of the parameters for integers).

    Raises:
        InputError: parameters of another cell; an argument of a wrong dtype, rank, size or value; both lengths and mask.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> cell = LSTM(input_size=3, hidden_size=4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = unroll(cell, params, jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
        >>> ys.shape, state.h.shape
        ((2, 5, 4), (2, 4))
    """
    with inner_frames_hidden:
        if isinstance(xs, jax.ShapeDtypeStruct):
            raise InputError(f"xs is a shape, {xs.dtype}{list(xs.shape)}, and unroll computes: give an array, or ask explain")
        options = Options(lengths, mask, reset, context, key, reverse, backend, remat, collect)
        params, xs, options = checked(cell, params, xs, state, options)
        return _jitted(cell, params, xs, state, options)


def _called_like(function: Callable[_P, Any]) -> Callable[[Callable[..., _R]], Callable[_P, _R]]:
    """For type checkers: the decorated function takes the arguments of `function`."""
    return lambda decorated: decorated


@_called_like(unroll)
def explain(cell: Cell | SequenceLayer, params: Params, xs: ArrayLike, state: State = None, **options: Any) -> list[Choice]:
    """The backend that `unroll` would choose for each cell, and the reasons against the others. Nothing is computed.

    Args:
        cell, params, xs, state, **options: as for `unroll`.

    Returns:
        A Choice for each cell that a backend runs, in their order. A printed Choice gives a line for each reason.

    Raises:
        InputError: as `unroll`.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> cell = Elman(input_size=3, hidden_size=4)
        >>> explain(cell, cell.init(jax.random.key(0)), jnp.ones((2, 5, 3)))[0].backend
        'fused'
    """
    with inner_frames_hidden, recording() as choices:
        params, xs, call_options = checked(cell, params, xs, state, options_of("explain", options))
        jax.eval_shape(functools.partial(_unroll, cell), params, xs, state, call_options)
    return choices


def truncated(
    cell: Cell, params: Params, xs: ArrayLike, state: State = None, *, window: int, **options: Any
) -> tuple[State, Any]:
    """Truncated backpropagation through time: one unroll whose gradient stops at every window's edge.

    The values are those of `unroll`. (A training loop over a long stream carries the state from batch to batch
    with `jax.lax.stop_gradient` instead, and needs only one window in memory.)

    Args:
        cell: a Cell; a layer that cannot carry its state from window to window is refused.
        params, xs, state: as for `unroll`.
        window: steps from edge to edge, counted from the first step of xs.
        **options: as for `unroll`.

    Returns:
        (state, ys), as `unroll`.

    Raises:
        InputError: as `unroll`; a window that is no positive integer; a SequenceLayer.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> cell = Elman(input_size=3, hidden_size=4)
        >>> state, ys = truncated(cell, cell.init(jax.random.key(0)), jnp.ones((2, 5, 3)), window=2)
        >>> ys.shape
        (2, 5, 4)

    Williams, Peng 1990; Sutskever 2013, section 2.8.6.
    """
    with inner_frames_hidden:
        if isinstance(cell, SequenceLayer):
            raise InputError(f"truncated runs cells, and {type(cell).__name__} is a layer that needs the whole sequence")
        window = check_steps("window", window)
        params, xs, call_options = checked(cell, params, xs, state, options_of("truncated", options))
        return _jitted(cell, params, xs, state, call_options, window=window)


def _unroll(cell, params, xs, state, options: Options, *, window=None):
    """`_all_rows` for arrays on any devices: see placement.py."""
    arguments = params, *jax.tree.map(jnp.asarray, (xs, state, options))
    batched = xs.ndim == 2 + len(feature_shape(cell, xs))
    run = functools.partial(_all_rows, cell, window=window, batched=batched)
    return placement.automatic(run, *arguments, rows=arguments[1:] if batched else ())


def _all_rows(cell, params, xs, state, options: Options, *, window, batched):
    key, options = options.key, dataclasses.replace(options, key=None)
    state = starting_state(cell, params, xs.shape[:1] if batched else (), state, options.context, key)
    if not batched:
        xs, state, options = tree.add_batch((xs, state, options))
    context, reset = options.context, options.reset
    mask = masks.resolve(options.lengths, options.mask, xs.shape[:2])
    steps, missing = xs.shape[1], missing_steps(xs.shape[1], options.remat, window)
    if missing != 0:
        mask = jnp.ones(xs.shape[:2], jnp.bool_) if mask is None else mask
        xs, mask, reset = tree.pad_time((xs, mask, reset), missing)
    # with remat, each chunk masks its own padding, in `run_steps`
    masked_by_chunks = options.remat is not None and isinstance(cell, Cell) and not isinstance(cell, CompositeCell)
    reset = reset if reset is None or mask is None else reset & mask
    state = placement.varying_as(state, xs)

    def all_steps(state, inputs):
        xs, mask, reset = inputs
        return run(
            cell, params, xs, state, mask=mask, reset=reset, context=context, reverse=options.reverse, backend=options.backend,
            remat=options.remat, collect=options.collect,
        )  # fmt: skip

    def one_window(state, inputs):  # leaves of inputs and ys are time first: `chunked` cuts the first axis
        steps, inputs = inputs
        first = jnp.any(steps == (xs.shape[1] - 1 if options.reverse else 0))  # no gradient is cut before the first window
        state = jax.tree.map(lambda a: jnp.where(first, a, jax.lax.stop_gradient(a)), state)
        state, ys = all_steps(state, tree.swap_batch_time(inputs))
        return placement.varying_as(state, xs), tree.swap_batch_time(ys)

    if window is None or not xs.shape[1]:
        state, ys = all_steps(state, (xs, mask, reset))
    else:
        inputs = (jnp.arange(xs.shape[1], dtype=jnp.int32), tree.swap_batch_time((xs, mask, reset)))
        state, ys = chunked(one_window, state, inputs, window, reverse=options.reverse)
        ys = tree.swap_batch_time(ys)
    if options.collect == "gates" and not ys:
        raise InputError(f"collect='gates', and {cell} has no gates: collect its states")
    if mask is not None and options.collect != "states" and not masked_by_chunks:
        ys = tree.zero_where_not(mask, ys)
    if missing != 0:
        ys = jax.tree.map(lambda y: y[:, :steps], ys)
    return (state, ys) if batched else tree.drop_batch((state, ys))


_jitted = jax.jit(_unroll, static_argnums=0, static_argnames="window")
