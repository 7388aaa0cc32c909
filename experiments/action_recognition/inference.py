"""The verbs that use trained weights: evaluate, predict one recording, follow a stream."""

import dataclasses
import json
from dataclasses import field
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from experiments import command_line
from experiments.action_recognition.config import PROGRAM, Data
from experiments.action_recognition.data import load_actions
from experiments.folds import evaluate_folds
from experiments.labelled import check_reads
from experiments.limits import FilePath, Natural, Positive, Size, Weight
from experiments.online import follow, read_steps
from experiments.provenance import warn_if_changed
from experiments.recording import draw_recording, pick_recording, read_recording, with_truth
from experiments.scoring import models_of
from experiments.weights import Loaded, Weights, latest, parse_verb, with_latest
from seqjax.errors import InputError
from seqjax.models import Classifier, FrameClassifier, LateFusion, fit_weights
from seqjax.train import RunFolder


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures weights, or those of several runs fused, on a split of the run's data or of other data."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    data: Data = field(default_factory=Data)
    split: Literal["train", "valid", "test"] = "test"
    fusion: tuple[Weight, ...] = ()  # the weights of an ensemble's runs; empty: equal
    fit_fusion: bool = False  # fit the weights of an ensemble's runs on the validation split
    name: str | None = None  # name of the files to write; None: the split and the weights


def evaluate(argv: list[str]):
    """Measures a run, or all of a folder of folds: evaluate DIR [--split test] [--ensemble DIR] [--fusion 1 2 | --fit-fusion]."""
    weights = command_line.parse(Evaluate, argv, program=f"{PROGRAM} evaluate").weights
    evaluate_folds(argv, weights.dir, weights.ensemble, evaluate_run)


def evaluate_run(argv: list[str]) -> dict[str, float]:
    """Measures one run or ensemble, writes eval-<name>-<hash of the data>.json and pictures, and returns the figures."""
    config, is_other = parse_verb(Evaluate, argv, program=f"{PROGRAM} evaluate", data=Data())
    loaded, split = load(config.weights), config.split
    model, actions = loaded.model, load_actions(config.data, loaded.run.vocabulary)
    actions.check_reads(model)
    if (config.fusion or config.fit_fusion) and not config.weights.ensemble:
        raise InputError("--fusion and --fit-fusion weigh the runs of an ensemble: give --ensemble DIR")
    if config.fit_fusion:
        parts = zip(model.models, loaded.params, strict=True)
        each = [actions.score(part, params, "valid") for part, params in parts]
        model = dataclasses.replace(model, weights=tuple(fit_weights([s.flat for s in each], each[0].truths)))
    elif config.fusion:
        model = dataclasses.replace(model, weights=config.fusion)
    if not is_other:
        warn_if_changed(loaded.run, config.data, actions.record, split)
    scores, name = actions.score(model, loaded.params, split), loaded.name(split, config.name, actions.record)
    figures = {f"{'validation' if split == 'valid' else split}_{key}": value for key, value in scores.figures().items()}
    more = {"fusion": list(getattr(model, "weights", None) or ())} | scores.draw(RunFolder(loaded.run.dir), name)
    loaded.write(name, figures, more, actions.record)
    return figures


def load(weights: Weights) -> Loaded:
    """The model of a run, or the fusion of several."""
    return weights.load((Classifier, FrameClassifier), fuse=lambda models: LateFusion(models=models, average=weights.averaging))


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classifies one recording, and draws its timeline."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    input: FilePath | None = None  # a clip, or a table or .npy of features; None: a recording of the run's data
    data: Data = field(default_factory=Data)
    split: Literal["train", "valid", "test"] = "test"
    index: Natural = 0  # the recording of that split
    segments: FilePath | None = None  # a CSV or JSON of the true segments of `input`
    rate: Positive | None = None  # steps a second of a file that states none; None: as in the run's data
    out: FilePath = "timeline.png"


def predict(argv: list[str]):
    """Classifies a recording over time: predict [DIR] FILE, or predict DIR --index 3; writes timeline.png and timeline.json."""
    config, _ = parse_verb(Predict, with_latest(argv, PROGRAM), program=f"{PROGRAM} predict", data=Data())
    loaded, data = load(config.weights), config.data
    shapes = {model.encoder.name: model.encoder.shape for model in models_of(loaded.model)}
    if config.input is None:
        actions = load_actions(data, loaded.run.vocabulary)
        actions.check_reads(loaded.model)
        recording = pick_recording(actions.splits, config.split, config.index)
    else:
        recording = read_recording(config.input, shapes, **preparation(config.weights.dir, data, config.rate))
        check_reads(loaded.model, config.input, recording.shapes)
    if config.segments is not None:
        recording = with_truth(recording, config.segments, loaded.run.vocabulary)
    facts = draw_recording(loaded.model, loaded.params, recording, loaded.run.vocabulary.names, config.out)
    print(json.dumps(facts, indent=1, ensure_ascii=False), config.out, sep="\n")


@dataclasses.dataclass(frozen=True)
class Stream:
    """Guesses while frames come in."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    input: FilePath | None = None  # a clip, a folder that fills with images, or a table of features; None: standard input
    rate: Positive | None = None  # steps a second of a source that states none; None: as in the run's data
    every: Positive = 1.0  # seconds from one prediction to the next
    restart: Size | None = None  # begin anew after so many steps; None: after the clip length that the run's data were cut to
    patience: Weight = 3.0  # a folder has ended after so many seconds without a new image


def stream(argv: list[str]):
    """Prints a prediction every second from arriving frames: stream [DIR] [FILE | FOLDER]; without them, standard input."""
    config = command_line.parse(Stream, with_latest(argv, PROGRAM), program=f"{PROGRAM} stream")
    loaded, description = load(config.weights), RunFolder(config.weights.dir).read_config()
    data = command_line.from_dict(Data(), description["config"]["data"])
    [(word, shape)] = {(model.encoder.name, model.encoder.shape) for model in models_of(loaded.model)}
    steps = read_steps(config.input, word, shape, patience=config.patience, **preparation(config.weights.dir, data, config.rate))
    restart = config.restart or (data.cut[0] if data.cut else None)
    follow(loaded.model, loaded.params, steps, loaded.run.vocabulary.names, every=config.every, restart=restart)


def preparation(folder: str, data: Data, rate: float | None) -> dict[str, Any]:
    """The options of `read_steps` that prepare steps as those of a run were; a rate is that before steps are left out."""
    known = RunFolder(folder).read_config()["data"].get("rate")
    every = 1 if data.motion else data.every  # motion is that of averages: a table with it comes averaged
    options = {"rate": rate or data.rate or (known and known * every), "every": every}
    size = data.size or ((32, 32) if data.path is data.tfds is None else None)
    return options | {"average": (data.recordings or "").startswith("hapt"), "size": size}


VERBS = {"evaluate": evaluate, "predict": predict, "stream": stream}
