"""Kernels and biases of different dtypes: no parameter is rounded to the dtype of another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Elman


@pytest.mark.parametrize("kind", [LSTM, GRU, Elman])
@pytest.mark.parametrize("steps", [1, 2**14])
def test_a_float32_bias_beside_a_bfloat16_kernel_keeps_its_digits(kind, steps):
    cell = kind(input_size=2, hidden_size=8)
    params = jax.tree.map(lambda a: jnp.full(a.shape, 0.2547), jax.eval_shape(cell.init, jax.random.key(0)))
    params["input_kernel"] = params["input_kernel"].astype(jnp.bfloat16)
    for z in jax.tree.leaves(jax.jit(cell.project)(params, jnp.zeros((1, steps, 2)))):
        np.testing.assert_array_equal(z, np.full(z.shape, 0.2547, np.float32))
