"""Long sequences cut into pieces: recomputed in the backward pass, or with the gradient cut at every edge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from seqjax import tree
from seqjax.recurrence.custom_transpose import is_floating, linear_map, put
from seqjax.types import State, at_least_float32


def chunked(run, state: State, xs, length: int, *, reverse: bool = False):
    """`run` over consecutive pieces of `length` steps, the state handed on; the last piece may be shorter.

    Args:
        run: (state, piece of xs) -> (state, piece of ys).
        state: any pytree.
        xs: a pytree of arrays [T, ...], time first.
        length: steps of a piece.
        reverse: whether the pieces are taken from the last to the first.

    Returns:
        (state, ys), ys [T, ...].
    """
    state, (ys, last) = _in_turn(run, state, *_cut(xs, length), reverse)
    ys = jax.tree.map(lambda a: a.reshape((a.shape[0] * a.shape[1], *a.shape[2:])), ys)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), ys, *last)


def recomputed(piece, same, state: State, inputs, length: int, *, reverse: bool = False):
    """`piece` over consecutive pieces of `length` steps; in reverse mode the inside of each is computed again.

    Beyond inputs, outputs and their cotangents, the memory is that of the states at the edges of the pieces and of the inside
    of one piece: every piece is read and written at its place. JAX's own transpose of such a read is an array as long as all
    steps for each piece, so reverse mode is a loop of our own; all other derivatives are those of `chunked`.

    Args:
        piece: (same, state, piece of inputs) -> (state, piece of outputs), any JAX; it closes over nothing differentiated.
        same: a pytree of what is the same in every piece.
        state: a pytree of arrays.
        inputs: a pytree of arrays [B, T, ...], T at least 1.
        length: steps of a piece; the last may have fewer.
        reverse: whether the pieces are taken from the last to the first.

    Returns:
        (state, outputs), outputs [B, T, ...].
    """
    steps = jax.tree.leaves(inputs)[0].shape[1]
    length = min(length, steps)
    times = _cut(np.arange(steps, dtype=np.int32), length)
    values, treedef = jax.tree.flatten((same, state, inputs))
    begin = len(jax.tree.leaves(same))  # of the state's leaves
    end = begin + len(jax.tree.leaves(state))
    form = jax.eval_shape(piece, same, state, jax.tree.map(lambda a: _as_long(a, length), inputs))
    forms, results_tree = jax.tree.flatten(form)

    def one(values):
        return jax.tree.leaves(piece(*treedef.unflatten(values)))

    def forward(values):
        def run(carry, times):
            state, outputs = carry
            results = one([*values[:begin], *state, *_read(values[end:], times)])
            return (results[: end - begin], _write(outputs, results[end - begin :], times)), state

        outputs = _room([_as_long(a, steps) for a in forms[end - begin :]])
        (state, outputs), edges = _in_turn(run, (values[begin:end], outputs), *times, reverse)
        return [*state, *outputs], edges

    def push_forward(moving, residuals, tangents):
        values, _ = residuals

        def floating(moved):
            now = put(values, moving, moved)

            def run(state, inputs):
                results = one([*now[:begin], *state, *tree.swap_batch_time(inputs)])
                return results[: end - begin], tree.swap_batch_time(results[end - begin :])

            inputs = tree.swap_batch_time(now[end:])
            state, outputs = chunked(jax.checkpoint(run), now[begin:end], inputs, length, reverse=reverse)
            return [a for a in (*state, *tree.swap_batch_time(outputs)) if is_floating(a)]

        return jax.jvp(floating, ([values[i] for i in moving],), (tangents,))[1]

    def pull_back(moving, residuals, cotangents):
        values, edges = residuals
        constants, inputs = ([i for i in moving if low <= i < high] for low, high in ((0, begin), (end, len(values))))
        states = [i for i in range(begin, end) if is_floating(values[i])]
        d_state, d_outputs = cotangents[: len(states)], cotangents[len(states) :]

        def run(carry, now):
            (times, edge), (d_state, totals, d_inputs) = now, carry
            here = [*values[:begin], *edge, *_read(values[end:], times)]

            def floating(state, same, inputs_):
                now = put(here, [*states, *constants, *inputs], [*state, *same, *inputs_])
                return [a for a in one(now) if is_floating(a)]

            _, pull = jax.vjp(floating, *([here[i] for i in group] for group in (states, constants, inputs)))
            d_state, more, d_here = pull([*d_state, *_read(d_outputs, times)])
            totals = [total + d.astype(total.dtype) for total, d in zip(totals, more, strict=True)]
            return (d_state, totals, _write(d_inputs, d_here, times)), None

        totals = [jnp.zeros(values[i].shape, at_least_float32(values[i].dtype)) for i in constants]
        carry = (d_state, totals, _room([values[i] for i in inputs]))
        whole, last = (times[0], edges[0]), list(zip(times[1], edges[1], strict=True))
        (d_state, totals, d_inputs), _ = _in_turn(run, carry, whole, last, not reverse)
        d_values = dict(zip([*states, *constants, *inputs], [*d_state, *totals, *d_inputs], strict=True))
        return [d_values[i].astype(values[i].dtype) for i in moving]

    @jax.custom_jvp
    def whole(values):
        return forward(values)[0]

    def jvp(primals, tangents):
        (values,), (tangents,) = primals, tangents
        moving = [i for i, d in enumerate(tangents) if not isinstance(d, SymbolicZero) and is_floating(d)]
        results, edges = forward(values)
        push, pull = functools.partial(push_forward, moving), functools.partial(pull_back, moving)
        forms = [jax.typeof(a) for a in results if is_floating(a)]
        moved = iter(linear_map(push, (values, edges), [tangents[i] for i in moving], transposed=pull, out=forms))
        return results, [next(moved) if is_floating(a) else np.zeros(a.shape, jax.dtypes.float0) for a in results]

    whole.defjvp(jvp, symbolic_zeros=True)
    return results_tree.unflatten(whole(values))


def _cut(xs, length):
    """Arrays [T, ...] as pieces [T // length, length, ...], and a list of the shorter one after them, if there is one."""
    pieces, rest = divmod(jax.tree.leaves(xs)[0].shape[0], length)
    whole = jax.tree.map(lambda a: a[: pieces * length].reshape((pieces, length, *a.shape[1:])), xs)
    return whole, [jax.tree.map(lambda a: a[pieces * length :], xs)] if rest else []


def _in_turn(run, carry, whole, last, reverse):
    """`run` over the pieces of `_cut`: (carry, (results of the whole ones, stacked, list of the last one's))."""
    result = None
    if last and reverse:
        carry, result = run(carry, *last)
    carry, results = jax.lax.scan(run, carry, whole, reverse=reverse)
    if last and not reverse:
        carry, result = run(carry, *last)
    return carry, (results, [result] if last else [])


def _read(arrays, times):
    return [jax.lax.dynamic_slice_in_dim(a, times[0], len(times), axis=1) for a in arrays]


def _write(arrays, pieces, times):
    return [jax.lax.dynamic_update_slice_in_dim(a, b, times[0], axis=1) for a, b in zip(arrays, pieces, strict=True)]


def _room(forms):
    """Arrays to be written: of equal fillings XLA would make one array and then copy it."""
    return [jnp.full(a.shape, i, a.dtype) for i, a in enumerate(forms)]


def _as_long(a, steps):
    return jax.ShapeDtypeStruct((a.shape[0], steps, *a.shape[2:]), a.dtype)
