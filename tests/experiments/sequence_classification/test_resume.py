"""A run that is stopped and goes on, and one of another configuration that is refused."""

import shutil

import jax
import numpy as np
import pytest

import seqjax
from tests.experiments.conftest import Interrupt, contents, figures_of, refused, results_of
from tests.experiments.sequence_classification.conftest import command, lines


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, train):
    """A run that a signal stopped after step 3 of 4; no test may change it."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        Interrupt(patch, 3)
        outcome = train(folder, "--data.word-dropout", 0.2)
    assert outcome.code == 143, outcome.err
    assert f" -m experiments.sequence_classification train --resume {folder}" in outcome.out
    return folder


def test_resume_goes_on_to_the_numbers_of_an_uninterrupted_run(stopped, finished, tmp_path):
    folder, uninterrupted = tmp_path / "run", finished[0]
    shutil.copytree(stopped, folder)
    outcome = command("train", "--resume", folder)
    assert outcome.code == 0, outcome.err
    clips = "clips_per_second"
    figures = [[{k: v for k, v in line.items() if k != clips} for line in figures_of(run)] for run in (folder, uninterrupted)]
    assert figures[0] == figures[1]
    assert results_of(folder)["test_loss"] == results_of(uninterrupted)["test_loss"]
    for ours, theirs in zip(*(jax.tree.leaves(seqjax.load_run(run).params) for run in (folder, uninterrupted)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_resume_refuses_another_model_and_other_data(stopped, table, tmp_path):
    before = contents(stopped)
    refused(command("train", "--resume", stopped, "--model.hidden-size", 9), "--model.hidden-size")
    copy = table.read_text()
    try:
        table.write_text(lines(60, seed=1))
        refused(command("train", "--resume", stopped), "is not what", "restore it to continue")
    finally:
        table.write_text(copy)
    assert contents(stopped) == before
