"""One layer's training step against one size at a time: steps, rows, units."""

import functools

from benchmarks.network import Network
from benchmarks.peers import LayerTask
from benchmarks.pictures import lines
from benchmarks.suites import Case, Selection, compete, narrow

TITLE = "one layer against one size at a time"
SHAPED = False
TABLES = ("time",)
PICTURE = lines

BASE = {"T": 128, "B": 32, "D": 128, "H": 128}
VARIED = {"T": (32, 512, 2048), "B": (1, 8, 128), "H": (32, 512)}


def cases(selection: Selection) -> list[Case]:
    sizes = [("".join(VARIED), BASE)] + [(axis, BASE | {axis: value}) for axis, values in VARIED.items() for value in values]
    selection = narrow(selection)
    selected = []
    for varied, size in sizes:
        for cell in selection.cells:
            for mode in selection.modes:
                task = LayerTask(Network(cell, size["D"], size["H"], dtype=selection.dtype), size["T"], size["B"], mode)
                facts = {"cell": cell, "mode": mode, "varied": varied} | size
                selected.append(Case(facts, functools.partial(compete, task, selection.peers)))
    return selected
