"""Every model over several devices: losses and gradients over explicit mesh axes, and inside `jax.shard_map`."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.catalog import leaving
from tests.models.every_model import FORCED, MODELS

ROWS, EVERYWHERE = PartitionSpec("data"), PartitionSpec()
SOME = ("language_model_tied", "hard", "pooling_mean", "multi_lstm")


def placed(mesh, values, spec):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, spec)), values)


@pytest.mark.parametrize("name", leaving(*SOME, of=MODELS))
def test_the_types_of_losses_and_gradients_over_devices(name):
    """Nothing is compiled: arrays' types show whether JAX can place every operation."""
    model, batch = MODELS[name]
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    params = placed(mesh, jax.eval_shape(model.init, jax.random.key(0)), EVERYWHERE)
    batch = placed(mesh, batch | (FORCED if "source" in batch else {}), ROWS)

    def loss(params, batch, *, key, axis=None):
        loss = model.figures(model.apply(params, batch, key=key)[1], batch)["loss"]
        return (loss if axis is None else jax.lax.psum(loss, axis)).mean

    for key in (None, jax.random.key(0)):
        explicit = functools.partial(loss, key=key)
        inside = jax.shard_map(
            functools.partial(loss, key=key, axis="data"), mesh=mesh, in_specs=(EVERYWHERE, ROWS), out_specs=EVERYWHERE
        )
        for one_loss in (explicit, inside):
            gradients = jax.eval_shape(jax.grad(one_loss), params, batch)
            assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, params)
