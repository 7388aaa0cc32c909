"""Float64 NumPy references: the equations as papers and slides write them, in a plain loop over time."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def elman(p, x, h, activation=np.tanh):
    """h = tanh(W_hh h + W_xh x + b)"""
    h = activation(h @ p["recurrent_kernel"] + x @ p["input_kernel"] + p["bias"])
    return (h,), h


def lstm(p, x, c, h):
    """(i f o g) = (s s s tanh) W (h; x),  c = f * c + i * g,  h = o * tanh(c); in the parameters i f g o"""
    a = h @ p["recurrent_kernel"] + x @ p["input_kernel"] + p["bias"]
    i, f, g, o = np.split(a, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def gru_reset_after(p, x, h):
    """The form of PyTorch and cuDNN."""
    zr, zz, zn = np.split(x @ p["input_kernel"] + p["bias"], 3, axis=-1)
    rr, rz = np.split(h @ p["recurrent_kernel"], 2, axis=-1)
    r, z = sigmoid(zr + rr), sigmoid(zz + rz)
    n = np.tanh(zn + r * (h @ p["candidate_kernel"] + p["recurrent_bias"]))
    h = (1 - z) * n + z * h
    return (h,), h


def gru_reset_before(p, x, h):
    """Cho et al. 2014."""
    zr, zz, zn = np.split(x @ p["input_kernel"] + p["bias"], 3, axis=-1)
    rr, rz = np.split(h @ p["recurrent_kernel"], 2, axis=-1)
    r, z = sigmoid(zr + rr), sigmoid(zz + rz)
    n = np.tanh(zn + (r * h) @ p["candidate_kernel"])
    h = (1 - z) * n + z * h
    return (h,), h


def unroll(step, params, xs, state, initial, *, mask=None, reset=None, reverse=False):
    """The reference of `seqjax.unroll`: row by row, step by step.

    step(params, x, *state) -> (state, y); xs [B, T, ...]; state, initial: tuples of [B, ...], the last of them like y.
    Returns (state, ys).
    """
    rows, steps = xs.shape[:2]
    finals, outputs = [], []
    for b in range(rows):
        s, ys = tuple(a[b] for a in state), [None] * steps
        for t in range(steps)[:: -1 if reverse else 1]:
            real = mask is None or mask[b, t]
            fresh = real and reset is not None and reset[b, t]
            if fresh and not reverse:
                s = tuple(a[b] for a in initial)
            if real:
                s, ys[t] = step(params, xs[b, t], *s)
            if fresh and reverse:
                s = tuple(a[b] for a in initial)
        finals.append(s)
        outputs.append(ys)
    shape = next((y.shape for ys in outputs for y in ys if y is not None), ())
    outputs = [[np.zeros(shape) if y is None else y for y in ys] for ys in outputs]
    return tuple(np.stack(a) for a in zip(*finals, strict=True)), np.array(outputs)


def hypotheses(distribution, *, symbols, max_length, end, alpha=0.0, beta=0.0, weights=None):
    """All outputs, best first: those that took `end`, then those cut off at max_length; ties go to the smaller symbols.

    distribution(path) -> log-probabilities of the next symbol;
    weights(path) -> attention weights of that step over the real source places.
    Returns [(score, path)], the score with Wu's penalties.
    """
    outputs = []

    def visit(path, log_p, coverage):
        attended = coverage if weights is None else coverage + weights(path)
        for symbol, gain in enumerate(distribution(path)):
            longer, total = (*path, symbol), log_p + gain
            if symbol == end or len(longer) == max_length:
                penalty = beta * np.log(np.minimum(attended, 1)).sum() if beta else 0
                outputs.append((symbol != end, -(total / ((5 + len(longer)) / 6) ** alpha + penalty), longer))
            else:
                visit(longer, total, attended)

    visit((), 0.0, 0.0)
    assert all(len(path) <= max_length and max(path) < symbols for _, _, path in outputs)
    return [(-cost, path) for _, cost, path in sorted(outputs)]
