"""The cost of the options of seqjax.unroll, and of a plain `jax.lax.scan` over `cell.step`."""

import jax
import jax.numpy as jnp

import seqjax
from benchmarks.harness import REFERENCE, JaxWork
from benchmarks.network import make_weights
from benchmarks.peers import LayerTask, Recurrent, load, work_of
from benchmarks.peers.seqjax import build as build_cell
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection, networks

TITLE = "options of seqjax.unroll"
SHAPED = True
TABLES = ("ratio", "first call")
PICTURE = bars

SHAPES = ((128, 32, 128, 128),)


def cases(selection: Selection) -> list[Case]:
    return networks(selection, SHAPES, build=build)


def build(task: LayerTask, peers: tuple[str, ...]) -> Entries:
    model = load(REFERENCE).recurrent(task.network, make_weights(task.network))
    cell = build_cell(task.network)
    rows, steps = task.rows, task.steps

    def option(*extra, **options) -> JaxWork:
        """unroll with these options; an option given as ... takes the next array of `extra`."""
        names = [name for name, value in options.items() if value is ...]

        def apply(params, xs, *arrays):
            return seqjax.unroll(cell, params, xs, **options | dict(zip(names, arrays, strict=True)))[1]

        return work_of(model._replace(apply=apply), task, extra)

    def scan(params, xs):
        state = cell.initial_state(params, xs.shape[:1])
        ys = jax.lax.scan(lambda state, x: cell.step(params, state, x), state, jnp.swapaxes(xs, 0, 1))[1]
        return jnp.swapaxes(ys, 0, 1).astype(xs.dtype)

    def states(params, xs):
        return seqjax.unroll(cell, params, xs, collect="states")[1]

    def spread(out, cotangent):
        return jax.tree.map(jnp.zeros_like, out)._replace(h=cotangent)

    collected: Recurrent = model._replace(apply=states, pick=lambda out: out.h, spread=spread)
    works = {
        REFERENCE: work_of(model, task),
        "plain lax.scan": work_of(model._replace(apply=scan), task),
        'backend="scan"': option(backend="scan"),
        'backend="fused"': option(backend="fused"),
        'remat="sqrt"': option(remat="sqrt"),
        "lengths": option(jnp.full(rows, steps), lengths=...),
        "reset": option(jnp.zeros((rows, steps), bool), reset=...),
        'collect="states"': work_of(collected, task),
    }
    return works, {}
