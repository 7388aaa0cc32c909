"""The config of a network on a small task, and the presets. Every field is a flag: --model.cell GRU."""

import dataclasses
from typing import Any, ClassVar, Literal

from experiments.command_line import Program
from experiments.limits import FilePath, Natural, Size
from experiments.networks import Network
from experiments.session import CHANGEABLE, Training
from seqjax.train import LoopConfig, OptimizerConfig

REAL = ("piano_rolls", "series", "mnist", "permuted_mnist")  # tasks on files


@dataclasses.dataclass(frozen=True)
class Data:
    """The task and its batches."""

    SOURCES: ClassVar = ("task",)  # says, with `path`, where the data come from
    PATHS: ClassVar = ("path",)  # fields that name files or folders
    OF_TRAINING: ClassVar = ("batches", "transpose")  # fields that evaluation has no use for

    task: str = "BinaryAddition"  # a task and its fields, such as 'Copy(delay=200)'; or piano_rolls, series, (permuted_)mnist
    further: tuple[str, ...] = ()  # tasks on which the network is also tested, such as longer sequences
    path: FilePath | None = None  # for piano_rolls a .mat, for series a table or .npy of numbers, for mnist its folder
    window: Size = 100  # for series: steps of a training sequence
    transpose: Natural = 0  # for piano_rolls: the most semitones by which a training piece is moved
    batch_size: Size = 32
    batches: Size = 100  # of an epoch of a generated task
    evaluated: Size = 20  # batches of validation, and of each test, of a generated task


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """A network on a task."""

    data: Data = Data()
    model: Network = dataclasses.field(default_factory=Network)
    monitor: Literal["loss", "accuracy"] = "loss"
    cells: tuple[str, ...] = dataclasses.field(default=(), metadata=CHANGEABLE)  # for compare: train each, by the same settings


def _preset(task: str, cell: str, size: int, epochs: int, lr: float, *, monitor: Any = "loss", **rest):
    """A preset; `rest` are further fields of Data and of Network."""
    data = {field.name: rest.pop(field.name) for field in dataclasses.fields(Data) if field.name in rest}
    return Config(
        data=Data(task=task, **data),
        model=Network(cell=cell, hidden_size=size, **rest),
        optimizer=OptimizerConfig(learning_rate=lr, clip_norm=1.0, schedule="cosine"),
        loop=LoopConfig(epochs=epochs),
        monitor=monitor,
    )


LONGER = ("BinaryAddition(bits=20, shortest=20)", "BinaryAddition(bits=200, shortest=200)")
LINEAR = "Elman(activation='linear')"
TUNE = "Highway(S4D(state_size=32))"
DIGIT = "Residual(Stack((LayerNorm, S4D(state_size=16), Highway(Dense(output_size=64), transform_bias=0.0))))"
PRESETS = {
    # Seconds: the next letter of hello, by three hidden units.
    "tiny": _preset("Spelling(word='hello')", "Elman", 3, 8, 3e-2, batch_size=1, batches=50, evaluated=1),
    # Hinton's network of three hidden units, whose connections take a step each.
    "addition": _preset("BinaryAddition(bits=8, shortest=8)", "Elman", 3, 40, 3e-2, delay=2, further=LONGER),
    "year": _preset("YearExtraction", "GRU", 64, 20, 3e-3, further=("YearExtraction(positions=(3, 4, 5, 7, 8))",)),
    "agreement": _preset(
        "Agreement(longest=30)", "LSTM", 64, 20, 3e-3, encoded_size=32, further=("Agreement(shortest=100, longest=100)",)
    ),
    "fibonacci": _preset("Fibonacci(steps=10)", LINEAR, 2, 60, 1e-2, further=("Fibonacci(steps=30, shortest=30)",)),
    "dyck": _preset("Dyck(pairs=25)", "LSTM", 64, 40, 3e-3, further=("Dyck(shortest=26, pairs=50)",)),
    "waves": _preset("Waves(steps=100)", "GRU", 64, 30, 3e-3),
    "mackey_glass": _preset("MackeyGlass(steps=200)", "GRU", 64, 30, 3e-3),
    "series": _preset("series", "GRU", 64, 50, 1e-3),  # --data.path: a table of numbers
    "adding": _preset("Adding(steps=600)", "GRU", 64, 30, 3e-3, batch_size=50, further=("Adding(steps=600, shortest=600)",)),
    "copy": _preset("Copy(delay=200)", LINEAR, 256, 10, 1e-4),
    "arithmetic": _preset(
        "Arithmetic(digits=3, distractors=1)", "LSTM", 128, 60, 2e-3, encoded_size=128, batch_size=64, monitor="accuracy"
    ),
    # Polyphonic music; --data.path: JSB_Chorales.mat, Nottingham.mat.
    "jsb": _preset("piano_rolls", "GRU", 512, 100, 2e-3, encoded_size=128, dropout=0.5, input_dropout=0.2, batch_size=20),
    "nottingham": _preset("piano_rolls", TUNE, 128, 50, 4e-3, layers=2, encoded_size=128, dropout=0.2, batch_size=5, transpose=5),
    "mnist": _preset("mnist", DIGIT, 64, 4, 3e-3, layers=2, encoded_size=64, dropout=0.1, batch_size=25, monitor="accuracy"),
}
PROGRAM = Program("synthetic", PRESETS)
