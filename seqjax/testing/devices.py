"""The law of several devices, checked on the types of arrays: nothing is compiled, and one device is enough."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from seqjax.contracts import Cell
from seqjax.testing.comparison import floating_leaves, require
from seqjax.types import is_floating


def law_devices(case):
    """Rows over explicit mesh axes or inside `jax.shard_map`: results keep their rows there. Nothing is compiled."""
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    rows, everywhere = PartitionSpec("data"), PartitionSpec()

    def placed(values, spec):
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, spec)), values)

    options = {"lengths": jax.ShapeDtypeStruct((case.rows,), jnp.int32)}
    if isinstance(case.cell, Cell):
        options["reset"] = jax.ShapeDtypeStruct(case.xs.shape[:2], jnp.bool_)
    arguments = placed(case.params, everywhere), *placed((case.xs, case.state, case.context, options), rows)

    def explicit(params, xs, state, context, options):
        results = [case.unroll(params, xs, state, context, **options)]
        if isinstance(case.cell, Cell):
            results.append(case.cell.step(params, state, xs[:, 0], context))
        return results

    for path, a in jax.tree.leaves_with_path(jax.eval_shape(explicit, *arguments)):
        spec = a.sharding.spec
        require(spec[:1] == ("data",), "explicit axes", f"{jax.tree_util.keystr(path)} has {spec}, xs has {rows}")

    def loss(params, xs, state, context, options):
        results = [case.unroll(params, xs, None, context, **options)]
        results.append(case.unroll(params, xs, state, context, key=jax.random.key(0), remat=2))
        return jax.lax.psum(sum(a.astype(jnp.float32).sum() for a in floating_leaves(results)), "data")

    inside = jax.shard_map(loss, mesh=mesh, in_specs=(everywhere, rows, rows, rows, rows), out_specs=everywhere)
    active = tuple(i for i, a in enumerate(arguments[:2]) if all(is_floating(leaf) for leaf in jax.tree.leaves(a)))
    jax.eval_shape(jax.grad(inside, active), *arguments)
