"""The sum of two marked numbers of a long sequence."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least, check_range
from seqjax.serial import register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adding(Task):
    """The adding problem: a step is a number from [0, 1) and a marker, and the last step's target is the sum of the two marked.

    The constant 1 has a mean squared error of 1/6. Networks that see only long sequences may not begin to learn for thousands of
    steps; from sequences of all lengths they learn the sum first, and then to keep it for longer.

    Args:
        steps: T, the most steps, at least 2.
        shortest: the fewest, at least 2.

    Raises:
        InputError: fewer than two steps, or shortest above steps.

    Example:
        >>> batch = Adding(steps=6, shortest=6).draw(np.random.default_rng(0), 1)
        >>> values, marks = batch["features"][0].T
        >>> marks.tolist(), bool(np.isclose((values * marks).sum(), batch["target"][0, -1, 0]))
        ([0.0, 1.0, 0.0, 1.0, 0.0, 0.0], True)

    Hochreiter, Schmidhuber 1997.
    """

    answers = "values"
    features = 2  # pyright: ignore[reportAssignmentType]
    names = ("sum",)  # pyright: ignore[reportAssignmentType]

    steps: int = 600
    shortest: int = 2

    def __post_init__(self):
        check_at_least(self, steps=2, shortest=2)
        check_range(self, "shortest", "steps")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        values = rng.random((rows, self.steps))  # [B, T]
        lengths = rng.integers(self.shortest, self.steps, rows, endpoint=True)  # [B]
        first = rng.integers(0, lengths)  # [B]
        second = (first + rng.integers(1, lengths)) % lengths
        marks = np.zeros((rows, self.steps))
        marks[np.arange(rows), first] = marks[np.arange(rows), second] = 1
        total = np.broadcast_to((values * marks).sum(axis=1)[:, None, None], (rows, self.steps, 1))
        mask = np.arange(self.steps) == lengths[:, None] - 1
        return as_batch("features", np.stack([values, marks], axis=-1), lengths, total, mask)
