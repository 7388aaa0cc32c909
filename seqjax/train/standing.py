"""The best evaluation of a run, and the patience left."""

import math
from typing import Any, Literal


class Standing:
    """The best evaluation so far, and the number of evaluations since the last improvement.

    Args:
        monitor: the name of the figure that is judged.
        best: "lowest" or "highest", its better value.
        saved: `state` of an earlier one, to go on from; None: nothing was evaluated yet.
        prefix: prefix of the names of the figure and of the loss, "averaged_" for averaged weights.

    Example:
        >>> standing = Standing("loss", "lowest")
        >>> [standing.judge(step, {"loss": loss}) for step, loss in ((5, 2.0), (10, 1.0), (15, 3.0))]
        [True, True, False]
        >>> standing.figures, standing.step, standing.since
        ({'best': 1.0}, 10, 1)
    """

    def __init__(
        self, monitor: str, best: Literal["lowest", "highest"], saved: dict[str, Any] | None = None, *, prefix: str = ""
    ):
        self.monitor, self._loss, self._sign = prefix + monitor, f"{prefix}loss", 1 if best == "lowest" else -1
        self.latest = math.nan  # the figure of the last evaluation, where lower is better
        saved = saved or {}
        self.since: int = saved.get("since", 0)
        self.step: int | None = saved.get("step")  # that of the best evaluation
        self._best: dict[str, float] = saved.get("best") or {}  # its figures

    @property
    def state(self) -> dict[str, Any]:
        """The whole standing, serialisable as JSON."""
        return {"since": self.since, "step": self.step, "best": self._best}

    @property
    def figures(self) -> dict[str, float]:
        """{"best": the best value}; {} before the first evaluation."""
        return {"best": self._best[self.monitor]} if self.monitor in self._best else {}

    def reaches(self, figures: dict[str, float], others: dict[str, float]) -> bool:
        """True if an evaluation is at least as good as another one: by the monitored figure, then by the loss."""
        rank, other = self._rank(figures), self._rank(others)
        return rank is not None and (other is None or rank <= other)

    def judge(self, step: int, figures: dict[str, float]) -> bool:
        """True if an evaluation is the best so far; of equal ones the latest, which does not count as an improvement."""
        value = figures.get(self.monitor)
        self.since, self.latest = self.since + 1, math.nan if value is None else self._sign * value
        if not self.reaches(figures, self._best):
            return False
        if self._rank(figures) != self._rank(self._best):
            self.since = 0
        self.step = step
        self._best = {name: figures[name] for name in dict.fromkeys((self.monitor, self._loss)) if _is_finite(figures.get(name))}
        return True

    def _rank(self, figures: dict[str, float]) -> tuple[float, float] | None:
        """The place of an evaluation, the lower the better; None if it has none."""
        value, loss = figures.get(self.monitor), figures.get(self._loss)
        if value is None or not math.isfinite(value):
            return None
        return self._sign * value, loss if loss is not None and math.isfinite(loss) else math.inf


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
