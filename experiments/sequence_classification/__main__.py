"""Classification of sequences: sentences, pen strokes, series of feature vectors.

python -m experiments.sequence_classification train --preset tiny [--any.flag value]
python -m experiments.sequence_classification evaluate DIR --split test
echo "raise TypeError(msg)" | python -m experiments.sequence_classification predict DIR --top 3
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes

from experiments import command_line
from experiments.limits import FilePath, Size
from experiments.lines import CHUNK, read_lines
from experiments.provenance import warn_if_changed
from experiments.scoring import predict_all
from experiments.sequence_classification.config import PROGRAM, Config, Data, build_model
from experiments.sequence_classification.figures import formatted, split_figures
from experiments.sequence_classification.sequences import load_sequences, load_split, prepare_by
from experiments.session import Session
from experiments.train_verb import run_training
from experiments.weights import Loaded, Weights, latest, parse_verb
from seqjax.data.labels import Labels
from seqjax.data.series import Series, evaluation_series, read_item
from seqjax.data.series.files import SUFFIXES
from seqjax.data.splits import SPLITS
from seqjax.data.strokes import growing_drawings
from seqjax.data.text.preparing import LabelledLine
from seqjax.errors import InputError
from seqjax.models import Classifier, LateFusion
from seqjax.train import Run, RunFolder

Guesses = Iterator[tuple[str, np.ndarray | None]]
SHAPES = (16, 64, 256)  # lengths of batches that are predicted


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains a classifier, or continues a run (config.resume).

    Args:
        config: a preset, or one changed by `dataclasses.replace`.
        preset: the name of the preset.

    Returns:
        The run, with its best weights.

    Raises:
        InputError: data, sizes or folders do not fit; nothing has been written then.
    """
    data, sequences = config.data, load_sequences(config.data)
    model = build_model(config.model, sequences.words, sequences.classes, sequences.splits["train"])
    stream = sequences.stream(data, config.seed)
    names = {"program": PROGRAM, "preset": preset, "vocabulary": sequences.saved, "data": sequences.record}
    session = Session(config, model, stream, **names)
    shapes = {"batch_size": data.batch_size, "shapes": stream.shapes}
    valid = sequences.batches("valid", **shapes) if "valid" in sequences.splits else None
    evaluate = None if valid is None else lambda params: session.evaluate(params, valid)

    with session.open(*sequences.summary()):
        for event in session.train(evaluate):
            session.draw_curves(event)

    def measure(params) -> dict:
        figures, splits = {}, [name for name in SPLITS[1:] if name in sequences.splits]
        for split in splits:
            folder = session.folder if split == splits[-1] else None  # pictures of the last split alone
            figures |= split_figures(folder, split, model, params, sequences, split, **shapes)
        return figures

    return session.finish(measure)


def train(argv: list[str]) -> Run | None:
    """Trains a preset, or continues a run: train --preset tiny [--any.flag value]; train --resume DIR."""
    return run_training(argv, PROGRAM, main)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures weights on their run's data, or on other data of the same classes."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    data: Data = field(default_factory=Data)
    split: Literal["train", "valid", "test"] = "test"
    name: str | None = None  # name of the file to write; None: the split and the weights


def evaluate(argv: list[str]):
    """Measures a run: evaluate DIR [--data.test TABLE] [--split test]; writes eval-<name>-<hash of the data>.json."""
    config, other = parse_verb(Evaluate, argv, program=f"{PROGRAM} evaluate", data=Data())
    loaded, data = _load(config.weights, config.data)
    sequences = load_split(data, config.split, loaded.run.vocabulary)
    if not other:
        warn_if_changed(loaded.run, data, sequences.record, config.split)
    name, folder = loaded.name(config.split, config.name, sequences.record), RunFolder(loaded.run.dir)
    about = (loaded.model, loaded.params, sequences, config.split)
    figures = split_figures(folder, name, *about, batch_size=data.batch_size)
    curves = {figure: value for figure, value in figures.items() if isinstance(value, list)}
    numbers = {figure: value for figure, value in figures.items() if figure not in curves}
    loaded.write(name, numbers, curves, sequences.record)


