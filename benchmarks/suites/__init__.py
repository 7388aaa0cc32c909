"""What is measured, one file a suite: each names its cases, and who competes in them."""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import peers
from benchmarks.harness import REFERENCE, Missing, Work
from benchmarks.network import Network
from benchmarks.peers import Task

SUITES = ("layer", "lines", "floor", "stacks", "lengths", "unroll", "backends", "language_model", "decode", "translation", "long")
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
Entries = tuple[dict[str, Work], dict[str, str]]  # competitors; who is missing, and why


class Choice(NamedTuple):
    """What the user asked for.

    Args:
        peers: names, seqjax's own not among them.
        cells: "lstm", "gru".
        modes: "forward", "training".
        shapes: (T, B, D, H); None: the suite's own.
        dtype: of weights and data.
    """

    peers: tuple[str, ...]
    cells: tuple[str, ...] = ("lstm", "gru")
    modes: tuple[str, ...] = peers.MODES
    shapes: tuple[Shape, ...] | None = None
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        facts: what distinguishes it: cell, mode, T, B, D, H ...; kept in the results.
        build: makes the competitors; called when their turn comes.
        tokens: read or written in a call, for tokens per second; None: not of interest.
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
    choice: Choice,
    shapes: tuple[Shape, ...] = SHAPES,
    *,
    facts: dict[str, str] | None = None,
    lengths: bool = False,
    build: Callable[[Task, tuple[str, ...]], Entries] | None = None,
    **fields,
) -> list[Case]:
    """A case for each cell, mode and shape.

    Args:
        choice: what the user asked for.
        shapes: where the user named none.
        facts: of these cases, beside cell, mode and sizes.
        lengths: whether rows have lengths of their own.
        build: (task, peers) -> who competes; None: seqjax and every peer on the network.
        **fields: of Network, e.g. layers=2.
    """
    cases = []
    for cell in choice.cells:
        for mode in choice.modes:
            for T, B, D, H in choice.shapes or shapes:
                task = Task(Network(cell, D, H, dtype=choice.dtype, **fields), T, B, mode, lengths)
                about = {"cell": cell, "mode": mode} | (facts or {}) | {"T": T, "B": B, "D": D, "H": H}
                cases.append(Case(about, functools.partial(build or compete, task, choice.peers)))
    return cases


def narrow(choice: Choice) -> Choice:
    """One cell and one mode of those asked for, the LSTM's training first: where each case has much to run."""
    return choice._replace(cells=choice.cells[:1], modes=choice.modes[-1:])


def compete(task: Task, names: tuple[str, ...]) -> Entries:
    """seqjax and its peers on one task. A peer whose GRU is another form is compared with seqjax's of that form."""
    ours = peers.load(REFERENCE)
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
    """seqjax and its peers on one task of a model, by the peers' method of that name."""
    works, missing = {}, {}
    for name in (REFERENCE, *names):
        try:
            works[name] = getattr(peers.load(name), contest)(task)
        except Missing as reason:
            missing[name] = str(reason)
    return works, missing
