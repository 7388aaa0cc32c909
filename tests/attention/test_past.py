"""Attention over a window of the cell's own states, against the equations in NumPy."""

import jax
import numpy as np
import pytest

from seqjax import LSTM, Dropout, InputError, unroll
from seqjax.attention import PastAttention
from tests import oracles

D, H, A, N, T = 3, 4, 2, 3, 6
CELL = PastAttention(cell=LSTM(input_size=D, hidden_size=H), window=N, hidden_size=A)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def test_a_step_begins_with_a_mean_of_the_last_states(x64):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(CELL.init, jax.random.key(0))
    params, xs = jax.tree.map(lambda a: rng.normal(size=a.shape), shapes), rng.normal(size=(2, T, D))
    _, ys = unroll(CELL, params, xs, lengths=np.array([T, 2]))
    for row, length in enumerate((T, 2)):
        states, read = [np.zeros((2, H))], np.zeros(H)  # (c, h) after each step
        for t in range(length):
            window = np.stack(states[-N:])
            query = xs[row, t] @ params["input_kernel"] + read @ params["read_kernel"]
            scores = np.tanh(window[:, 1] @ params["state_kernel"] + query) @ params["score_vector"]
            c, read = np.tensordot(softmax(scores), window, 1)
            new, y = oracles.lstm(params["cell"], xs[row, t], c, read)
            states.append(np.stack(new))
            np.testing.assert_allclose(ys[row, t], y, rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PastAttention(cell=LSTM(3, 4), window=0, hidden_size=2), "PastAttention has window=0, it must be a positive"),
        (
            lambda: PastAttention(cell=Dropout(0.1), window=2, hidden_size=2),
            "PastAttention scores vectors, and its cell reads None",
        ),
        (lambda: PastAttention(cell=Dropout(0.1, input_shape=(3,)), window=2, hidden_size=2), "this state has no h"),
        (lambda: unroll(CELL, CELL.init(jax.random.key(0)), np.zeros((2, T), np.int32)), "integer tokens are none: embed them"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message):
        make()
