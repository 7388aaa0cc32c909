"""`unroll`: a cell or a layer over a whole sequence, by the fastest backend that can."""

import contextlib
import contextvars
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import masks, noise, tree
from seqjax.contracts import Cell, CompositeCell, SequenceLayer
from seqjax.errors import InputError
from seqjax.recurrence import scan
from seqjax.recurrence.chunks import chunked
from seqjax.recurrence.fused import backend as fused
from seqjax.recurrence.gpu import cudnn, pallas
from seqjax.thresholds import projected_inside
from seqjax.types import Array, Key, Params, State, is_tokens, output_dtype

BACKENDS = {"cudnn": cudnn, "pallas": pallas, "fused": fused, "scan": scan}  # the fastest first


class Call(NamedTuple):
    """What a backend is asked for.

    Args:
        mask: bool, [B, T], or None: every step is real.
        reset: bool, [B, T], False at masked steps, or None.
        context: a pytree, leaves [B, ...], or None.
        reverse: from the last step to the first.
        remat: None, or steps of a piece whose inside is recomputed in the backward pass, or "sqrt".
        collect: "outputs" or "states".
        output_dtype: of the floating leaves of ys.
        arguments: (params, xs, state), for their shapes and dtypes.
        backend: as asked for; "auto": none by name.
    """

    mask: Array | None
    reset: Array | None
    context: Any
    reverse: bool
    remat: int | str | None
    collect: str
    output_dtype: Any
    arguments: tuple
    backend: str = "auto"


class Choice(NamedTuple):
    """Which backend runs a cell, why not the others, and how the loop is laid out where that depends on sizes."""

    cell: Cell
    backend: str
    refused: dict[str, str]
    layout: str = ""

    def __str__(self):
        why = "".join(f"\n  not {name}: {reason}" for name, reason in self.refused.items())
        return f"{self.cell}: {self.backend}{self.layout and ', '}{self.layout}{why}"


_recorder: contextvars.ContextVar[list[Choice] | None] = contextvars.ContextVar("choices", default=None)


def choose(cell: Cell, call: Call, backend: str = "auto") -> Choice:
    """The fastest backend that can run `cell`, or the one asked for.

    Raises:
        InputError: an unknown backend, or one that cannot run this cell, with its reason.
    """
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"backend={backend!r} is not known: give one of 'auto', {', '.join(map(repr, BACKENDS))}")
    refused = {}
    for name, module in BACKENDS.items():
        reason = module.supports(cell, call)
        if reason is None and backend in ("auto", name):
            return Choice(cell, name, refused)
        if name == backend:
            raise InputError(f"backend {name!r} cannot run {cell}: {reason}")
        refused[name] = reason or "not asked for"
    raise AssertionError("scan runs every cell")


def run(
    part,
    params: Params,
    xs: Array,
    state: State,
    *,
    mask: Array | None = None,
    reset: Array | None = None,
    context=None,
    reverse: bool = False,
    backend: str = "auto",
    remat: int | str | None = None,
    collect: str = "outputs",
) -> tuple[State, Any]:
    """What composites call for their parts: `unroll` without its checks, its jit and its zeros at padded steps.

    Args:
        part: a Cell or a SequenceLayer.
        params: its parameters.
        xs: [B, T, *input_shape], or integer tokens [B, T].
        state: leaves [B, ...].
        mask, reset: bool, [B, T], or None.
        context, reverse, backend, remat, collect: as in `unroll`.

    Returns:
        (state, ys), ys [B, T, ...].
    """
    options = {"mask": mask, "reset": reset, "context": context, "reverse": reverse, "backend": backend, "remat": remat}
    if part.input_shape is not None:  # in a composite, what the part before gives
        _check_inputs(type(part).__name__, part.input_shape, xs)
    if isinstance(part, SequenceLayer):
        return part.unroll(params, xs, state, collect=collect, **options)
    if isinstance(part, CompositeCell) and collect == "outputs":
        return part.unroll(params, xs, state, **options)
    call = Call(mask, reset, context, reverse, remat, collect, output_dtype(params, xs), (params, xs, state), backend)
    choice = choose(part, call, backend)
    if (choices := _recorder.get()) is not None:
        zs = jax.eval_shape(part.project, params, xs)
        why = projected_inside(xs, zs) if choice.backend == "fused" and remat is None else None
        layout = f"where nothing is differentiated each step projects its own input ({why})" if why else ""
        choices.append(choice._replace(layout=layout))
    return BACKENDS[choice.backend].run(part, params, xs, state, call)


