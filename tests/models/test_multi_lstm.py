"""MultiLSTM: several inputs and several outputs a step, against the equations in NumPy."""

import dataclasses

import jax
import numpy as np
import pytest

from seqjax import LSTM, InputError, Stack, unroll
from seqjax.attention import WindowAttention
from seqjax.models import Features, FrameClassifier
from tests import oracles

D, H, A, C, T, N = 3, 4, 2, 3, 7, 3
LENGTHS = np.array([7, 4, 0])
CELL = WindowAttention(cell=LSTM(input_size=D, hidden_size=H), window=N, hidden_size=A)
MODEL = FrameClassifier(encoder=Features(size=D, cell=CELL), classes=C, hidden=(5,), outputs=N)


def draw(part, dtype=np.float32):
    shapes = jax.eval_shape(part.init, jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: rng.normal(size=a.shape).astype(dtype), shapes)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_the_input_of_a_step_is_a_mean_of_the_window(x64):
    params, xs = draw(CELL, np.float64), np.random.default_rng(0).normal(size=(2, T, D))
    _, ys = unroll(CELL, params, xs, lengths=np.array([T, 4]))
    for row, length in enumerate((T, 4)):
        c = h = np.zeros(H)
        for t in range(length):
            window = xs[row, max(0, t - N + 1) : t + 1]
            query = np.tanh(h @ params["query_kernel"])
            scores = (np.tanh(window @ params["key_kernel"]) * query) @ params["score_vector"]
            (c, h), y = oracles.lstm(params["cell"], softmax(scores) @ window, c, h)
            np.testing.assert_allclose(ys[row, t], y, rtol=1e-9)


@pytest.mark.parametrize(("outputs", "offset", "learned"), [(N, 0, False), (N, 1, True), (1, -2, False), (1, 2, False)])
def test_the_score_of_a_frame_is_the_mean_of_its_steps(outputs, offset, learned):
    """y_t = sum_i beta_it p_it over the steps of the clip that label frame t; a frame without one has no loss."""
    model = dataclasses.replace(MODEL, encoder=Features(size=D), outputs=outputs, offset=offset, learned=learned)
    params, xs = draw(model), np.random.default_rng(0).normal(size=(3, T, D)).astype(np.float32)
    mask = np.arange(T) < LENGTHS[:, None]
    batch = {"features": np.where(mask[..., None], xs, np.nan), "features_lengths": LENGTHS, "target": np.zeros((3, T), np.int32)}
    _, result = jax.jit(model.apply)(params, batch)
    first, last = params["output"]["0"], params["output"]["1"]
    p = np.maximum(xs @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"]
    p, beta = p.reshape(3, T, outputs, C), np.exp(params["beta"]) if learned else np.ones(outputs)
    counted = 0
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            steps = [(i, i + offset - t) for i in range(length) if 0 <= i + offset - t < outputs]
            assert bool(result.mask[row, t]) == bool(steps)
            if steps:
                weights = np.array([beta[j] for _, j in steps])
                expected = sum(w * p[row, i, j] for w, (i, j) in zip(weights / weights.sum(), steps, strict=True))
                np.testing.assert_allclose(result.scores[row, t], expected, rtol=1e-4, atol=1e-5)
                counted += 1
    assert float(model.figures(result, batch)["loss"].weight) == counted > 0


def test_the_window_runs_online():
    model = dataclasses.replace(MODEL, outputs=1)
    params, xs = draw(model), np.random.default_rng(0).normal(size=(2, T, D)).astype(np.float32)
    step, state, steps = jax.jit(model.step), model.start(params, 2), []
    for t in range(T):
        state, p = step(params, state, xs[:, t])
        steps.append(p)
    np.testing.assert_allclose(np.stack(steps, 1), model.probabilities(params, {"features": xs}), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: MODEL.start(draw(MODEL), 1), "outputs=3 and offset=0 labels other frames than the latest"),
        (lambda: dataclasses.replace(CELL, window=0), "window=0, it must be a positive integer"),
        (lambda: dataclasses.replace(CELL, cell=Stack((LSTM(input_size=D, hidden_size=H),)), hidden_size=-1), "hidden_size=-1"),
        (lambda: unroll(CELL, draw(CELL), np.zeros((1, 2), np.int32)), "embed them first"),
        (lambda: dataclasses.replace(MODEL, outputs=0), "outputs=0, it must be a positive integer"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, line):
    with pytest.raises(InputError, match=line):
        make()
