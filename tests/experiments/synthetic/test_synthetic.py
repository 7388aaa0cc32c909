"""The command of the small tasks: runs and what they write, several cells side by side, and refusals that start nothing."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from experiments.networks import Shape, build_model
from experiments.synthetic import __main__ as program
from experiments.synthetic.config import PRESETS, PROGRAM, REAL, Data
from experiments.synthetic.problems import load_problem
from experiments.weights import parse_verb
from seqjax.train import RunFolder
from tests.experiments.conftest import Command, contents, evaluation_of, refused, results_of

command = Command(program)
SMALL = ["--data.batches", 3, "--data.evaluated", 1, "--data.batch-size", 2, "--loop.epochs", 1, "--loop.log-every", 1]


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    """The finished run of the tiny preset: hello by three hidden units."""
    folder = tmp_path_factory.mktemp("runs") / "hello"
    outcome = command("train", "--run.dir", folder)
    assert outcome.code == 0, outcome.err
    return folder


def test_three_units_spell_hello(hello):
    results = results_of(hello)
    assert results["test_exact"] == 1 and results["test_loss"] < 0.2 and (hello / "curves.png").exists()
    shown = command("show", hello, "--clusters", 6)
    assert shown.code == 0 and "read    h e l l\ntarget  e l l o\nanswer  e l l o" in shown.out
    assert "right in 100.00% of the steps" in shown.out and (hello / "automaton.png").exists()
    measured = command("evaluate", hello)
    assert measured.code == 0 and evaluation_of(hello, "test")["test_exact"] == 1


def test_another_word_is_refused(hello):
    before = contents(hello)
    refused(command("evaluate", hello, "--data.task", "Spelling(word='help')"), "has other symbols or answers")
    assert contents(hello) == before


@pytest.mark.slow
def test_cells_are_compared_in_one_table(tmp_path):
    task = ["--data.task", "Fibonacci(steps=4, shortest=4)", "--model.hidden-size", 2]
    outcome = command("compare", *SMALL, *task, "--cells", "Elman", "Elman(activation='relu')", "--run.dir", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    assert "model.cell" in outcome.out and "test_loss" in outcome.out
    folder = tmp_path / "new"
    assert {path.name for path in folder.iterdir()} == {"Elman", "Elman-activation-relu", "curves.png", "figures.csv"}
    assert json.loads((folder / "Elman" / "summary.json").read_text())["runs"][0]["seed"] == 0
    shown = command("show", folder / "Elman" / "seed-0", "--steps", 5)
    assert shown.code == 0 and "over 2 steps of its own" in shown.out
    assert (folder / "Elman" / "seed-0" / "continuation.png").exists()


def test_tasks_on_files_have_splits(shared_data, tmp_path):
    music = PRESETS["jsb"]
    path = shared_data("poly_music") / "JSB_Chorales.mat"
    problem = load_problem(program.Config(data=replace(music.data, path=str(path), transpose=5)))
    batch = problem.stream.batch(0)
    assert batch["target"].dtype == np.bool_ and batch["target"].shape == batch["features"].shape and problem.shape.reads == 88
    lengths = batch["features_lengths"]
    np.testing.assert_array_equal(batch["features"][0, 1 : lengths[0]], batch["target"][0, : lengths[0] - 1])
    assert sum((test["features_lengths"] > 0).sum() for test in problem.tests["test"]) == 77


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.data.task not in REAL])
def test_presets_have_tasks_and_cells(name):
    data = replace(PRESETS[name].data, evaluated=1)
    problem = load_problem(replace(PRESETS[name], data=data))
    model = problem.model(PRESETS[name].model)
    assert model.vocabulary_sizes == tuple(map(len, problem.saved if isinstance(problem.saved, tuple) else (problem.saved,)))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.data.task in REAL])
def test_presets_on_files_have_cells(name):
    config = PRESETS[name].model
    shape = Shape(reads=3, symbols=False, names=("a", "b"), answers="labels")
    assert build_model(config, shape).encoder.output_size == config.hidden_size


WRONG = {
    "an unknown task": (["--data.task", "Addding"], "--data.task: Addding is not known: did you mean Adding?"),
    "a field of a task": (["--data.task", "Adding(stepps=3)"], "Adding has no field stepps: did you mean steps?"),
    "no step": (["--data.task", "Adding(steps=0)"], "Adding has steps=0"),
    "an unknown cell": (["--model.cell", "LSTMM"], "--model.cell: LSTMM is not known: did you mean LSTM?"),
    "a cell's field": (["--model.cell", "LSTM(heads=0)"], "heads=0"),
    "no unit": (["--model.hidden-size", 0], "--model.hidden-size is 0, it must be from 1"),
    "another further task": (["--data.further", "Adding"], "--data.further 'Adding' has other symbols"),
    "a file for a drawn task": (["--data.path", "x.mat"], "--data.path is given, and Spelling(word='hello') reads no file"),
    "music without a file": (["--preset", "jsb"], "--data.task piano_rolls reads a file: give --data.path"),
    "no such file": (["--preset", "jsb", "--data.path", "x.mat"], "x.mat is missing"),
    "no such series": (["--preset", "series", "--data.path", "x.csv"], "x.csv"),
    "a short series": (["--preset", "series", "--data.path", "short.csv"], "--data.window is 100, short.csv has 30 steps"),
    "digits elsewhere": (["--preset", "mnist", "--data.path", "."], "give the folder of MNIST"),
    "a further file": (["--preset", "series", "--data.path", "short.csv", "--data.further", "Adding"], "a task on files has no"),
    "no batch": (["--data.batches", 0], "--data.batches is 0, it must be from 1"),
    "no row": (["--data.batch-size", 0], "--data.batch-size is 0, it must be from 1"),
    "no evaluation": (["--data.evaluated", 0], "--data.evaluated is 0, it must be from 1"),
    "a short window": (
        ["--preset", "year", "--model.cell", "FixedWindow(length=10)", "--data.evaluated", 1],
        "FixedWindow reads 10 steps",
    ),
    "cells in train": (["--cells", "GRU"], "--cells is given, and train trains one cell"),
    "a delay of values": (["--data.task", "Adding(steps=3)", "--model.delay", 2], "--model.delay is 2"),
}


@pytest.mark.parametrize(("flags", "message"), WRONG.values(), ids=WRONG)
def test_wrong_training_is_refused(nowhere, flags, message):
    (nowhere / "short.csv").write_text("\n".join(map(str, range(30))))
    before = contents(nowhere)
    refused(command("train", "--run.dir", "new", *flags), message)
    assert contents(nowhere) == before and not (nowhere / "new").exists()


def test_another_file_is_read_by_the_task_of_the_run(tmp_path):
    config = replace(PRESETS["series"], data=replace(PRESETS["series"].data, path="old.csv"))
    facts = {"preset": "series", "experiment": "synthetic", "model": None, "vocabulary": None, "config": asdict(config)}
    RunFolder(tmp_path).write_config(facts)
    verb, is_other = parse_verb(program.Evaluate, [str(tmp_path), "--data.path", "new.csv"], program=f"{PROGRAM}", data=Data())
    assert (verb.data.task, verb.data.path, is_other) == ("series", "new.csv", True)


OTHERS = {
    "a cell twice": (["compare", "--cells", "Elman", "elman", "--run.dir", "new"], "--cells gives elman twice"),
    "no sequence": (["show", "nowhere", "--count", 0], "--count is 0, it must be from 1"),
    "no cells": (["compare"], "give --cells"),
    "one wrong cell": (["compare", "--cells", "Elman", "GRUU", "--run.dir", "new"], "GRUU is not known"),
    "no run": (["show", "nowhere"], "nowhere is not a run folder"),
    "an unknown verb": (["draw"], "unknown verb 'draw'"),
}


@pytest.mark.parametrize(("arguments", "message"), OTHERS.values(), ids=OTHERS)
def test_wrong_verbs_are_refused(nowhere, arguments, message):
    refused(command(*arguments), message)
    assert not list(nowhere.iterdir())
