"""Tasks: generators of sequences with targets, and the batches drawn from them."""

import abc
import dataclasses
import hashlib
import json
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from seqjax.annotations import public
from seqjax.checks import shown
from seqjax.data.batches import Batch, Stream, as_position
from seqjax.errors import InputError
from seqjax.serial import to_json
from seqjax.values import Value

Answers = Literal["classes", "flags", "values"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Value, abc.ABC):
    """A generator of sequences with a target at some of their steps.

    Args:
        fields: each task declares its own, keyword-only.

    Example:
        >>> from seqjax.data.synthetic import Copy
        >>> task = Copy(delay=3, length=2, alphabet=2)
        >>> batch = task.draw(np.random.default_rng(0), 1)
        >>> task.symbols, batch["tokens"].tolist(), batch["target"].tolist()
        (('1', '2', '-', '?'), [[1, 1, 2, 2, 3, 2, 2]], [[2, 2, 2, 2, 2, 1, 1]])
    """

    answers: ClassVar[Answers] = "classes"  # a target is one class, a flag for each name, or a number for each name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbols that are read; () where feature vectors are read."""
        return ()

    @property
    def features(self) -> int:
        """The number of features of a step; 0 where symbols are read."""
        return 0

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the classes, flags or values of a target."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        """Sequences at random.

        Args:
            rng: the source of every draw.
            rows: B.

        Returns:
            `tokens` int32 [B, T] or `features` float32 [B, T, D], with `<name>_lengths` int32 [B]; `target`, classes int32
            [B, T], flags bool [B, T, C] or values float32 [B, T, C]; `target_mask` bool [B, T], True where there is a target.
        """


def as_batch(word: str, steps: np.ndarray, lengths: np.ndarray, target: np.ndarray, mask: np.ndarray) -> Batch:
    """A batch with the dtypes of `Task.draw`; steps and targets past a length become 0.

    Args:
        word: "tokens" or "features".
        steps: [B, T] or [B, T, D].
        lengths: [B].
        target: [B, T] or [B, T, C].
        mask: [B, T], True where there is a target.
    """
    real = np.arange(steps.shape[1]) < lengths[:, None]  # [B, T]
    spread = lambda where, values: where.reshape(*where.shape, *[1] * (values.ndim - 2))  # noqa: E731
    mask = mask & real
    return {
        word: np.where(spread(real, steps), steps, 0).astype(np.int32 if word == "tokens" else np.float32),
        f"{word}_lengths": lengths.astype(np.int32),
        "target": np.where(spread(mask, target), target, 0).astype(_DTYPES[target.dtype.kind]),
        "target_mask": mask,
    }


_DTYPES = {"b": np.bool_, "i": np.int32, "f": np.float32}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaskStream(Value, Stream):
    """An endless stream of training batches drawn from a task; batch i depends on the seed and i alone.

    Args:
        task: the generator.
        batch_size: B.
        seed: at least 0.
        steps_per_epoch: the number of batches that counts as an epoch.

    Raises:
        InputError: a size is below 1, the seed is negative, or the task is not one.

    Example:
        >>> from seqjax.data.synthetic import Adding
        >>> stream = TaskStream(task=Adding(steps=5), batch_size=2, seed=0)
        >>> stream.batch(0)["features"].shape
        (2, 5, 2)
    """

    task: Task
    batch_size: int
    seed: int
    steps_per_epoch: int = 100  # pyright: ignore[reportIncompatibleMethodOverride]

    def __post_init__(self):
        check_task(self.task)
        if min(self.batch_size, self.steps_per_epoch) < 1 or self.seed < 0:
            sizes = f"batch size {self.batch_size}, steps per epoch {self.steps_per_epoch}, seed {self.seed}"
            raise InputError(f"{sizes}: the first two must be at least 1, the seed at least 0")

    @property
    def threads(self) -> int:
        return 1

    @cached_property
    def identity(self) -> dict:
        return {"task": to_json(self.task), "batch_size": self.batch_size, "seed": self.seed}

    def batch(self, index: int) -> Batch:
        return self.task.draw(np.random.default_rng((self.seed, 0, as_position(index))), self.batch_size)


@public
def task_batches(task: Task, *, batch_size: int, count: int, seed: int) -> list[Batch]:
    """Batches for evaluation, drawn apart from those of every `TaskStream`.

    Args:
        task: the generator.
        batch_size: B.
        count: the number of batches.
        seed: at least 0; other seeds give other batches.

    Returns:
        Batches, dicts of arrays [B, ...].

    Raises:
        InputError: a size is below 1, the seed is negative, or the task is not one.

    Example:
        >>> from seqjax.data.synthetic import Adding
        >>> [batch["target"].shape for batch in task_batches(Adding(steps=5), batch_size=2, count=2, seed=0)]
        [(2, 5, 1), (2, 5, 1)]
    """
    check_task(task)
    if min(batch_size, count) < 1 or seed < 0:
        raise InputError(f"{count} batches of {batch_size}, seed {seed}: both numbers must be at least 1, the seed at least 0")
    return [task.draw(np.random.default_rng((seed, 1, index)), batch_size) for index in range(count)]


def task_record(task: Task) -> dict:
    """The record of a task's data for a run's results: its source, and a hash of its definition."""
    definition = json.dumps(to_json(task), sort_keys=True)
    return {"source": repr(task), "sha256": hashlib.sha256(definition.encode()).hexdigest()}


def check_task(task):
    """Raise InputError unless a value is a task."""
    if not isinstance(task, Task):
        raise InputError(f"task is {shown(task)}, it must be a Task such as Adding(steps=100)")


def check_at_least(task: Task, **least: int):
    """Raise InputError unless the named fields of a task have at least the given values."""
    for name, lowest in least.items():
        value = getattr(task, name)
        if value < lowest:
            raise InputError(f"{type(task).__name__} has {name}={value}, it must be at least {lowest}")


def check_range(task: Task, shortest: str, longest: str):
    """Raise InputError if the field `shortest` of a task is above its field `longest`."""
    low, high = getattr(task, shortest), getattr(task, longest)
    if low > high:
        raise InputError(f"{type(task).__name__} has {shortest}={low} above {longest}={high}: exchange them")
