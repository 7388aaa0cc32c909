"""Cells whose state is linear in itself: the methods of `seqjax.linear_scan`, and the plain scan, against the number of steps."""

import contextlib
import functools
from unittest import mock

import jax
import numpy as np

import seqjax
from benchmarks.harness import REFERENCE, Work
from benchmarks.network import Network
from benchmarks.peers import LayerTask, Recurrent, work_of
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection
from seqjax.recurrence import linear, linear_scans
from seqjax.recurrence.backends import Backend

TITLE = "linear recurrences"
SHAPED = True
TABLES = ("ratio", "memory")
PICTURE = bars

SHAPES = ((128, 32, 64, 64), (1024, 4, 64, 64), (4096, 1, 64, 64))
CELLS = {"SRU": seqjax.SRU, "LRU": seqjax.LRU} | {
    f"S4D, {modes} modes": functools.partial(seqjax.S4D, state_size=modes) for modes in (8, 64)
}


def cases(selection: Selection) -> list[Case]:
    selected = []
    for name, cell in CELLS.items():
        for mode in selection.modes:
            for T, B, D, H in selection.shapes or SHAPES:
                task = LayerTask(Network("gru", D, H, dtype=selection.dtype), T, B, mode)
                facts = {"cell": name, "mode": mode, "T": T, "B": B, "D": D, "H": H}
                selected.append(Case(facts, functools.partial(build, cell(input_size=D, hidden_size=H), task)))
    return selected


def build(cell, task: LayerTask) -> Entries:
    """One layer as `auto` runs it, by each other method of the scan, and by the plain scan over steps."""
    weights = jax.tree.map(np.asarray, cell.init(jax.random.key(0)))

    def run_by(backend: Backend, method: str | None = None) -> Work:
        def apply(params, xs):
            with contextlib.ExitStack() as changes:
                if method is not None:
                    changes.enter_context(mock.patch.object(linear_scans, "scan_method", lambda steps: method))
                    changes.enter_context(mock.patch.object(linear, "convolves_in_blocks", lambda rows, steps: False))
                return seqjax.unroll(cell, params, xs, backend=backend)[1]

        return work_of(Recurrent(weights, apply, lambda params: ((params,),), time_major=False), task)

    works = {REFERENCE: run_by("auto"), 'backend="scan"': run_by("scan")}
    return works | {method: run_by("linear", method) for method in linear_scans.METHODS}, {}
