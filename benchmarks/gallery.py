"""The page of all cells, docs/cells.md, from their docstrings and the measurements of the suite `cells`."""

import inspect
import re

import jax
import jax.numpy as jnp

import seqjax
from benchmarks import results
from benchmarks.environment import ROOT
from benchmarks.suites import cells as suite
from seqjax import cells, compose
from seqjax.contracts import Cell

PAGE = ROOT / "docs" / "cells.md"
RESULTS = ROOT / "benchmarks" / "results" / "cpu-2-cores"
STEPS, ROWS, SIZE = 128, 32, 128  # T, B, and D = H
FRAMES = cells.ConvLSTM(input_size=8, hidden_size=16, spatial_shape=(16, 16))  # the cell that reads no vectors

HEAD = f"""# Cells

Made by `python -m benchmarks report` from the docstrings and from [the measurements](../benchmarks/README.md). Every cell is a
value that `seqjax.unroll` runs, and obeys every law of `seqjax.testing.check_cell`. Parameters are counted for D = H = {SIZE}.
The backend is the one that `auto` takes on a CPU; NVIDIA GPUs run an LSTM and a GRU by `pallas`. The speed is that of a training
step (outputs and all gradients, T = {STEPS}, B = {ROWS}, D = H = {SIZE}, float32, two CPU cores) beside the LSTM's: above 1 the
cell is faster.

"""

WRAPPERS = """# Around cells

Cells without recurrence, and parts that wrap a cell. `seqjax.attention.WindowAttention` lets a cell attend to its latest
inputs, `PastAttention` to its own latest states, and `seqjax.drop_weights` drops entries of recurrent kernels before `unroll`.
"""


def page() -> str:
    """The whole page."""
    speeds = measured()
    rows = [(name, make(input_size=SIZE, hidden_size=SIZE)) for name, make in suite.CELLS.items()] + [("ConvLSTM", FRAMES)]
    table = ["| | class | parameters | gates | backend | speed |", "|---|---|---|---|---|---|"]
    for name, cell in rows:
        kind = type(cell).__name__
        gates = " ".join(cell.gates) or "-"
        speed = f"{speeds[name]:.2f}" if name in speeds else "-"
        size = seqjax.count_parameters(params_of(cell))
        table.append(f"| {name} | [{kind}](#{kind.lower()}) | {size:,} | {gates} | {backend(cell)} | {speed} |")
    parts = [HEAD + "\n".join(table) + "\n", *map(section, classes()), WRAPPERS, *map(section, exported(compose))]
    return "\n".join(parts)


def classes() -> list[type[Cell]]:
    """The exported cells, in the order of the table, and then by name."""
    kinds: list[type[Cell]] = [type(make(input_size=SIZE, hidden_size=SIZE)) for make in suite.CELLS.values()]
    return list(dict.fromkeys([*kinds, *exported(cells)]))


def exported(module) -> list[type[Cell]]:
    """The cells that a module exports."""
    things = [getattr(module, name) for name in module.__all__]
    return [thing for thing in things if inspect.isclass(thing) and issubclass(thing, Cell)]


def section(kind: type[Cell]) -> str:
    """A class's first line, equations and notes, and its papers."""
    doc = inspect.getdoc(kind) or ""
    body, _, rest = doc.partition("\nArgs:\n")
    source = [part for part in rest.split("\n\n") if part and not part.startswith((" ", ">>>")) and not re.match(r"\w+:\n", part)]
    return "\n\n".join([f"## {kind.__name__}", body.strip(), *map(str.strip, source)]) + "\n"


def params_of(cell: Cell):
    """The shapes and dtypes of a cell's parameters."""
    return jax.eval_shape(cell.init, jax.random.key(0))


def backend(cell: Cell) -> str:
    """The name of the backend that `auto` takes."""
    shape = ROWS, STEPS, *(cell.input_shape or ())
    return seqjax.explain(cell, params_of(cell), jnp.zeros(shape))[0].backend


def measured() -> dict[str, float]:
    """{name of a cell: the LSTM's seconds over the cell's}, as committed."""
    sizes = {"T": STEPS, "B": ROWS, "D": SIZE, "H": SIZE}
    seconds = {
        case["facts"]["cell"]: case["peers"]["seqjax"]["seconds"]["median"]
        for case in results.read(RESULTS)["cells"]["cases"]
        if case["facts"].items() >= sizes.items()
    }
    return {name: seconds["LSTM"] / of_cell for name, of_cell in seconds.items()}
