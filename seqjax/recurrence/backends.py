"""The backends, and the choice of one for a cell."""

import contextlib
import contextvars
from typing import Literal, NamedTuple

import jax

from seqjax.checks import shown
from seqjax.contracts import Cell
from seqjax.errors import InputError
from seqjax.recurrence import linear, scan
from seqjax.recurrence.call import Call
from seqjax.recurrence.fused import backend as fused
from seqjax.recurrence.gpu import pallas
from seqjax.thresholds import projected_inside, trains_inside

# The fastest first, on CPUs and on an H100. There `pallas` takes 0.06 to 0.51 of the plain scan's time, and in training `fused`
# takes 0.67 to 0.85 in float32 and 0.70 to 0.95 in bfloat16; the GRU's figures are from before its kernels were stored in two.
# Forward, `fused` is the plain scan's program (benchmarks/README.md, "On a GPU").
BACKENDS = {"pallas": pallas, "linear": linear, "fused": fused, "scan": scan}
Backend = Literal["auto", "pallas", "linear", "fused", "scan"]


class Choice(NamedTuple):
    """The backend that runs a cell, the reasons against the others, and the backend's layout where that depends on sizes."""

    cell: Cell
    backend: str
    refused: dict[str, str]
    layout: str = ""

    def __str__(self):
        why = "".join(f"\n  not {name}: {reason}" for name, reason in self.refused.items())
        return f"{self.cell}: {self.backend}{self.layout and ', '}{self.layout}{why}"


_recorder: contextvars.ContextVar[list[Choice] | None] = contextvars.ContextVar("choices", default=None)


@contextlib.contextmanager
def recording():
    """A context that yields a list, to which every choice made inside it is added."""
    choices: list[Choice] = []
    token = _recorder.set(choices)
    try:
        yield choices
    finally:
        _recorder.reset(token)


def check_backend(name: str):
    """Raise InputError unless there is a backend of that name, or the name is "auto"."""
    if not isinstance(name, str) or name not in ("auto", *BACKENDS):
        raise InputError(f"backend={shown(name)} is not known: give one of 'auto', {', '.join(map(repr, BACKENDS))}")


def choose(cell: Cell, call: Call):
    """The module of the requested backend, or of the fastest that can run `cell`.

    Raises:
        InputError: the requested backend cannot run this cell, with its reason.
    """
    refused = {}
    for name, module in BACKENDS.items():
        reason = module.supports(cell, call)
        if reason is None and call.backend in ("auto", name):
            if (choices := _recorder.get()) is not None:
                choices.append(Choice(cell, name, refused, _LAYOUTS.get(name, _no_layout)(cell, call)))
            return module
        if name == call.backend:
            raise InputError(f"backend {name!r} cannot run {cell}: {reason}")
        refused[name] = reason or "not asked for"
    raise AssertionError("scan runs every cell")


def _layout(cell: Cell, call: Call) -> str:
    """The layout of the fused backend's loop, where it depends on sizes."""
    params, xs, _ = call.arguments
    zs = jax.eval_shape(cell.project, params, xs)
    reason = projected_inside(xs, zs) if call.remat is None else None
    where = "" if trains_inside(params, xs, zs) else "where nothing is differentiated "
    return f"{where}each step projects its own input ({reason})" if reason else ""


def _no_layout(cell: Cell, call: Call) -> str:
    return ""


_LAYOUTS = {"linear": linear.layout, "fused": _layout}
