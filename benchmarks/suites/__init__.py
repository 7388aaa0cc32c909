"""Suites, one a file: each lists its cases, and builds the competitors of each."""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import peers
from benchmarks.harness import REFERENCE, Missing, Work
from benchmarks.network import Network
from benchmarks.peers import MODES, LayerTask

SUITES = (
    "layer", "lines", "floor", "stacks", "lengths", "unroll", "layouts", "linear", "checks", "backends", "cells",
    "language_model", "decode", "translation", "long",
)  # fmt: skip
# The shapes of a layer, (T, B, D, H): small and large, a language model's, one row, a wide one, a narrow one.
SHAPES = (
    (128, 32, 128, 128),
    (50, 100, 128, 256),
    (256, 16, 256, 256),
    (35, 20, 650, 650),
    (512, 1, 128, 128),
    (100, 64, 64, 512),
    (1000, 8, 32, 64),
)
RESET_BEFORE = f"{REFERENCE}, reset before"

Shape = tuple[int, int, int, int]
Entries = tuple[dict[str, Work], dict[str, str]]  # competitors; peers that are missing, with the reason


class Selection(NamedTuple):
    """The peers, cells, modes, shapes and dtype that the command line selects.

    Args:
        peers: names of peers, without seqjax.
        cells: "lstm", "gru".
        modes: "forward", "training".
        shapes: (T, B, D, H); None: the suite's own.
        dtype: the dtype of weights and data.
    """

    peers: tuple[str, ...]
    cells: tuple[str, ...] = ("lstm", "gru")
    modes: tuple[str, ...] = MODES
    shapes: tuple[Shape, ...] | None = None
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        facts: cell, mode, T, B, D, H ...; they identify the case in the results.
        build: makes the competitors; called just before they are measured.
        tokens: the number of tokens read or written by a call; None: no figure of tokens per second.
    """

    facts: dict[str, Any]
    build: Callable[[], Entries]
    tokens: int | None = None

    def __str__(self):
        sizes = ",".join(str(self.facts[name]) for name in "TBDH" if name in self.facts)
        words = [str(value) for name, value in self.facts.items() if name not in "TBDH"]
        return " ".join([*words, sizes])


def load(name: str):
    """A suite: TITLE, SHAPED (whether it takes shapes), cases(selection), TABLES and PICTURE."""
    return importlib.import_module(f"benchmarks.suites.{name}")


def networks(
    selection: Selection,
    shapes: tuple[Shape, ...] = SHAPES,
    *,
    facts: dict[str, str] | None = None,
    lengths: bool = False,
    build: Callable[[LayerTask, tuple[str, ...]], Entries] | None = None,
    **fields,
) -> list[Case]:
    """A case for each cell, mode and shape.

    Args:
        selection: the user's selection.
        shapes: the suite's shapes, used if the selection has none.
        facts: further facts of these cases, beside cell, mode and sizes.
        lengths: whether rows have lengths of their own.
        build: (task, peers) -> competitors; None: seqjax and every peer on the network.
        **fields: fields of Network, such as layers=2.
    """
    cases = []
    for cell in selection.cells:
        for mode in selection.modes:
            for T, B, D, H in selection.shapes or shapes:
                task = LayerTask(Network(cell, D, H, dtype=selection.dtype, **fields), T, B, mode, lengths)
                about = {"cell": cell, "mode": mode} | (facts or {}) | {"T": T, "B": B, "D": D, "H": H}
                cases.append(Case(about, functools.partial(build or compete, task, selection.peers)))
    return cases


def narrow(selection: Selection) -> Selection:
    """The selection with one cell and one mode, the LSTM's training if possible: for suites whose cases take long."""
    return selection._replace(cells=selection.cells[:1], modes=selection.modes[-1:])


def compete(task: LayerTask, names: tuple[str, ...]) -> Entries:
    """seqjax and its peers on one task. A peer whose GRU is another form is compared with seqjax's of that form."""
    ours: Any = peers.load(REFERENCE)
    works, missing = {REFERENCE: ours.layers(task)}, {}
    for name in names:
        peer = peers.load(name)
        form = peer.gru if task.network.cell == "gru" else task.network.form
        same_form = task._replace(network=dataclasses.replace(task.network, form=form))
        try:
            work = peer.layers(same_form)
        except Missing as reason:
            missing[name] = str(reason)
            continue
        if form == "before":
            if RESET_BEFORE not in works:
                works[RESET_BEFORE] = ours.layers(same_form)
                works[RESET_BEFORE].against = RESET_BEFORE
            work.against, work.note = RESET_BEFORE, "its GRU resets before the product, as seqjax's with reset_after=False"
        elif form == "unbiased":  # seqjax's program is the same one, with a recurrent bias of 0
            work.expected = functools.partial(ours.layers(same_form).run_by, works[REFERENCE])
            work.note = "its GRU has no recurrent bias, seqjax's has one"
        works[name] = work
    return works, missing


def compete_in(contest: str, task, names: tuple[str, ...]) -> Entries:
    """seqjax and its peers on one task of a model, by the peers' method named `contest`."""
    works, missing = {}, {}
    for name in (REFERENCE, *names):
        try:
            works[name] = getattr(peers.load(name), contest)(task)
        except Missing as reason:
            missing[name] = str(reason)
    return works, missing