def unroll(
    cell,
    params: Params,
    xs: Array,
    state: State = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    reset: Array | None = None,
    context=None,
    key: Key | None = None,
    reverse: bool = False,
    backend: str = "auto",
    remat: int | str | None = None,
    collect: str = "outputs",
) -> tuple[State, Any]:
    """Runs a cell or a layer over whole sequences.

        state[t], y[t] = cell.step(params, state[t - 1], x[t], context)        at real steps
        state[t], y[t] = state[t - 1], 0                                       at masked steps

    Jitted inside: a second call with an equal cell and equal shapes compiles nothing. Padding may hold anything,
    NaN included: it reaches no value and no gradient.

    Args:
        cell: a Cell or a SequenceLayer.
        params: its parameters, of `cell.init`.
        xs: [B, T, *input_shape], or unbatched [T, *input_shape]; integer tokens [B, T] or [T] are read as one-hot vectors.
            Unbatched, nothing else has a batch axis either.
        state: leaves [B, ...], of `cell.initial_state` or an earlier call; None: the initial state.
        lengths: integer, [B], real steps of each row, 0 to T. Not with mask.
        mask: bool, [B, T], True at real steps. Not with lengths.
        reset: bool, [B, T], True at the first step of a new sequence: the state becomes the initial state before it
            (with reverse: after it).
        context: a pytree, leaves [B, ...], that every step sees; its gradient comes back once.
        key: a typed key; turns the noise of the state on and sets it anew. None leaves the state's noise as it is.
        reverse: from the last step to the first; ys stay at their places.
        backend: "auto", or one of the names that `explain` prints: "cudnn" (float32 LSTM, NVIDIA), "pallas" (LSTM and GRU, one
            kernel that keeps a head's recurrent kernel on chip, NVIDIA; by name also elsewhere, interpreted), "fused", "scan".
        remat: None; a number of steps, or "sqrt" for sqrt(T): the backward pass recomputes pieces of that length
            instead of storing what is inside them.
        collect: "outputs", or "states": the second result is then the state after every step, leaves [B, T, ...].

    Returns:
        (state, ys): the state after the last step, leaves [B, ...]; ys [B, T, ...], 0 at masked steps, in the float dtype of
        xs (the parameters', for tokens).

    Raises:
        InputError: an argument of a wrong dtype, rank, size or value; lengths and mask together.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> cell = LSTM(input_size=3, hidden_size=4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = unroll(cell, params, jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
        >>> ys.shape, state.h.shape
        ((2, 5, 4), (2, 4))
    """
    args, options = _prepare(
        cell,
        params,
        xs,
        state,
        lengths,
        mask,
        reset,
        context,
        key,
        reverse=reverse,
        backend=backend,
        remat=remat,
        collect=collect,
    )
    return _jitted(*args, **options)


def explain(cell, params: Params, xs: Array, state: State = None, **options) -> list[Choice]:
    """Which backend `unroll` would take for every cell inside, and why not the others. Nothing is computed.

    Args:
        cell, params, xs, state, **options: as for `unroll`.

    Returns:
        A Choice for every cell that a backend runs, in their order; each prints as lines.

    Raises:
        InputError: as `unroll`.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> cell = Elman(input_size=3, hidden_size=4)
        >>> explain(cell, cell.init(jax.random.key(0)), jnp.ones((2, 5, 3)))[0].backend
        'fused'
    """
    names = ("lengths", "mask", "reset", "context", "key")
    args, options = _prepare(cell, params, xs, state, *(options.pop(name, None) for name in names), **options)
    with _recording() as choices:
        jax.eval_shape(functools.partial(_unroll, args[0], **options), *args[1:])
    return choices


