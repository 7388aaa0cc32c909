"""The LSTM of NVIDIA's cuDNN, by `jax.experimental.rnn`: float32, one layer and direction a call.

A masked step changes nothing, so the real steps of each row are moved to the front, in the order in which they are taken,
and cuDNN is given their number; that serves masks with gaps and `reverse` alike. A row of no steps is run as one of one
step, whose result is not taken.

cuDNN has a backward pass of its own and no other derivative. Forward mode and derivatives of the derivative are those of the
fused backend (`adjoint.py`). A deep or bidirectional stack is one call for each of its LSTMs.
"""

import functools
import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from seqjax import masks, tree
from seqjax.cells.lstm import LSTM, LSTMState
from seqjax.recurrence.custom_transpose import linear_map
from seqjax.recurrence.fused import backend as fused
from seqjax.recurrence.gpu import devices
from seqjax.types import Array, Params

PRECISIONS = (None, "highest", "float32", "high", "tensorfloat32", "bfloat16_3x")  # cuDNN multiplies in float32 or in tf32


def supports(cell, call) -> str | None:
    """Why `cell` cannot run so; None: it can."""
    params, xs, _ = call.arguments
    dtypes = {a.dtype for a in (xs, *jax.tree.leaves(params))}
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    refused = [
        (type(cell) is not LSTM or cell.heads != 1, "it runs LSTM cells of one head"),
        (dtypes != {jnp.dtype(jnp.float32)}, f"it runs float32, not {', '.join(sorted(d.name for d in dtypes))}"),
        (call.reset is not None, "it cannot reset the state on the way"),
        (call.context is not None, "it takes no context"),
        (call.collect == "states", "it gives no states on the way"),
        (call.remat is not None, "it stores what its backward pass needs"),
        (not xs.shape[1], "there are no steps"),
        (precision not in PRECISIONS, f"it cannot multiply with precision {precision!r}"),
    ]
    for applies, reason in refused:
        if applies:
            return reason
    unasked = None if call.backend == "cudnn" else devices.many_devices()
    return devices.no_nvidia_gpu() or unasked or _broken()


@functools.cache
def _broken() -> str | None:
    """Why cuDNN does not work although it should; logged when it is first found."""
    try:
        rnn.gpu_rnn.compute_rnn_workspace_reserve_space_sizes(8, 8, 1, 8, 8, 0.0, False, True)  # pyright: ignore
    except Exception as error:  # a library that is missing, or too old: whatever it says
        reason = f"jaxlib cannot use cuDNN: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        logging.getLogger("seqjax").warning("LSTMs run without cuDNN on this NVIDIA GPU: %s", reason)
        return reason
    return None


def pack(params: Params) -> Array:
    """The parameters of an LSTM as the one array that cuDNN takes.

    Args:
        params: input_kernel [D, 4H], recurrent_kernel [H, 4H], bias [4H]; gates `i f g o` are in cuDNN's order.

    Returns:
        [4H (D + H + 2)]: W_ih [4H, D], W_hh [4H, H], and two biases, of which the second is 0.
    """
    parts = params["input_kernel"].T, params["recurrent_kernel"].T, params["bias"], jnp.zeros_like(params["bias"])
    return jnp.concatenate([a.ravel() for a in parts])


def run(cell, params, xs, state, call):
    """All steps of an LSTM, as `scan.run`."""
    rows, steps = xs.shape[:2]
    mask = jnp.ones((rows, steps), bool) if call.mask is None else call.mask
    if call.mask is None and not call.reverse:
        return _lstm(cell, params, xs, state, jnp.full(rows, steps, jnp.int32))[:2]
    times = jnp.broadcast_to(jnp.arange(steps, dtype=jnp.int32), (rows, steps))
    order = jnp.argsort(jnp.where(mask, times[:, ::-1] if call.reverse else times, times + steps), axis=1)
    lengths = mask.sum(1, dtype=jnp.int32)
    final, ys = _lstm(cell, params, _taken(xs, order), state, jnp.maximum(lengths, 1))[:2]
    return tree.where(lengths > 0, final, state), _taken(ys, jnp.argsort(order, axis=1))


def _taken(a, order):
    return jnp.take_along_axis(a, order[..., None], axis=1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _lstm(cell, params, xs, state, lengths):
    """(state, ys) of the first `lengths` steps of each row, 1 or more; and what cuDNN keeps for its backward pass."""

    def once(params, xs, state, lengths):
        weights = pack(params)
        (ys, h, c), kept = rnn.lstm_fwd(xs, state.h[None], state.c[None], weights, lengths, **sizes(cell), precision=None)
        return LSTMState(c[0], h[0]), ys, kept[-1]

    kernel: Callable = jax.custom_batching.sequential_vmap(once)

    def plain(params, xs, state, lengths):
        form = jax.eval_shape(kernel, params, xs, state, lengths)[2]
        return *_plain(cell, params, xs, state, lengths), jnp.zeros(form.shape, form.dtype)

    return devices.on_nvidia(kernel, plain, params, xs, state, lengths)


@_lstm.defjvp
def _(cell, primals, tangents):
    *moving, lengths = primals
    final, ys, kept = _lstm(cell, *primals)

    def push(residuals, x):
        *moving, lengths = residuals[:4]
        return jax.jvp(lambda p, xs, s: _plain(cell, p, xs, s, lengths), tuple(moving), tuple(x))[1]

    def pull(residuals, cotangents):
        def once(residuals, cotangents):
            params, xs, state, lengths, ys, kept = residuals
            d_state, d_ys = cotangents
            weights, transpose = pack(params), jax.linear_transpose(pack, params)
            kept = (xs, state.h[None], state.c[None], weights, lengths, ys, kept)
            given = d_ys, d_state.h[None], d_state.c[None]
            d_xs, d_h, d_c, d_weights, _ = rnn.lstm_bwd(*sizes(cell).values(), precision=None, residuals=kept, gradients=given)
            real = masks.from_lengths(lengths, xs.shape[1])
            return (*transpose(d_weights), tree.zero_where_not(real, d_xs), LSTMState(d_c[0], d_h[0]))

        kernel: Callable = jax.custom_batching.sequential_vmap(once)

        def plain(residuals, cotangents):
            return jax.linear_transpose(functools.partial(push, residuals), tuple(moving))(cotangents)[0]

        return devices.on_nvidia(kernel, plain, residuals, cotangents)

    residuals = (*moving, lengths, ys, kept)
    d_final, d_ys = linear_map(push, residuals, tuple(tangents[:3]), transposed=pull)
    return (final, ys, kept), (d_final, d_ys, jnp.zeros_like(kept))


def sizes(cell) -> dict:
    """The sizes and options of both of cuDNN's calls, in their order."""
    return {
        "input_size": cell.input_size,
        "hidden_size": cell.hidden_size,
        "num_layers": 1,
        "dropout": 0.0,
        "bidirectional": False,
    }


def _plain(cell, params, xs, state, lengths):
    """(state, ys) by the fused backend: what every derivative but the first backward pass goes through."""

    def step(dot, params, state, inputs):
        z, real = inputs
        new, y = cell.recur(params, state, z, dot=dot)
        return tree.where(real, new, state), y

    real = masks.from_lengths(lengths, xs.shape[1])
    state, ys = fused.loop(step, params, state, (cell.project(params, xs), real), reverse=False)
    return state, tree.zero_where_not(real, ys)
