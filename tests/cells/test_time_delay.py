"""A feed-forward layer over delay taps, against windows written out."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import TimeDelay, unroll


def test_every_output_reads_the_latest_inputs_only(x64):
    cell = TimeDelay(input_size=2, hidden_size=3, taps=3)
    rng = np.random.default_rng(0)
    params = {"input_kernel": jnp.asarray(rng.normal(size=(2, 9))), "bias": jnp.asarray(rng.normal(size=3))}
    xs = rng.normal(size=(2, 7, 2))
    kernels = np.asarray(params["input_kernel"]).reshape(2, 3, 3)
    padded = np.pad(xs, [(0, 0), (2, 0), (0, 0)])
    expected = np.tanh(sum(padded[:, 2 - k : 9 - k] @ kernels[:, k] for k in range(3)) + np.asarray(params["bias"]))
    _, ys = unroll(cell, params, xs)
    np.testing.assert_allclose(ys, expected, rtol=1e-12)
    reset = jnp.zeros((2, 7), bool).at[:, 4].set(True)
    np.testing.assert_allclose(unroll(cell, params, xs, reset=reset)[1][:, 4:], unroll(cell, params, xs[:, 4:])[1], rtol=1e-12)


def test_one_tap_is_a_dense_layer():
    cell = TimeDelay(input_size=2, hidden_size=3, taps=1)
    params = cell.init(jax.random.key(0))
    xs = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(unroll(cell, params, xs)[1], np.tanh(xs @ np.asarray(params["input_kernel"])), atol=1e-6)
