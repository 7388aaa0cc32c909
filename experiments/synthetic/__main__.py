"""Small tasks that tell recurrent cells apart: any cell on any task, and tables of several cells.

python -m experiments.synthetic train --preset addition [--any.flag value]
python -m experiments.synthetic compare --preset adding --cells Elman LSTM GRU --seeds 0 1 2 --run.dir DIR
python -m experiments.synthetic evaluate DIR [--data.task 'BinaryAddition(bits=40)']
python -m experiments.synthetic show DIR
"""

import dataclasses
import datetime
import pathlib
import sys
from dataclasses import field

from tyro.conf import OmitArgPrefixes

from experiments import command_line, runs
from experiments.limits import Size
from experiments.provenance import warn_if_changed
from experiments.repeats import folder_names, train_variants
from experiments.session import Session
from experiments.synthetic.config import PROGRAM, Config, Data
from experiments.synthetic.figures import draw_machine, draw_series, figures_of, printed
from experiments.synthetic.problems import Problem, load_problem
from experiments.train_verb import read_config, run_training
from experiments.weights import Loaded, Weights, latest, parse_verb
from seqjax.errors import InputError
from seqjax.models import Classifier, FrameClassifier, Regressor
from seqjax.train import Run, RunFolder


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains a network on a task, or continues a run (config.resume).

    Args:
        config: a preset, or one changed by `dataclasses.replace`.
        preset: the name of the preset.

    Returns:
        The run, with its best weights.

    Raises:
        InputError: task, cell, sizes or folders do not fit; nothing has been written then.
    """
    if config.cells:
        raise InputError("--cells is given, and train trains one cell: the verb compare trains several")
    problem = load_problem(config)
    model = problem.model(config.model)
    names = {"program": PROGRAM, "preset": preset, "vocabulary": problem.saved, "data": problem.record}
    session = Session(config, model, problem.stream, **names)

    with session.open(f"task: {problem.record['source']}"):
        for event in session.train(lambda params: session.evaluate(params, problem.valid)):
            session.draw_curves(event)

    return session.finish(lambda params: figures_of(model, params, {"validation": problem.valid} | problem.tests))


def train(argv: list[str]) -> Run | None:
    """Trains a cell on a task, or continues a run: train --preset addition [--any.flag value]; train --resume DIR."""
    return run_training(argv, PROGRAM, main)


def compare(argv: list[str]):
    """Trains several cells with several seeds, and writes a table and curves: compare --preset adding --cells LSTM GRU."""
    config, preset = read_config(argv, PROGRAM)
    if not config.cells:
        raise InputError("compare trains several cells: give --cells, such as --cells LSTM GRU 'LSTM(forget_bias=0.0)'")
    if config.resume is not None:
        raise InputError("compare continues by the command that started it: leave out --resume")
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    top = pathlib.Path(config.run.dir or f"runs/{PROGRAM.experiment}/{preset}-{now}-cells")
    problem, variants = load_problem(config), {}
    for cell, name in zip(config.cells, folder_names(config.cells, "--cells"), strict=True):
        network = dataclasses.replace(config.model, cell=cell)
        problem.model(network)  # all are refused before one is trained
        variants[name] = dataclasses.replace(config, cells=(), model=network)
    signal = train_variants(variants, top, PROGRAM, main, preset=preset)
    if signal is not None:
        raise SystemExit(128 + signal)
    runs.compare([*(str(top / name) for name in variants), "--out", str(top)])


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures weights on their run's task, or on another of the same symbols and answers."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    data: Data = field(default_factory=Data)
    name: str | None = None  # name of the file to write; None: test, and the weights


def evaluate(argv: list[str]):
    """Measures a run: evaluate DIR [--data.task 'Adding(steps=1000)']; writes eval-<name>-<hash of the data>.json."""
    config, is_other = parse_verb(Evaluate, argv, program=f"{PROGRAM} evaluate", data=Data())
    loaded, problem = _load(config.weights, config.data)
    if not is_other:
        warn_if_changed(loaded.run, config.data, problem.record, "test")
    figures = figures_of(loaded.model, loaded.params, problem.tests)
    loaded.write(loaded.name("test", config.name, problem.record), figures, {}, problem.record)


@dataclasses.dataclass(frozen=True)
class Show:
    """Shows the network's answers to some sequences, and pictures of what it does."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    data: Data = field(default_factory=Data)
    count: Size = 3  # the number of sequences
    steps: Size = 200  # of a series that the network continues
    clusters: Size = 12  # of the states from which an automaton is read, before those that act alike are merged


def show(argv: list[str]):
    """Shows answers and draws a picture: of values, a continuation; of flags and classes, the learned automaton: show DIR."""
    config, _ = parse_verb(Show, argv, program=f"{PROGRAM} show", data=Data())
    loaded, problem = _load(config.weights, config.data)
    batch = next(iter(problem.tests["test"]))
    print("\n\n".join(printed(loaded.model, loaded.params, batch, problem.saved, config.count)), flush=True)
    folder = RunFolder(loaded.run.dir)
    if isinstance(loaded.model, Regressor) and loaded.model.outputs == problem.shape.reads:  # its answers are what is read
        draw_series(folder, loaded.model, loaded.params, batch, config.steps)
    elif isinstance(loaded.model, FrameClassifier):
        draw_machine(folder, loaded.model, loaded.params, [*problem.tests["test"]], problem.saved, config.clusters)


def _load(weights: Weights, data: Data) -> tuple[Loaded, Problem]:
    """A run and a task of the same symbols and answers."""
    if weights.ensemble:
        raise InputError("--ensemble is given, and this experiment averages no predictions: give one run")
    loaded = weights.load((Classifier, FrameClassifier, Regressor), vocabularies=None)
    problem = load_problem(Config(data=data, seed=loaded.run.config["seed"]))
    if problem.saved != loaded.run.vocabulary:
        raise InputError(f"{data.task} has other symbols or answers than the task of {loaded.run.dir}")
    return loaded, problem


VERBS = {"train": train, "compare": compare, "evaluate": evaluate, "show": show}

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
