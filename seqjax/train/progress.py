"""Progress: a bar on a terminal, and plain lines at intervals anywhere else."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from seqjax.contracts import Model
from seqjax.train.output import discard, is_terminal, say, visible

WIDE = 70  # columns from which a bar shows more than numbers


class Progress:
    """The progress of training: rate, time left, losses.

    Args:
        steps: length of the whole run.
        every: seconds between two plain lines, if `stream` is not a terminal.
        stream: the text stream to write to; None: standard error. Nothing is shown without one, or once it has gone.
        unit: the unit of the rate, see `Model.unit`.

    Example:
        >>> with Progress(10, stream=sys.stdout, every=0.0, unit="token") as progress:
        ...     progress.update(5, {"loss": 1.25, "tokens_per_second": 1000.0})
        step 5/10  1,000 tokens/s  loss 1.250
    """

    def __init__(self, steps: int, *, every: float = 10.0, stream=None, unit: str = Model.unit):
        self._steps, self._every, self._unit = steps, every, unit
        self._stream = sys.stderr if stream is None else stream
        self._figures: dict[str, float] = {}
        self._shapes: dict[str, set] = {}
        self._start: tuple[int, float] | None = None
        self._next = time.monotonic() + every
        self._bar = _bar(self._stream, steps) if is_terminal(self._stream) else None
        if self._bar is not None:
            self._on_bar(lambda bar: bar.start())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def update(self, step: int, figures: dict[str, float]):
        """Show the step, the rate, the loss and all validation figures; a figure that is missing keeps its last value."""
        now = time.monotonic()
        self._figures |= figures
        self._start = self._start or (step, now)
        if self._bar is not None:
            self._on_bar(lambda bar: (bar.update(bar.task_ids[0], completed=step, figures=self._text()), bar.refresh()))
        elif now >= self._next or step >= self._steps:
            self._next = now + self._every
            text = "  ".join(filter(None, [f"step {step}/{self._steps}", self._text(), self._left(step, now)]))
            say(text, self._stream)

    def compiling(self, program: str, batch: Mapping[str, Any], *, of: int = 0):
        """Print a line if a program gets a batch of new shapes, for which it is compiled before it runs.

        Args:
            program: its name, such as "training".
            batch: arrays by name.
            of: the total number of shapes; 0: not known.

        Example:
            >>> import numpy as np
            >>> progress = Progress(10, stream=sys.stdout)
            >>> for length in (7, 7, 9):
            ...     progress.compiling("training", {"tokens": np.zeros((32, length))}, of=2)
            compiling training, shape 1 of 2: 32 x 7
            compiling training, shape 2 of 2: 32 x 9
        """
        shapes, known = tuple(array.shape for array in batch.values()), self._shapes.setdefault(program, set())
        if shapes in known:
            return
        known.add(shapes)
        number = f", shape {len(known)}" + (f" of {of}" if of >= len(known) else "") if of > 1 or len(known) > 1 else ""
        sizes = dict.fromkeys(" x ".join(map(str, shape)) for shape in shapes if len(shape) > 1)
        self.say(f"compiling {program}{number}: {', '.join(sizes)}")

    def say(self, text: str):
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            say(text, self._stream)
        else:
            self._on_bar(lambda bar: bar.console.print(visible(text), markup=False, highlight=False, soft_wrap=True))

    def show(self, text: str):
        """Print a text on standard output; if the bar is on the same terminal, above the bar and without control characters."""
        if self._bar is not None and is_terminal(sys.stdout):
            self.say(text)
        else:
            say(text, sys.stdout)

    def close(self):
        """Stop updating the bar, which stays visible."""
        if self._bar is not None:
            self._on_bar(lambda bar: bar.stop())

    def _on_bar(self, change: Callable[[Any], object]):
        """Changes the bar; a terminal that has gone is left alone from then on."""
        try:
            change(self._bar)
        except (OSError, ValueError):
            self._bar = None
            discard(self._stream)

    def _text(self) -> str:
        rate = self._figures.get(f"{self._unit}s_per_second")
        parts = [f"{rate:,.0f} {self._unit}s/s"] if rate else []
        for name, value in self._figures.items():
            if name == "loss" or name.startswith("validation_"):
                parts.append(f"{name.replace('_loss', '').replace('_', ' ')} {value:.3f}")
        return "  ".join(parts)

    def _left(self, step: int, now: float) -> str:
        first, start = self._start or (step, now)
        if step == first or step >= self._steps:
            return ""
        seconds = (now - start) / (step - first) * (self._steps - step)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


def _bar(stream, steps: int):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream)
    numbers = (MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    columns = (BarColumn(), *numbers, TimeRemainingColumn()) if console.width >= WIDE else numbers
    # On a terminal, rich puts printed lines above the bar; it must not touch redirected output.
    bar = Progress(*columns, console=console, auto_refresh=False, redirect_stdout=is_terminal(sys.stdout))
    bar.add_task("", total=steps, figures="")
    return bar
