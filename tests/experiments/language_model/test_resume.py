"""Runs that are stopped and go on, and runs that start from another's weights, through the real command."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

import seqjax
from tests.experiments.conftest import Interrupt, contents, figures_of, refused, results_of
from tests.experiments.language_model.conftest import PACE, SIZES, command, words


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, train):
    """A run that a signal stopped after step 3 of 4; no test may change it."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        Interrupt(patch, 3)
        outcome = train(folder, "--optimizer.learning-rate", 5, "--optimizer.warmup-steps", 0, "--ngrams", 2, 3, 5)
    assert outcome.code == 143, outcome.err
    assert "stopped after step 3 of 4; to continue: " in outcome.out
    assert f" -m experiments.language_model train --resume {folder}" in outcome.out
    assert outcome.out.splitlines()[-1] == str(folder)
    assert not (folder / "results.json").exists() and figures_of(folder)[-1]["step"] == 3
    return folder


def test_resume_alone_goes_on_to_the_numbers_of_an_uninterrupted_run(stopped, finished, tmp_path):
    folder, uninterrupted = tmp_path / "run", finished[0]
    shutil.copytree(stopped, folder)
    outcome = command("train", "--resume", folder)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(folder)
    assert figures_of(folder) == figures_of(uninterrupted)
    assert (folder / "samples.jsonl").read_text() == (uninterrupted / "samples.jsonl").read_text()
    measured = ("validation_loss", "test_loss", "trigram_validation_loss", "steps")
    assert [results_of(folder)[name] for name in measured] == [results_of(uninterrupted)[name] for name in measured]
    for ours, theirs in zip(*(jax.tree.leaves(seqjax.load_run(run).params) for run in (folder, uninterrupted)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_finished_run_goes_on_for_more_steps(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    finished_again = command("train", "--resume", tmp_path / "run")  # all steps are done already
    assert finished_again.code == 0, finished_again.err
    assert figures_of(tmp_path / "run") == figures_of(finished[0])
    more = command("train", "--resume", tmp_path / "run", "--loop.steps", 6, "--loop.log-every", 2)
    assert more.code == 0, more.err
    assert figures_of(tmp_path / "run")[-1]["step"] == 6 and results_of(tmp_path / "run")["steps"] == 6
    assert figures_of(tmp_path / "run")[: len(figures_of(finished[0]))] == figures_of(finished[0])


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        (["--optimizer.learning-rate", 0.5], ["--optimizer.learning-rate", "5", "0.5"]),
        (["--model.hidden-size", 9], ["--model.hidden-size", "8", "9"]),
        (["--data.batch-size", 3], ["--data.batch-size", "2", "3"]),
        (["--data.vocabulary", "byte"], ["it was", "now it is"]),
        (["--seed", 1], ["seed", "0", "1"]),
        (["--preset", "modern_lstm"], ["preset", "tiny", "modern_lstm"]),
    ],
)
def test_resume_refuses_another_run_and_names_what_differs(flags, messages, stopped):
    before = contents(stopped)
    outcome = command("train", "--resume", stopped, *flags)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: cannot") and all(part in line for part in messages), line
    assert contents(stopped) == before


@pytest.mark.slow
def test_a_setting_of_the_optimizer_changes_by_name(stopped, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    before = contents(folder)
    change = ["--optimizer.learning-rate", 0.5, "--change"]
    for flags, message in (
        ([*change, "model.hidden-size"], "change is --model.hidden-size: a resumed run may change --optimizer.name, "),
        ([*change, "optimizer.eps"], "cannot continue with another --optimizer.learning-rate: it was 5"),
    ):
        outcome = command("train", "--resume", folder, *flags)
        assert outcome.code == 2 and message in outcome.err and contents(folder) == before
    outcome = command("train", "--preset", "tiny", "--run.dir", tmp_path / "new", "--change", "optimizer.learning-rate", *SIZES)
    assert outcome.code == 2 and "only a run that is resumed has settings to change" in outcome.err

    outcome = command("train", "--resume", folder, *change, "optimizer.learning-rate")
    assert outcome.code == 0, outcome.err
    assert "optimizer.learning_rate changes after step 3: 5.0 to 0.5" in outcome.out
    figures = figures_of(folder)
    assert [line["learning_rate"] for line in figures if line["split"] == "train"][-1] < 0.5 < figures[0]["learning_rate"]
    assert {"step": 3, "split": "change", "optimizer.learning_rate": 0.5} in figures
    config = json.loads((folder / "config.json").read_text())
    assert config["changes"] == [{"setting": "optimizer.learning_rate", "from": 5.0, "to": 0.5, "step": 3}]
    assert config["config"]["optimizer"]["learning_rate"] == 0.5 and config["config"]["change"] == []
    again = command("train", "--resume", folder, "--loop.steps", 5)  # without naming it again; all checkpoints still fit
    assert again.code == 0, again.err
    assert json.loads((folder / "config.json").read_text())["changes"] == config["changes"]


@pytest.mark.slow
def test_resume_refuses_a_text_that_has_changed(tmp_path):
    text, folder = tmp_path / "text", tmp_path / "run"
    text.mkdir()
    for n, split in enumerate(("train", "valid", "test")):
        (text / f"{split}.txt").write_text(words(400 if not n else 100, seed=n))
    flags = ["--data.path", text, *SIZES, *PACE, "--loop.steps", 1, "--run.dir", folder]
    assert command("train", *flags).code == 0
    (text / "valid.txt").write_text(words(100, seed=3))  # of the same symbols
    before = contents(folder)
    outcome = command("train", "--resume", folder, "--loop.steps", 2)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert f"{text} (valid) is not what {folder} was started with: restore it to continue" in line
    assert contents(folder) == before
    measured = command("evaluate", folder, "--split", "valid")
    assert measured.code == 0 and f"warning: {text} (valid) has changed since {folder} was trained" in measured.err


@pytest.mark.slow
def test_one_command_starts_and_continues_a_run_wherever_its_text_lies(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "text.txt").write_text(words(400))
    monkeypatch.chdir(tmp_path / "there")
    flags = ["--data.path", "text.txt", *SIZES, *PACE, "--run.dir", "../run", "--resume-if-there"]
    with monkeypatch.context() as patch:
        Interrupt(patch, 1)
        assert command("train", *flags).code == 143
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # as if it had been killed before its first save
    done = command("train", *flags)
    assert done.code == 0 and figures_of(tmp_path / "run")[0]["step"] == 1, done.err

    monkeypatch.chdir(tmp_path)
    assert command("train", "--resume", "run").code == 0  # config.json knows where the text lies
    (tmp_path / "there" / "text.txt").rename("moved.txt")
    before = contents(tmp_path / "run")
    refused(command("train", "--resume", "run"), "text.txt does not exist")
    refused(command("train", "--resume", "run", "--run.dir", "other"), "continues in that folder: leave out --run.dir")
    assert contents(tmp_path / "run") == before
    assert command("train", "--resume", "run", "--data.path", "moved.txt").code == 0


@pytest.mark.slow
def test_init_from_takes_the_weights_and_nothing_else(finished, train, tmp_path):
    frozen = ["--optimizer.learning-rate", 1e-30, "--loop.steps", 1, "--init-from", finished[0]]
    before = contents(finished[0])
    assert train(tmp_path / "run", *frozen).code == 0
    ours, theirs = seqjax.load_run(tmp_path / "run"), seqjax.load_run(finished[0])
    assert [line["step"] for line in ours.metrics] == [1, 1]
    for leaf, source in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(leaf, source, rtol=0, atol=1e-12)
    assert ours.results["validation_loss"] == pytest.approx(theirs.results["validation_loss"], abs=1e-6)
    assert contents(finished[0]) == before


@pytest.mark.slow
def test_a_run_goes_on_with_another_text_in_its_own_vocabulary(finished, tmp_path):
    (tmp_path / "other.txt").write_text(words(300, seed=3) + "caf\u00e9 " * 9 + "\n" + words(200, seed=4))
    flags = ["--data.path", tmp_path / "other.txt", *SIZES, *PACE, "--loop.steps", 1, "--run.dir", tmp_path / "run"]
    flags += ["--init-from", finished[0], "--optimizer.learning-rate", 1e-30]
    outcome = command("train", *flags)
    assert outcome.code == 2 and f"symbols or classes: give --data.vocabulary-from {finished[0]}" in outcome.err
    outcome = command("train", *flags, "--data.vocabulary-from", finished[0])
    assert outcome.code == 0, outcome.err
    lacks = rf"\d\.\d+% of the training symbols are unknown: the vocabulary of {finished[0]} lacks 2 different ones, such as '."
    assert re.search(lacks, outcome.out), outcome.out
    ours, theirs = seqjax.load_run(tmp_path / "run"), seqjax.load_run(finished[0])
    assert ours.vocabulary == theirs.vocabulary
    for leaf, source in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(leaf, source, rtol=0, atol=1e-12)
    results = results_of(tmp_path / "run")
    assert 0 < results["data_train_unknown_share"] < 0.02 and "data_unseen_probability" not in results


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        (["--model.hidden-size", 9], ["hidden"]),
        (["--data.vocabulary", "byte"], ["vocabulary"]),
        (["--init-from", "nowhere"], ["nowhere is not a run folder"]),
    ],
)
def test_init_from_refuses_weights_that_do_not_fit(flags, messages, finished, train, tmp_path):
    outcome = train(tmp_path / "run", "--init-from", finished[0], *flags)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert all(part in line for part in messages) or "params" in line, line
    assert not (tmp_path / "run").exists()
