"""Long sequences: time and memory of a training step with and without recomputation."""

import functools

import seqjax
from benchmarks.harness import REFERENCE
from benchmarks.network import Network, make_weights
from benchmarks.peers import LayerTask, load, work_of
from benchmarks.peers.seqjax import build as build_cell
from benchmarks.pictures import lines
from benchmarks.suites import Case, Entries, Selection, narrow

TITLE = "long sequences: time, and memory beyond inputs, outputs and gradients"
SHAPED = False
TABLES = ("memory",)
PICTURE = functools.partial(
    lines,
    figures={
        "milliseconds": lambda record: record["seconds"]["median"] * 1e3,
        "temporary MB": lambda record: (record["memory"] or 0) / 2**20,
    },
)

STEPS = (256, 1024, 4096, 16384)
ROWS, SIZE = 4, 128


def cases(selection: Selection) -> list[Case]:
    selected = []
    for steps in STEPS:
        for cell in narrow(selection).cells:
            if "training" in selection.modes:
                task = LayerTask(Network(cell, SIZE, SIZE, dtype=selection.dtype), steps, ROWS, "training")
                facts = {"cell": cell, "mode": "training", "T": steps, "B": ROWS, "D": SIZE, "H": SIZE}
                selected.append(Case(facts, functools.partial(build, task, selection.peers)))
    return selected


def build(task: LayerTask, peers: tuple[str, ...]) -> Entries:
    model, cell = load(REFERENCE).recurrent(task.network, make_weights(task.network)), build_cell(task.network)

    def option(**options):
        return work_of(model._replace(apply=lambda params, xs: seqjax.unroll(cell, params, xs, **options)[1]), task)

    works = {REFERENCE: option(), 'remat="sqrt"': option(remat="sqrt"), 'backend="scan"': option(backend="scan")}
    if "linen" in peers:
        works["linen"] = load("linen").layers(task)
    return works, {}