def truncated(cell: Cell, params: Params, xs: Array, state: State = None, *, window: int, **options) -> tuple[State, Any]:
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
        InputError: as `unroll`; a window below 1; a SequenceLayer.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> cell = Elman(input_size=3, hidden_size=4)
        >>> state, ys = truncated(cell, cell.init(jax.random.key(0)), jnp.ones((2, 5, 3)), window=2)
        >>> ys.shape
        (2, 5, 4)

    Williams, Peng 1990; Sutskever 2013, section 2.8.6.
    """
    if isinstance(cell, SequenceLayer):
        raise InputError(f"truncated runs cells, and {type(cell).__name__} is a layer that needs the whole sequence")
    if not isinstance(window, int) or window < 1:
        raise InputError(f"window={window!r}, it must be an integer of at least 1 step")
    names = ("lengths", "mask", "reset", "context", "key")
    args, options = _prepare(cell, params, xs, state, *(options.pop(name, None) for name in names), **options)
    return _jitted(*args, window=window, **options)


@contextlib.contextmanager
def _recording():
    choices: list[Choice] = []
    token = _recorder.set(choices)
    try:
        yield choices
    finally:
        _recorder.reset(token)


def _prepare(
    cell,
    params,
    xs,
    state,
    lengths,
    mask,
    reset,
    context,
    key,
    *,
    reverse: bool = False,
    backend: str = "auto",
    remat: int | str | None = None,
    collect: str = "outputs",
):
    """The arguments of `_jitted`, checked."""
    name = type(cell).__name__
    if not isinstance(cell, Cell | SequenceLayer):
        raise InputError(f"unroll runs a Cell or a SequenceLayer, not a {name}")
    if cell.input_shape is None:
        raise InputError(f"{name} reads inputs of any shape, so unroll cannot tell rows from features: give it an input_shape")
    xs = xs if isinstance(xs, jax.Array) else jnp.asarray(xs)
    batched = _check_inputs(name, cell.input_shape, xs)
    leading = xs.shape[: 1 + batched]
    if lengths is not None:
        lengths = lengths if isinstance(lengths, jax.Array) else jnp.asarray(np.asarray(lengths))
    masks.resolve(lengths, mask, leading)
    masks.resolve_reset(reset, leading)
    if key is not None and not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key):
        raise InputError("key is not a typed key: give jax.random.key(seed)")
    if remat not in (None, "sqrt") and (not isinstance(remat, int) or remat < 1):
        raise InputError(f"remat={remat!r}, it must be None, 'sqrt', or a number of steps of at least 1")
    if collect not in ("outputs", "states"):
        raise InputError(f"collect={collect!r}, it must be 'outputs' or 'states'")
    options = {"batched": batched, "reverse": bool(reverse), "backend": backend, "remat": remat, "collect": collect}
    return (cell, params, xs, state, lengths, mask, reset, context, key), options


def _check_inputs(name: str, input_shape, xs) -> bool:
    """Whether xs is batched; InputError where it fits neither form."""
    if not (jnp.issubdtype(xs.dtype, jnp.integer) or jnp.issubdtype(xs.dtype, jnp.floating)):
        raise InputError(f"xs has dtype {xs.dtype}, {name} reads floating features or integer tokens")
    tokens = is_tokens(xs, input_shape)
    wanted = () if tokens else input_shape
    kind = "integer tokens" if tokens else f"{xs.dtype} features"
    if xs.ndim not in (len(wanted) + 1, len(wanted) + 2):
        both = " or ".join(f"[{lead}{''.join(f', {n}' for n in wanted)}]" for lead in ("B, T", "T"))
        raise InputError(
            f"xs of {kind} has shape {xs.shape} of rank {xs.ndim}, "
            f"{name} reads {both} of rank {len(wanted) + 2} or {len(wanted) + 1}"
        )
    if wanted and xs.shape[-len(wanted) :] != wanted:
        raise InputError(f"xs has features of shape {xs.shape[-len(wanted) :]}, {name} reads {wanted}")
    return xs.ndim == len(wanted) + 2


def _check_state(name: str, state, expected):
    found, want = noise.split_keys(state)[0], noise.split_keys(expected)[0]
    if jax.tree.structure(found) != jax.tree.structure(want):
        raise InputError(f"state is {jax.tree.structure(found)}, the state of {name} is {jax.tree.structure(want)}")
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(want), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            where = jax.tree_util.keystr(path)
            raise InputError(f"state{where} is {a.dtype}{list(a.shape)}, {name} with these xs has {b.dtype}{list(b.shape)}")


def _unroll(
    cell, params, xs, state, lengths, mask, reset, context, key, *, batched, reverse, backend, remat, collect, window=None
):
    xs, state, lengths, mask, reset, context = jax.tree.map(jnp.asarray, (xs, state, lengths, mask, reset, context))
    if not batched:
        xs, state, lengths, mask, reset, context = tree.add_batch((xs, state, lengths, mask, reset, context))
    rows = xs.shape[:1]
    mask = masks.resolve(lengths, mask, xs.shape[:2])
    clean = remat is not None and isinstance(cell, Cell) and not isinstance(cell, CompositeCell)  # its pieces see to padding
    if mask is not None:
        xs = xs if clean else tree.zero_where_not(mask, xs)  # NaN times a zero cotangent would still be NaN
        reset = None if reset is None else reset & mask
    if state is None:
        state = cell.initial_state(params, rows, context=context, key=key)
    else:
        _check_state(
            type(cell).__name__, state, jax.eval_shape(lambda p, c: cell.initial_state(p, rows, context=c), params, context)
        )
        state = state if key is None else noise.reseed(state, key)
    options = {"context": context, "reverse": reverse, "backend": backend, "remat": remat, "collect": collect}

    def whole(state, inputs):
        xs, mask, reset = inputs
        return run(cell, params, xs, state, mask=mask, reset=reset, **options)

    def one_window(state, inputs):  # time first outside, as `chunked` cuts it
        steps, inputs = inputs
        begins = jnp.any(steps == (xs.shape[1] - 1 if reverse else 0))  # the given state is no edge
        state = jax.tree.map(lambda a: jnp.where(begins, a, jax.lax.stop_gradient(a)), state)
        state, ys = whole(state, tree.swap_batch_time(inputs))
        return state, tree.swap_batch_time(ys)

    if window is None or not xs.shape[1]:
        state, ys = whole(state, (xs, mask, reset))
    else:
        inputs = (jnp.arange(xs.shape[1], dtype=jnp.int32), tree.swap_batch_time((xs, mask, reset)))
        state, ys = chunked(one_window, state, inputs, window, reverse=reverse)
        ys = tree.swap_batch_time(ys)
    if mask is not None and collect == "outputs" and not clean:
        ys = tree.zero_where_not(mask, ys)
    return (state, ys) if batched else tree.drop_batch((state, ys))


_jitted = jax.jit(_unroll, static_argnums=0, static_argnames=("batched", "reverse", "backend", "remat", "collect", "window"))
