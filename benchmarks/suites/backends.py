"""Every backend of seqjax.unroll beside the plain scan and PyTorch, on GPUs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

import seqjax
from benchmarks.harness import Missing
from benchmarks.network import GATES, Network, make_weights
from benchmarks.peers import LayerTask, load, work_of
from benchmarks.peers.seqjax import build as build_cell
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection
from seqjax.errors import InputError
from seqjax.recurrence.backends import BACKENDS

TITLE = "backends of seqjax.unroll"
SHAPED = True
TABLES = ("time",)
PICTURE = functools.partial(bars, measure="time relative to the plain scan's, below 1 is faster; whiskers: quartiles")

PLAIN = 'backend="scan"'
# (T, B, D, H): FlashRNN's (arXiv:2412.07752), with one head and with 12, and three others
SHAPES = ((1024, 16, 768, 768), (128, 32, 128, 128), (35, 20, 650, 650), (1000, 8, 32, 64))
HEADS = (12, 1)


def cases(selection: Selection) -> list[Case]:
    if jax.default_backend() == "cpu" and not selection.shapes:
        return []  # the suites `unroll` and `layer` compare the backends of CPUs
    selected = []
    for T, B, D, H in selection.shapes or SHAPES:
        for heads in [n for n in HEADS if n == 1 or (H % n == 0 and H // n > 1)]:
            for cell in [name for name in GATES if name in selection.cells]:
                for mode in selection.modes:
                    task = LayerTask(Network(cell, D, H, heads=heads, dtype=selection.dtype), T, B, mode)
                    facts = {"cell": cell, "mode": mode, "T": T, "B": B, "D": D, "H": H, "heads": heads}
                    selected.append(Case(facts, functools.partial(build, task, selection.peers)))
    return selected


def build(task: LayerTask, names: tuple[str, ...]) -> Entries:
    model = load("seqjax").recurrent(task.network, make_weights(task.network))
    cell = build_cell(task.network)
    forms = jax.ShapeDtypeStruct((task.rows, task.steps, task.network.input_size), task.network.dtype)
    works, missing = {}, {}
    for backend in ("scan", *(name for name in BACKENDS if name != "scan")):

        def apply(params, xs, backend=backend):
            return seqjax.unroll(cell, params, xs, backend=backend)[1]

        name = f'backend="{backend}"'
        try:
            jax.eval_shape(apply, jax.tree.map(lambda a: jnp.asarray(a, task.network.dtype), model.weights), forms)
        except InputError as reason:
            missing[name] = str(reason)
            continue
        works[name] = dataclasses.replace(work_of(model._replace(apply=apply), task), against=PLAIN)
    if "torch" in names:
        try:
            works["torch"] = load("torch").layers(task)
            works["torch"].against = PLAIN
        except Missing as reason:
            missing["torch"] = str(reason)
    return works, missing
