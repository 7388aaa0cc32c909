"""Fibonacci's recurrence from any two numbers."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least, check_range
from seqjax.serial import register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fibonacci(Task):
    """The next number of a sequence in which each is the sum of the two before it: a linear recurrence.

        x_{t+1} = x_t + x_{t-1},    x_1, x_2 in (0, 1), all divided by the last

    In long sequences nearly every number is 1.618 times the one before; short ones show the law.

    Args:
        steps: T, the most steps, at least 2; the first has no target.
        shortest: the fewest steps, at least 2.

    Raises:
        InputError: fewer than two steps, or shortest above steps.

    Example:
        >>> batch = Fibonacci(steps=4, shortest=4).draw(np.random.default_rng(0), 1)
        >>> x, following = batch["features"][0, :, 0], batch["target"][0, :, 0]
        >>> bool(np.allclose(following[1:], x[1:] + x[:-1])), float(following[-1])
        (True, 1.0)
    """

    answers = "values"
    features = 1  # pyright: ignore[reportAssignmentType]
    names = ("next",)  # pyright: ignore[reportAssignmentType]

    steps: int = 10
    shortest: int = 2

    def __post_init__(self):
        check_at_least(self, steps=2, shortest=2)
        check_range(self, "shortest", "steps")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        numbers = np.empty((rows, self.steps + 1))  # [B, T + 1]
        numbers[:, :2] = rng.random((rows, 2))
        for t in range(2, self.steps + 1):
            numbers[:, t] = numbers[:, t - 1] + numbers[:, t - 2]
        lengths = rng.integers(self.shortest, self.steps, rows, endpoint=True)  # [B]
        numbers = (numbers / np.take_along_axis(numbers, lengths[:, None], axis=1))[..., None]
        mask = np.broadcast_to(np.arange(self.steps) > 0, (rows, self.steps))
        return as_batch("features", numbers[:, :-1], lengths, numbers[:, 1:], mask)
