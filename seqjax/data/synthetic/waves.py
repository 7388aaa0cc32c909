"""Real-valued series to forecast: sums of sines, and the chaotic series of Mackey and Glass."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least
from seqjax.errors import InputError
from seqjax.serial import register


class Forecasting(Task):
    """A task whose target is the next value of the one series that is read."""

    answers = "values"
    features = 1  # pyright: ignore[reportAssignmentType]
    names = ("next",)  # pyright: ignore[reportAssignmentType]

    def _as_batch(self, series: np.ndarray) -> Batch:
        """The batch of series [B, T + 1]."""
        rows, steps = series.shape[0], series.shape[1] - 1
        values = series[..., None]
        return as_batch("features", values[:, :-1], np.full(rows, steps), values[:, 1:], np.ones((rows, steps), np.bool_))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Waves(Forecasting):
    """The next value of a sum of sines of random amplitude, period and phase, with a standard deviation of 1.

        x_t = sum over k of a_k sin(2 pi t / p_k + f_k),    p_k from `shortest` to `longest` steps

    Args:
        steps: T.
        components: the number of sines.
        shortest: the shortest period.
        longest: the longest period.

    Raises:
        InputError: no step, no sine, or periods that are not 2 steps < shortest <= longest.

    Example:
        >>> batch = Waves(steps=5).draw(np.random.default_rng(0), 2)
        >>> bool((batch["features"][:, 1:] == batch["target"][:, :-1]).all())
        True
    """

    steps: int = 100
    components: int = 2
    shortest: float = 8.0
    longest: float = 40.0

    def __post_init__(self):
        check_at_least(self, steps=1, components=1)
        if not 2 < self.shortest <= self.longest < np.inf:
            raise InputError(f"Waves has periods from {self.shortest} to {self.longest}: give 2 < shortest <= longest")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        shape = (rows, 1, self.components)
        periods = np.exp(rng.uniform(np.log(self.shortest), np.log(self.longest), shape))
        amplitudes = rng.uniform(0.5, 1.0, shape)
        amplitudes *= np.sqrt(2 / (amplitudes**2).sum(axis=-1, keepdims=True))
        angles = 2 * np.pi * (np.arange(self.steps + 1)[None, :, None] / periods + rng.random(shape))  # [B, T + 1, K]
        return self._as_batch((amplitudes * np.sin(angles)).sum(axis=-1))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class MackeyGlass(Forecasting):
    """The next value of the series of Mackey and Glass, chaotic from a delay of 17 on, centred at its mean.

        dx/dt = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x(t),    x before the series from (0.5, 1.5)

    It is integrated by Euler's method with ten steps a unit of time; the first 100 units are left out.

    Args:
        steps: T, units of time.
        delay: units of time.

    Raises:
        InputError: a number below 1.

    Example:
        >>> batch = MackeyGlass(steps=50).draw(np.random.default_rng(0), 2)
        >>> batch["features"].shape, bool(np.abs(batch["features"]).max() < 1)
        ((2, 50, 1), True)

    Mackey, Glass 1977.
    """

    steps: int = 200
    delay: int = 17

    def __post_init__(self):
        check_at_least(self, steps=1, delay=1)

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        fine, past = 10, 10 * self.delay  # steps of a unit of time; steps of the delay
        values = np.empty((past + fine * (100 + self.steps) + 1, rows))  # [time, B]
        values[: past + 1] = rng.uniform(0.5, 1.5, rows)
        for t in range(past, len(values) - 1):
            late = values[t - past]
            values[t + 1] = values[t] + (0.2 * late / (1 + late**10) - 0.1 * values[t]) / fine
        return self._as_batch(values[past + 100 * fine :: fine].T - 0.92)