@dataclasses.dataclass(frozen=True)
class Predict:
    """Gives the classes of lines of text, of a drawing after every stroke, or of series."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    input: FilePath | None = None  # lines, strokes, or a file or folder of series; None: lines or strokes from standard input
    top: Size = 1  # the number of classes for each line, the most probable first


def predict(argv: list[str]):
    """Gives classes and their probabilities: predict DIR [--input FILE] [--top 3]; without --input for standard input."""
    config = command_line.parse(Predict, argv, program=f"{PROGRAM} predict")
    loaded, data = _load(config.weights)
    guesses = _of_lines if data.is_text else _of_strokes if data.strokes is not None else _of_files
    for name, scores in guesses(loaded, data, config.input):
        print("" if scores is None else f"{formatted(scores, loaded.run.vocabulary, config.top)}\t{name}", flush=True)


def _of_lines(loaded: Loaded, data: Data, path: str | None) -> Guesses:
    """Each line with its scores; None for a blank line."""
    words, prepare = loaded.run.vocabulary[0], prepare_by(data)
    lines = read_lines(path, prompt="a line to classify; end with Ctrl-D")
    while chunk := list(itertools.islice(lines, 1 if path is None else CHUNK)):  # standard input is answered line by line
        texts = [prepare(LabelledLine("", line)).text for line in chunk]
        scores = iter(_scores(loaded, "tokens", [words.encode(text)[: data.max_length] for text in texts if text]))
        yield from ((line, next(scores) if text else None) for line, text in zip(chunk, texts, strict=True))


def _of_strokes(loaded: Loaded, _: Data, path: str | None) -> Guesses:
    """The number of strokes so far with the scores after each."""
    lines = read_lines(path, prompt="START, lines x,y,time and BREAK at the end of each stroke; end with Ctrl-D")
    for count, features in growing_drawings(lines):
        yield f"{count} stroke{'s' * (count > 1)}", _scores(loaded, "features", [features])[0]


def _of_files(loaded: Loaded, _: Data, path: str | None) -> Guesses:
    """Each file of series with its scores."""
    if path is None:
        raise InputError("this run reads series of feature vectors: give --input FILE")
    model: Any = loaded.run.model
    folder, size = Path(path), model.encoder.size
    for file in sorted(each for each in folder.rglob("*") if each.suffix in SUFFIXES) if folder.is_dir() else [folder]:
        item = read_item(file)
        if item.shape[1] != size:
            raise InputError(f"{file} has {item.shape[1]} features a step, the run reads {size}")
        yield str(file), _scores(loaded, "features", [item])[0]


def _scores(loaded: Loaded, word: str, items: list[np.ndarray]) -> list[np.ndarray]:
    """The probabilities of each sequence, [C]."""
    if not items:
        return []
    classes = Labels(names=tuple(map(str, range(loaded.model.classes))))
    sizes = {"lengths": np.array([len(item) for item in items]), "names": tuple(map(str, range(len(items))))}
    series, batch_size = Series(inputs={word: items}, classes=classes, **sizes), 1 if len(items) == 1 else 64
    return predict_all(loaded.model, loaded.params, evaluation_series(series, batch_size=batch_size, shapes=SHAPES))


def _load(weights: Weights, data: Data | None = None) -> tuple[Loaded, Data]:
    """A run or an ensemble of averaged probabilities, and data (None: the run's), cut as in training unless a flag says."""
    saved = RunFolder(weights.dir).read_config()["config"]["data"]
    is_text = saved.get("strokes") is None and saved.get("series") is None
    fuse = partial(LateFusion, average=weights.averaging)
    loaded = weights.load(Classifier, vocabularies=2 if is_text else 1, fuse=lambda models: fuse(models=models))
    used = command_line.from_dict(Data(), saved) if data is None else data
    limit = loaded.run.data.get("max_length") if used.max_length is None else used.max_length
    return loaded, dataclasses.replace(used, max_length=limit)


VERBS = {"train": train, "evaluate": evaluate, "predict": predict}

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
