"""A loop over stacked arrays that may write where it has read.

`jax.lax.scan` gives every stacked result memory of its own. On a CPU the first touch of that memory costs more than the work
of a small step, so here a result may take the memory of an input that is not read again.
"""

import jax
import jax.numpy as jnp


def sweep(body, state, inputs, outputs, *, reverse=False, ahead=(), overwrite=None):
    """A loop over the steps of stacked arrays.

        state, output[t] = body(state, input[t])

    Args:
        body: (state, [input of one step]) -> (state, [output of one step]).
        state: a pytree.
        inputs: arrays [T, ...], T at least 1.
        outputs: shape and dtype of one step of each.
        reverse: from the last step to the first.
        ahead: indices of the inputs that are read one step ahead, into the loop's state. XLA:CPU reads a slice of a stacked
            array again in every fusion that uses it, element by element; what lies in the state it reads by vectors.
        overwrite: {index of an output: index of an input of that shape and dtype, whose memory it takes}.

    Returns:
        (state, outputs), arrays [T, ...].

    Example:
        >>> total, sums = sweep(lambda s, x: (s + x[0], [s + x[0]]), 0.0, [jnp.arange(4.0)], [jnp.float32(0)])
        >>> float(total), sums[0].tolist()
        (6.0, [0.0, 1.0, 3.0, 6.0])
    """
    steps = inputs[0].shape[0]
    taken = {source: out for out, source in (overwrite or {}).items()}
    taker = {out: source for source, out in taken.items()}
    # of equal fillings XLA would make one array and then copy it for every stack
    fresh = [jnp.full((steps, *a.shape), i, a.dtype) for i, a in enumerate(outputs)]
    stacks = [inputs[taker[i]] if i in taker else fresh[i] for i in range(len(outputs))]
    kept = [None if i in taken else a for i, a in enumerate(inputs)]
    in_time = [i for i in range(len(inputs)) if i not in ahead]

    def read(stacks, t, which):
        return {i: jax.lax.dynamic_index_in_dim(stacks[taken[i]] if i in taken else kept[i], t, keepdims=False) for i in which}

    def one(k, carry):
        state, early, stacks = carry
        t = steps - 1 - k if reverse else k
        now = early | read(stacks, t, in_time)
        state, out = body(state, [now[i] for i in range(len(inputs))])
        stacks = [jax.lax.dynamic_update_index_in_dim(stack, a, t, 0) for stack, a in zip(stacks, out, strict=True)]
        after = jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, steps - 1)
        return state, read(stacks, after, ahead), stacks

    first = read(stacks, steps - 1 if reverse else 0, ahead)
    state, _, stacks = jax.lax.fori_loop(0, steps, one, (state, first, stacks))
    return state, stacks
