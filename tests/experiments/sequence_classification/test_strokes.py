"""Drawings: a guess after every stroke, and the accuracy against the strokes seen."""

import shlex
import zipfile

import numpy as np
import pytest

import seqjax
from experiments.sequence_classification.config import Data
from experiments.sequence_classification.sequences import load_sequences
from seqjax.data.strokes import read_drawing, stroke_ends
from tests.experiments.conftest import refused, results_of
from tests.experiments.sequence_classification.conftest import PACE, command

SIZES = shlex.split("--preset omniglot --data.batch-size 8 --model.hidden-size 6 --data.distort 0.5")


def drawing(character: int, seed: int) -> str:
    """A bar or a hook, and then a dot at most twice."""
    draw, strokes = np.random.default_rng(seed), [[(0, 0), (30, 0)], [(0, 0), (0, 30), (20, 30)]]
    dots = [[(x, -20), (x + 3, -20)] for x in (5, 15)[: seed % 3]]
    lines = ["START"]
    for points in [strokes[character], *dots]:
        lines += [f"{x + draw.normal():.3f},{y + draw.normal():.3f},{n}" for n, (x, y) in enumerate(points)] + ["BREAK"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def omniglot(tmp_path_factory):
    """A zip of two characters by twelve drawers."""
    path = tmp_path_factory.mktemp("omniglot") / "strokes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for character in range(2):
            for drawer in range(1, 13):
                name = f"strokes/Marks/character{character + 1:02}/{character:02}_{drawer:02}.txt"
                archive.writestr(name, drawing(character, drawer))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, omniglot):
    """The folder of a run that no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "strokes"
    outcome = command("train", *SIZES, *PACE, "--data.strokes", omniglot, "--run.dir", folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.slow
def test_the_accuracy_after_each_stroke_is_that_of_the_strokes_so_far(finished, omniglot):
    run, sequences = seqjax.load_run(finished), load_sequences(Data(strokes=str(omniglot)))
    series, right = sequences.splits["test"], np.zeros(3)
    for n in range(len(series)):
        features = series.read(n)["features"]
        ends = stroke_ends(features)
        for stroke in range(3):
            seen = features[: ends[min(stroke, len(ends) - 1)]]
            batch = {"features": seen[None], "features_lengths": np.array([len(seen)], np.int32)}
            right[stroke] += np.asarray(run.model.probabilities(run.params, batch)).argmax() == series.labels[n]
    results = results_of(finished)
    assert results["test_accuracy_after_strokes"] == pytest.approx((right / len(series)).tolist())
    assert results["test_accuracy_after_strokes"][-1] == results["test_accuracy"]
    assert (finished / "strokes-test.png").exists()


def test_predict_guesses_after_every_stroke_of_each_drawing(finished, tmp_path):
    first, second = drawing(0, 2), drawing(1, 3)
    outcome = command("predict", finished, stdin=(first + second).encode())
    assert outcome.code == 0, outcome.err
    run, rows = seqjax.load_run(finished), outcome.out.splitlines()
    assert [row.split("\t")[-1] for row in rows] == ["1 stroke", "2 strokes", "3 strokes", "1 stroke"]
    features = read_drawing(first)
    for row, end in zip(rows, stroke_ends(features), strict=False):
        batch = {"features": features[None, :end], "features_lengths": np.array([end], np.int32)}
        scores = np.asarray(run.model.probabilities(run.params, batch))[0]
        name, probability, _ = row.split("\t")
        assert name == run.vocabulary.names[scores.argmax()] and float(probability) == pytest.approx(scores.max(), abs=1e-3)
    (tmp_path / "drawing.txt").write_text(first)
    assert command("predict", finished, "--input", tmp_path / "drawing.txt").out.splitlines() == rows[:3]


def test_wrong_drawings_and_data_are_refused(finished, tmp_path):
    refused(command("predict", finished, stdin=b"START\n1,2,x\nhello\nBREAK\n"), "line 3 is 'hello'")
    refused(command("predict", finished, stdin=b"START\nBREAK\n"), "there is no point in the drawing")
    (tmp_path / "table.tsv").write_text("0\ta\n")
    refused(command("evaluate", finished, "--data.test", tmp_path / "table.tsv"), "the run reads no text")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for drawer in range(4):
            archive.writestr(f"s/Other/c1/01_{drawer:02}.txt", drawing(0, drawer))
    refused(command("evaluate", finished, "--data.strokes", tmp_path / "other.zip"), "has other classes than the run")
