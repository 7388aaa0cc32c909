"""Tasks with their batches: drawn at random, or from files."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np

from experiments.calls import make
from experiments.command_line import renamed
from experiments.networks import Network, Shape, build_model
from experiments.synthetic.config import REAL, Config, Data
from seqjax.contracts import Model
from seqjax.data.batches import Stream
from seqjax.data.labels import Labels
from seqjax.data.recordings import mnist, piano_rolls
from seqjax.data.series import (
    FollowingStream,
    Series,
    SeriesStream,
    evaluation_series,
    feature_moments,
    following,
    read_forecast,
    split_series,
)
from seqjax.data.synthetic import Task, TaskStream, task_batches, task_record
from seqjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Problem:
    """A task with its batches.

    Args:
        shape: what a network reads and what is asked of it.
        saved: the names of the symbols, if there are any, and of the answers, as a run saves them.
        record: the record of the data, a flat dict.
        stream: training batches.
        valid: the batches of validation.
        tests: those of "test", and of each further task by its text.
    """

    shape: Shape
    saved: Labels | tuple[Labels, ...]
    record: dict
    stream: Stream
    valid: Iterable[dict]
    tests: dict[str, Iterable[dict]]

    def model(self, config: Network) -> Model:
        """The model of a config; refuses one that cannot read a test, such as a window that is too short."""
        model = build_model(config, self.shape)
        params = jax.eval_shape(model.init, jax.random.key(0))
        for batches in self.tests.values():
            jax.eval_shape(model.apply, params, next(iter(batches)))
        return model


def load_problem(config: Config) -> Problem:
    """The task of a config.

    Raises:
        InputError: the task is unknown or refuses its fields, its file is missing or cannot be read, or a further task has other
            symbols or answers.
    """
    data = config.data
    if data.task not in REAL:
        if data.path is not None:
            raise InputError(f"--data.path is given, and {data.task} reads no file, unlike {', '.join(REAL)}: leave it out")
        return _drawn(data, config.seed)
    if data.path is None:
        raise InputError(f"--data.task {data.task} reads a file: give --data.path")
    if data.further:
        raise InputError(f"--data.further {data.further[0]!r}: a task on files has no further ones")
    read = {"series": _forecast, "piano_rolls": _music}.get(data.task, _digits)
    return read(data, config.seed)


def _drawn(data: Data, seed: int) -> Problem:
    task, *further = (make(text, Task, flag="--data.task") for text in (data.task, *data.further))
    for text, other in zip(data.further, further, strict=True):
        if (other.symbols, other.features, other.names) != (task.symbols, task.features, task.names):
            raise InputError(f"--data.further {text!r} has other symbols, features or answers than {data.task}")
    drawn = {"batch_size": data.batch_size, "count": data.evaluated}
    shape = Shape(len(task.symbols) or task.features, bool(task.symbols), task.names, task.answers)
    names = Labels(names=task.names)
    return Problem(
        shape=shape,
        saved=(Labels(names=task.symbols), names) if task.symbols else names,
        record=task_record(task),
        stream=TaskStream(task=task, batch_size=data.batch_size, seed=seed, steps_per_epoch=data.batches),
        valid=task_batches(task, seed=2 * seed, **drawn),
        tests={
            name: task_batches(each, seed=2 * seed + 1, **drawn)
            for name, each in zip(("test", *data.further), (task, *further), strict=True)
        },
    )


def _digits(data: Data, seed: int) -> Problem:
    series = mnist.load(data.path, permuted=data.task == "permuted_mnist")
    splits = split_series(series, shares=(0.9, 0.05, 0.05))
    moments = feature_moments(splits["train"], "features")
    return Problem(
        shape=Shape(1, False, series.classes.names, "labels", moments),
        saved=series.classes,
        record=series.record,
        stream=SeriesStream(series=splits["train"], batch_size=data.batch_size, seed=seed),
        valid=evaluation_series(splits["valid"], batch_size=data.batch_size),
        tests={"test": evaluation_series(splits["test"], batch_size=data.batch_size)},
    )


def _music(data: Data, seed: int) -> Problem:
    series = piano_rolls.load(data.path)
    augment = piano_rolls.Transposed(most=data.transpose) if data.transpose else None
    return _next_steps(split_series(series), data, seed, augment)


def _forecast(data: Data, seed: int) -> Problem:
    with renamed(window="--data.window"):
        return _next_steps(read_forecast(data.path, window=data.window), data, seed)


def _next_steps(splits: dict[str, Series], data: Data, seed: int, augment=None) -> Problem:
    """Prediction of the next step, of flags if the steps are bytes."""
    series = splits["train"]
    stream = SeriesStream(series=series, batch_size=data.batch_size, seed=seed, augment=augment)
    flags = series.read(0)["features"].dtype == np.uint8
    sizes = {"batch_size": data.batch_size, "shapes": stream.shapes}
    valid, test = ([following(b, flags=flags) for b in evaluation_series(splits[name], **sizes)] for name in ("valid", "test"))
    return Problem(
        shape=Shape(series.shapes["features"][0], False, series.classes.names, "flags" if flags else "values"),
        saved=series.classes,
        record=series.record,
        stream=FollowingStream(stream=stream, flags=flags),
        valid=valid,
        tests={"test": test},
    )
