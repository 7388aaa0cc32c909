"""Long sequences: time and memory of a training step with and without recomputation."""

import functools

import seqjax
from benchmarks.harness import REFERENCE
from benchmarks.network import Network, make_weights
from benchmarks.peers import Task, load, work_of
from benchmarks.peers.seqjax import build as build_cell
from benchmarks.pictures import lines
from benchmarks.suites import Case, Choice, Entries, narrow

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


def cases(choice: Choice) -> list[Case]:
    made = []
    for steps in STEPS:
        for cell in narrow(choice).cells:
            if "training" in choice.modes:
                task = Task(Network(cell, SIZE, SIZE, dtype=choice.dtype), steps, ROWS, "training")
                facts = {"cell": cell, "mode": "training", "T": steps, "B": ROWS, "D": SIZE, "H": SIZE}
                made.append(Case(facts, functools.partial(build, task, choice.peers)))
    return made


def build(task: Task, peers: tuple[str, ...]) -> Entries:
    model, cell = load(REFERENCE).recurrent(task.network, make_weights(task.network)), build_cell(task.network)

    def option(**options):
        return work_of(model._replace(apply=lambda params, xs: seqjax.unroll(cell, params, xs, **options)[1]), task)

    works = {REFERENCE: option(), 'remat="sqrt"': option(remat="sqrt"), 'backend="scan"': option(backend="scan")}
    if "linen" in peers:
        works["linen"] = load("linen").layers(task)
    return works, {}
