"""Every model with kernels of one dtype and biases of another: nothing is rounded that need not be, or widened to float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.testing.rounding import rounded_parameters
from seqjax.types import is_floating
from tests.catalog import leaving
from tests.models.every_model import FORCED, MODELS, B

SOME = ("language_model_tied", "luong", "pooling_mean", "frames_several")
KERNELS = {"kernels": lambda a: a.ndim >= 2, "biases": lambda a: a.ndim < 2}
PROMPTS = {"tokens": np.zeros((B, 2), np.int32), "tokens_lengths": np.full(B, 2)}


def as_type(values, dtype, which=lambda a: True):
    """The types of arrays, the floating ones among them that are chosen in another dtype."""

    def changed(a):
        return jax.ShapeDtypeStruct(a.shape, dtype if is_floating(a) and which(a) else a.dtype)

    return jax.tree.map(changed, values)


def results(model, params, batch, key):
    """Figures, outputs without attention weights (of the dtype of the embedding), and logits of a first step of decoding."""
    outputs = model.apply(params, batch, key=key)[1]
    figures, logits = model.figures(outputs, batch), None
    if hasattr(model, "attends"):
        memory, state, token = model.start(params, batch if "source" in batch else PROMPTS)
        after, logits = model.step(params, memory, state, token)
        assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
    return figures, outputs._replace(weights=None) if hasattr(outputs, "weights") else outputs, logits


@pytest.mark.parametrize("narrow", KERNELS)
@pytest.mark.parametrize("name", leaving(*SOME, of=MODELS))
def test_no_parameter_is_rounded_to_the_dtype_of_another(name, narrow):
    """Nothing is compiled."""
    model, batch = MODELS[name]
    batch = as_type(batch | (FORCED if "source" in batch else {}), jnp.bfloat16, lambda a: a.ndim == 3)
    params = as_type(jax.eval_shape(model.init, jax.random.key(0)), jnp.bfloat16, KERNELS[narrow])
    dtypes = set()

    def program(params, batch):
        leaves = jax.tree.leaves(results(model, params, batch, jax.random.key(0)))
        dtypes.update(a.dtype for a in leaves if is_floating(a))
        return leaves

    assert rounded_parameters(program, params, batch) == []
    assert dtypes == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", leaving("luong", of=MODELS))
def test_float32_stays_float32_where_float64_is_on(name, x64):
    """Nothing is compiled."""
    model, batch = MODELS[name]
    batch = batch | (FORCED if "source" in batch else {})
    params = as_type(jax.eval_shape(model.init, jax.random.key(0)), jnp.float32)

    def loss(params):
        return results(model, params, batch, jax.random.key(0))[0]["loss"].mean

    assert not re.findall(r"f64\[\d", str(jax.make_jaxpr(jax.grad(loss))(params)))  # arrays; weak scalars may be written so
