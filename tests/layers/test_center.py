"""Centring against NumPy, row by row: padding counts for nothing."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import Center, InputError, unroll


@pytest.mark.parametrize("reverse", [False, True])
def test_the_mean_of_the_real_steps_is_subtracted(reverse):
    xs = np.random.default_rng(0).normal(3, 2, (3, 5, 2)).astype(np.float32)
    lengths = np.array([5, 2, 0])
    padded = np.where(np.arange(5)[None, :, None] < lengths[:, None, None], xs, np.nan)
    ys = unroll(Center(input_size=2), {}, jnp.asarray(padded), lengths=jnp.asarray(lengths), reverse=reverse)[1]
    for row, length in enumerate(lengths):
        mean = xs[row, :length].astype(np.float64).mean(axis=0) if length else 0
        np.testing.assert_allclose(ys[row, :length], xs[row, :length] - mean, atol=1e-5)
        assert not np.asarray(ys[row, length:]).any()


def test_centring_is_refused():
    with pytest.raises(InputError, match="input_size"):
        Center(input_size=0)
