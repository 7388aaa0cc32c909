"""A loop over stacked arrays that may write where it has read.

`jax.lax.scan` gives every stacked result memory of its own. On a CPU the first touch of that memory costs more than the work
of a small step, so here a result may take the memory of an input that is not read again. And it has the steps first, so that
arrays [B, T, ...] are copied into that order and back; here every array is read and written in the order it has.
"""

import jax
import jax.numpy as jnp


def axis_of(step) -> int:
    """Which axis the steps take in a stack of such arrays: the second, as in [B, T, ...]; of numbers the only one."""
    return min(1, len(step.shape))


def one_step(stack) -> jax.ShapeDtypeStruct:
    """Shape and dtype of one step of a stack."""
    shape = list(stack.shape)
    del shape[min(1, len(shape) - 1)]
    return jax.ShapeDtypeStruct(tuple(shape), stack.dtype)


def stack_of(step, steps: int) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a stack."""
    axis = axis_of(step)
    return jax.ShapeDtypeStruct((*step.shape[:axis], steps, *step.shape[axis:]), step.dtype)


def sweep(body, state, inputs, outputs, *, reverse=False, ahead=(), overwrite=None):
    """A loop over the steps of stacked arrays.

        state, output[:, t] = body(state, input[:, t])

    Args:
        body: (state, [input of one step]) -> (state, [output of one step]).
        state: a pytree.
        inputs: arrays [B, T, ...] or [T], T at least 1.
        outputs: shape and dtype of one step of each.
        reverse: from the last step to the first.
        ahead: indices of the inputs that are read one step ahead, into the loop's state. XLA:CPU reads a slice of a stacked
            array again in every fusion that uses it, element by element; what lies in the state it reads by vectors.
        overwrite: {index of an output: index of an input of that shape and dtype, whose memory it takes}.

    Returns:
        (state, outputs), arrays [B, T, ...] or [T].

    Example:
        >>> total, sums = sweep(lambda s, x: (s + x[0], [s + x[0]]), 0.0, [jnp.arange(4.0)], [jnp.float32(0)])
        >>> float(total), sums[0].tolist()
        (6.0, [0.0, 1.0, 3.0, 6.0])
    """
    axes, steps = [axis_of(one_step(a)) for a in inputs], inputs[0].shape[axis_of(one_step(inputs[0]))]
    taken = {source: out for out, source in (overwrite or {}).items()}
    taker = {out: source for source, out in taken.items()}
    # of equal fillings XLA would make one array and then copy it for every stack
    fresh = [jnp.full(stack_of(a, steps).shape, i, a.dtype) for i, a in enumerate(outputs)]
    stacks = [inputs[taker[i]] if i in taker else fresh[i] for i in range(len(outputs))]
    kept = [None if i in taken else a for i, a in enumerate(inputs)]
    in_time = [i for i in range(len(inputs)) if i not in ahead]

    def read(stacks, t, which):
        arrays = {i: stacks[taken[i]] if i in taken else kept[i] for i in which}
        return {i: jax.lax.dynamic_index_in_dim(a, t, axes[i], keepdims=False) for i, a in arrays.items()}

    def time(k):
        return jnp.maximum(steps - 1 - k, 0) if reverse else jnp.minimum(k, steps - 1)

    def one(k, carry):
        state, early, stacks = carry
        t = time(k)
        now = early | read(stacks, t, in_time)
        state, out = body(state, [now[i] for i in range(len(inputs))])
        stacks = [jax.lax.dynamic_update_index_in_dim(a, new, t, axis_of(new)) for a, new in zip(stacks, out, strict=True)]
        return state, read(stacks, time(k + 1), ahead), stacks

    first = read(stacks, time(jax.lax.optimization_barrier(jnp.int32(-1)) + 1), ahead)
    # a known number of steps: only then can reverse mode pass, as the gradient of a recomputed piece's gradient must
    state, _, stacks = jax.lax.fori_loop(0, steps, one, (state, first, stacks))
    return state, stacks
