"""One layer's training step against one size at a time: steps, rows, units."""

import functools

from benchmarks.network import Network
from benchmarks.peers import Task
from benchmarks.pictures import lines
from benchmarks.suites import Case, Choice, compete, narrow

TITLE = "one layer against one size at a time"
SHAPED = False
TABLES = ("time",)
PICTURE = lines

BASE = {"T": 128, "B": 32, "D": 128, "H": 128}
VARIED = {"T": (32, 512, 2048), "B": (1, 8, 128), "H": (32, 512)}


def cases(choice: Choice) -> list[Case]:
    sizes = [("".join(VARIED), BASE)] + [(axis, BASE | {axis: value}) for axis, values in VARIED.items() for value in values]
    choice = narrow(choice)
    made = []
    for varied, size in sizes:
        for cell in choice.cells:
            for mode in choice.modes:
                task = Task(Network(cell, size["D"], size["H"], dtype=choice.dtype), size["T"], size["B"], mode)
                facts = {"cell": cell, "mode": mode, "varied": varied} | size
                made.append(Case(facts, functools.partial(compete, task, choice.peers)))
    return made
