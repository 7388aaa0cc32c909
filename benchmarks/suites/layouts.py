"""The layouts that "auto" chooses from, forward and in training: a wrong choice is a ratio below 1.

The shapes are those where a choice changes: few rows and many steps, many rows and few steps, large and small kernels.
"""

import contextlib
from unittest import mock

import seqjax
from benchmarks.harness import REFERENCE, JaxWork, Work
from benchmarks.network import make_weights
from benchmarks.peers import LayerTask, work_of
from benchmarks.peers.seqjax import PEER
from benchmarks.peers.seqjax import build as build_cell
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection, networks
from seqjax import products, thresholds
from seqjax.recurrence.backends import Backend
from seqjax.recurrence.fused import backend as fused

TITLE = "layouts of one layer"
SHAPED = True
TABLES = ("ratio",)
PICTURE = bars

# By rows: 1, 2, 4, 8, 16, 32, 64, 128, 256.
SHAPES = (
    (64, 1, 512, 512),
    (2000, 1, 128, 256),
    (2000, 2, 128, 256),
    (1500, 4, 128, 256),
    (800, 8, 128, 256),
    (400, 8, 200, 320),
    (4000, 8, 128, 256),
    (400, 16, 128, 256),
    (1000, 16, 128, 256),
    (300, 32, 128, 256),
    (200, 64, 128, 256),
    (100, 64, 512, 512),
    (50, 128, 128, 256),
    (60, 256, 128, 256),
)


def cases(selection: Selection) -> list[Case]:
    return networks(selection, SHAPES, build=build)


def build(task: LayerTask, peers: tuple[str, ...]) -> Entries:
    model = PEER.recurrent(task.network, make_weights(task.network))
    cell = build_cell(task.network)

    def forced(backend: Backend = "auto", *, inside=None, transposed=None) -> JaxWork:
        """One layer with a backend, x W inside the loop or before it, and R transposed before the backward loop or not."""

        def apply(params, xs):
            with contextlib.ExitStack() as changes:
                if inside is not None:
                    row = thresholds.Row(thresholds.INSIDE[0].device, rows=0, zs=0, kernel=float("inf"))
                    changes.enter_context(mock.patch.object(thresholds, "INSIDE", (row,) if inside else ()))
                    changes.enter_context(mock.patch.object(fused, "trains_inside", lambda params, xs, zs: inside))
                if transposed is not None:
                    changes.enter_context(mock.patch.object(products, "transposes_kernel", lambda rows, kernel: transposed))
                return seqjax.unroll(cell, params, xs, backend=backend)[1]

        return work_of(model._replace(apply=apply), task)

    works: dict[str, Work] = {REFERENCE: work_of(model, task), 'backend="scan"': forced("scan")}
    works |= {"x W before the loop": forced(inside=False), "x W inside the loop": forced(inside=True)}
    if task.mode == "training":
        works |= {"R as it is": forced(transposed=False), "R transposed": forced(transposed=True)}
    return works, {}
