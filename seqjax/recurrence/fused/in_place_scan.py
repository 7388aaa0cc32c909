"""A scan whose outputs may reuse the buffers of inputs that it has already read.

`jax.lax.scan` allocates a buffer for each stacked output, and on a CPU the first touch of that memory costs more than a small
step's work. Here an output may overwrite an input that is not read again. And `jax.lax.scan` puts the time axis first, so that
arrays [B, T, ...] are transposed before and after it; here every array is read and written in its own order.

On a GPU the kernel launches of a step dominate its cost, and `jax.lax.scan` is used: on an H100, loops like those here made an
LSTM's forward pass up to 2.2 times as slow as the plain scan's, and with the time axis first a GRU's gradient 7 times.
"""

import functools
import math

import jax
import jax.core
import jax.numpy as jnp

from seqjax import placement, tree
from seqjax.recurrence.two_modes import has_tangent, replaced
from seqjax.thresholds import at_least


def axis_of(step) -> int:
    """The time axis in a stack of arrays like `step`: the second, as in [B, T, ...]; in a stack of scalars the only one."""
    return min(1, len(step.shape))


def one_step(stack) -> jax.core.ShapedArray:
    """Shape and dtype of one step of a stack."""
    shape = list(stack.shape)
    del shape[min(1, len(shape) - 1)]
    return placement.reshaped(stack, tuple(shape))


def stack_of(step, steps: int) -> jax.core.ShapedArray:
    """Shape and dtype of a stack of `steps` arrays like `step`."""
    axis = axis_of(step)
    return placement.reshaped(step, (*step.shape[:axis], steps, *step.shape[axis:]))


def scan_stacks(body, state, inputs, outputs, *, reverse=False, prefetched=(), overwritten=None):
    """A scan over the steps of stacked arrays, in buffers that the caller chooses.

        state, output[:, t] = body(state, input[:, t])

    Args:
        body: (state, [input of one step]) -> (state, [output of one step]).
        state: a pytree.
        inputs: arrays [B, T, ...] or [T], T at least 1.
        outputs: shape and dtype of one step of each.
        reverse: from the last step to the first.
        prefetched: indices of the inputs that are read one step early, into the carry. XLA:CPU reads a slice of a stacked array
            again in every fusion that uses it, element by element; values in the carry are read with vector loads.
        overwritten: {index of an output: index of an input of that shape and dtype, whose buffer it takes}.

    Returns:
        (state, outputs), arrays [B, T, ...] or [T].

    Example:
        >>> total, sums = scan_stacks(lambda s, x: (s + x[0], [s + x[0]]), 0.0, [jnp.arange(4.0)], [jnp.float32(0)])
        >>> float(total), sums[0].tolist()
        (6.0, [0.0, 1.0, 3.0, 6.0])
    """
    axes, steps = [axis_of(one_step(a)) for a in inputs], inputs[0].shape[axis_of(one_step(inputs[0]))]
    input_of = overwritten or {}
    output_of = {source: out for out, source in input_of.items()}
    # XLA would merge equal constant fills into one buffer and copy it; so each is filled with another number
    buffers = [placement.full(stack_of(a, steps), i) for i, a in enumerate(outputs)]
    stacks = [inputs[input_of[i]] if i in input_of else buffers[i] for i in range(len(outputs))]
    read_only = [None if i in output_of else a for i, a in enumerate(inputs)]
    read_late = [i for i in range(len(inputs)) if i not in prefetched]

    def read(stacks, t, which):
        arrays = {i: stacks[output_of[i]] if i in output_of else read_only[i] for i in which}
        return {
            i: jax.lax.dynamic_index_in_dim(a, t, axes[i], keepdims=False, allow_negative_indices=False)
            for i, a in arrays.items()
        }

    def time(k):
        return jnp.maximum(steps - 1 - k, 0) if reverse else jnp.minimum(k, steps - 1)

    def one(k, carry):
        state, early, stacks = carry
        t = time(k)
        now = early | read(stacks, t, read_late)
        state, out = body(state, [now[i] for i in range(len(inputs))])
        stacks = [
            jax.lax.dynamic_update_index_in_dim(a, new, t, axis_of(new), allow_negative_indices=False)
            for a, new in zip(stacks, out, strict=True)
        ]
        return state, read(stacks, time(k + 1), prefetched), stacks

    first = read(stacks, time(jax.lax.optimization_barrier(jnp.int32(-1)) + 1), prefetched)
    state, _, stacks = jax.lax.fori_loop(0, steps, one, (state, first, stacks))
    return state, stacks


