"""Searches over rows that are split over explicit mesh axes."""

import os

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from seqjax import GRU, decode
from seqjax.models.language_model import LanguageModel

model = LanguageModel(vocabulary_size=7, cell=GRU(input_size=4, hidden_size=5), embedding_size=4)
params = model.init(jax.random.key(0))
prompts = {"tokens": jnp.arange(8)[:, None] % 7, "tokens_lengths": jnp.ones(8, jnp.int32)}
every, key = {"max_length": 5, "end": 0}, jax.random.key(1)
searches = [
    lambda params, prompts: decode.greedy(model, params, prompts, **every),
    lambda params, prompts: decode.beam(model, params, prompts, width=3, n_best=2, **every),
    lambda params, prompts: decode.sample(model, params, prompts, key=key, samples=2, **every),
    lambda params, prompts: decode.score(model, params, prompts, jnp.ones((8, 3), jnp.int32), jnp.full(8, 3)),
    lambda params, prompts: [np.stack([*decode.stream(model, params, prompts, key=key, max_length=5)], 1)],
]
mesh = jax.make_mesh((4,), ("data",))
everywhere, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
for search in searches:
    expected, actual = search(params, prompts), search(jax.device_put(params, everywhere), jax.device_put(prompts, split))
    for leaf, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-5)
        assert isinstance(leaf, np.ndarray) or jax.typeof(leaf).sharding.spec[0] == "data"
"""


@pytest.mark.slow
def test_searches_over_split_rows_give_what_they_give_on_one_device(as_user):
    devices = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = as_user("-c", PROGRAM, env=os.environ | devices | {"PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr
