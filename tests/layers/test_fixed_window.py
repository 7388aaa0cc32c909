"""A feed-forward network over all positions at once."""

import jax
import numpy as np
import pytest

from seqjax import InputError, unroll
from seqjax.layers import FixedWindow


def test_equals_two_dense_layers_over_the_padded_sequence():
    layer = FixedWindow(input_size=2, hidden_size=3, length=5)
    params = jax.device_get(layer.init(jax.random.key(0)))
    xs, lengths = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32), np.array([4, 2], np.int32)
    ys = unroll(layer, params, xs, lengths=lengths)[1]
    flat = np.zeros((2, 5, 2), np.float32)
    flat[0, :4], flat[1, :2] = xs[0], xs[1, :2]
    hidden = np.maximum(flat.reshape(2, 10) @ params["0"]["kernel"] + params["0"]["bias"], 0)
    expected = np.maximum(hidden @ params["1"]["kernel"] + params["1"]["bias"], 0).reshape(2, 5, 3)[:, :4]
    expected[1, 2:] = 0
    np.testing.assert_allclose(ys, expected, atol=1e-6)
    with pytest.raises(InputError, match="FixedWindow reads 3 steps and has no weights for the others: xs has 4"):
        short = FixedWindow(input_size=2, hidden_size=3, length=3)
        unroll(short, short.init(jax.random.key(0)), xs)