def in_place() -> bool:
    """True if the default device gains from reused buffers and prefetched inputs: CPUs do."""
    return jax.default_backend() == "cpu"


def in_loop_order(stacks):
    """Arrays [B, T, ...] in the order of the loops' axes, or back: on devices other than CPUs the first two are swapped."""
    return stacks if in_place() else tree.swap_batch_time(stacks)


def scan_with_layout(body, state, inputs, outputs, *, reverse, overwritable=None, read_late=()):
    """Call `scan_stacks` so that wide inputs are prefetched and outputs overwrite inputs of their shape and dtype.

    On devices other than CPUs, call `jax.lax.scan` instead.

    Args:
        body, state, inputs, outputs, reverse: as for `scan_stacks`.
        overwritable: {index of an input that may be overwritten: indices of the outputs that need all that is computed from it}.
            Any output may take the buffer of a prefetched input, but only those that of another: XLA would copy the whole stack
            at every step in which it writes before it reads.
        read_late: indices of the inputs that are not prefetched.

    Returns:
        (state, outputs), as from `scan_stacks`.
    """
    if not in_place():
        return _plain(body, state, inputs, outputs, reverse)
    widest = max((size for a in jax.tree.leaves(state) for size in a.shape[-1:] if at_least(size, 0)), default=0)
    # inputs wider than the state hold several gates and are read several times per step: prefetching copies them once
    least = [256 if at_least(a.shape[-1], widest + 1) else 1024 for a in inputs]
    prefetched = [i for i, a in enumerate(inputs) if at_least(_size(a), least[i]) and i not in read_late]
    free = {i: one_step(inputs[i]) for i in overwritable or () if at_least(_size(inputs[i]), 1024)}
    takers = {i: range(len(outputs)) if i in prefetched else dependent for i, dependent in (overwritable or {}).items()}
    overwritten = _matched(outputs, free, takers)
    return scan_stacks(body, state, inputs, outputs, reverse=reverse, prefetched=prefetched, overwritten=overwritten)


def differentiable_scan(body, fixed, state, inputs, outputs, *, reverse, **layout):
    """`scan_with_layout`, with the derivatives of a `jax.lax.scan` over the same steps.

    JAX's derivative of a loop that writes into its carry takes time in proportion to the square of the number of steps: forward
    mode copies the stacks at every step, and the transpose of every read is an array as long as all steps.

    Args:
        body: (fixed, state, [input of one step]) -> (state, [output of one step]); it closes over nothing traced.
        fixed: a pytree of arrays, the same at every step.
        state, inputs, outputs, reverse, **layout: as for `scan_with_layout`.

    Returns:
        (state, outputs), as from `scan_with_layout`.
    """

    @jax.custom_jvp
    def run(fixed, state, inputs):
        return scan_with_layout(functools.partial(body, fixed), state, inputs, outputs, reverse=reverse, **layout)

    def jvp(primals, tangents):
        leaves, treedef = jax.tree.flatten(primals)
        d_leaves = jax.tree.leaves(tangents)
        active = [i for i, d in enumerate(d_leaves) if has_tangent(d)]

        def plain(new):
            fixed, state, inputs = treedef.unflatten(replaced(leaves, active, new))
            return _plain(functools.partial(body, fixed), state, inputs, outputs, reverse)

        return jax.jvp(plain, ([leaves[i] for i in active],), ([d_leaves[i] for i in active],))

    run.defjvp(jvp, symbolic_zeros=True)
    return run(fixed, state, inputs)


def _plain(body, state, inputs, outputs, reverse):
    stacks = [jnp.moveaxis(a, axis_of(one_step(a)), 0) for a in inputs]
    state, stacks = jax.lax.scan(body, state, stacks, reverse=reverse)
    return state, [jnp.moveaxis(a, 0, axis_of(step)) for a, step in zip(stacks, outputs, strict=True)]


def _size(stack) -> int:
    return math.prod(one_step(stack).shape)


def _matched(outputs, inputs: dict, takers: dict) -> dict[int, int]:
    """{index of an output: key of an input of its shape and dtype that has it among its takers}, each input at most once."""
    free, pairs = dict(inputs), {}
    for i, a in enumerate(outputs):
        match = next((j for j, b in free.items() if (a.shape, a.dtype) == (b.shape, b.dtype) and i in takers[j]), None)
        if match is not None:
            pairs[i] = match
            del free[match]
    return pairs
