"""Layers on layers, and both directions."""

from benchmarks.pictures import bars
from benchmarks.suites import Case, Selection, narrow, networks

TITLE = "stacks and bidirectional layers"
SHAPED = True
TABLES = ("ratio", "first call")
PICTURE = bars

KINDS = {
    "2 layers": {"layers": 2},
    "3 layers": {"layers": 3},
    "bidirectional": {"bidirectional": True},
    "2 bidirectional": {"layers": 2, "bidirectional": True},
}
SHAPES = ((128, 32, 128, 128),)


def cases(selection: Selection) -> list[Case]:
    selection = narrow(selection)
    return [case for kind, fields in KINDS.items() for case in networks(selection, SHAPES, facts={"kind": kind}, **fields)]
