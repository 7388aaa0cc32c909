"""Searches over rows that are split over explicit mesh axes, and inside `jax.shard_map`."""

import os

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seqjax import GRU, decode
from seqjax.models import LanguageModel

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
    if search is searches[0] or search is searches[1]:  # draws hang on a row's place in the batch
        specs = {"in_specs": (PartitionSpec(), PartitionSpec("data")), "out_specs": PartitionSpec("data")}
        inside = jax.shard_map(search, mesh=mesh, **specs)(jax.device_put(params, everywhere), jax.device_put(prompts, split))
        for leaf, other in zip(inside, expected, strict=True):
            np.testing.assert_allclose(leaf, other, rtol=1e-5)
"""


@pytest.mark.slow
def test_searches_over_split_rows_give_what_they_give_on_one_device(as_user):
    devices = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = as_user("-c", PROGRAM, env=os.environ | devices | {"PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr


def test_searches_run_inside_shard_map_with_its_default_checks():
    """Nothing is compiled: the types of a loop's arrays show whether they vary over the devices alike."""
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    rows, everywhere = PartitionSpec("data"), PartitionSpec()
    model = LanguageModel(vocabulary_size=7, cell=GRU(input_size=4, hidden_size=5), embedding_size=4)
    params = jax.eval_shape(model.init, jax.random.key(0))
    every, key = {"max_length": 5, "end": 0}, jax.random.key(1)

    def searches(params, prompts):
        return [
            decode.greedy(model, params, prompts, max_lengths=prompts["tokens"][:, 0] + 3, **every),
            decode.beam(model, params, prompts, width=4, n_best=2, demanded=[[3, 4]], no_repeat_ngram=2, **every),
            decode.sample(model, params, prompts, key=key, samples=2, **every),
            decode.stochastic_beam(model, params, prompts, key=key, width=2, **every),
            model.start(params, {name: jnp.repeat(a, 5000, 1) if a.ndim == 2 else a for name, a in prompts.items()})[1],
            decode.score(model, params, prompts, jnp.ones((8, 3), jnp.int32), jnp.full(8, 3)),
        ]

    inside = jax.shard_map(searches, mesh=mesh, in_specs=(everywhere, rows), out_specs=rows)
    prompts = {"tokens": jnp.zeros((8, 1), jnp.int32), "tokens_lengths": jnp.ones(8, jnp.int32)}
    prompts = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, rows)), prompts)
    greedy, beam, *_ = jax.eval_shape(inside, params, prompts)
    assert greedy.tokens.shape == (8, 5) and beam.tokens.shape == (8, 2, 5)
