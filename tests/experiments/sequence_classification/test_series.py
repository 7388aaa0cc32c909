"""Series of feature vectors in files: training, measures and classes of files."""

import numpy as np
import pytest

import seqjax
from tests.experiments.conftest import evaluation_of, refused, results_of
from tests.experiments.sequence_classification.conftest import PACE, SIZES, command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of rising and falling series by class, which is also the current folder's neighbour."""
    root, draw = tmp_path_factory.mktemp("series"), np.random.default_rng(0)
    for label, slope in (("falling", -1.0), ("rising", 1.0)):
        (root / label).mkdir()
        for n in range(16):
            steps = slope * np.arange(6 + n % 3)[:, None] / 5 + 0.1 * draw.normal(size=(6 + n % 3, 2))
            np.save(root / label / f"{n:02}.npy", steps.astype(np.float32))
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory, folder):
    """The folder of a run that no test may change."""
    run = tmp_path_factory.mktemp("runs") / "series"
    pace = [*PACE, "--loop.steps", 40, "--loop.eval-every", 20, "--loop.save-every", 40, "--loop.log-every", 40]
    rate = ["--optimizer.learning-rate", 0.03, "--optimizer.warmup-steps", 0, "--model.dropout", 0.1]
    outcome = command("train", *SIZES, *pace, *rate, "--data.series", folder, "--run.dir", run)
    assert outcome.code == 0, outcome.err
    return run


def test_it_tells_rising_from_falling_series(finished):
    results = results_of(finished)
    assert results["validation_accuracy"] == results["test_accuracy"] == 1.0
    assert seqjax.load_run(finished).vocabulary.names == ("falling", "rising")


def test_evaluate_measures_other_series_of_the_same_classes(finished, folder):
    assert command("evaluate", finished, "--data.series", folder, "--split", "valid", "--name", "again").code == 0
    measured, results = evaluation_of(finished, "again"), results_of(finished)
    assert measured["validation_loss"] == pytest.approx(results["validation_loss"], abs=1e-6)


def test_predict_classifies_a_file_or_every_file_of_a_folder(finished, folder, tmp_path):
    file = folder / "rising" / "03.npy"
    outcome = command("predict", finished, "--input", file)
    assert outcome.code == 0 and outcome.out.startswith("rising\t") and outcome.out.endswith(f"\t{file}\n")
    np.savetxt(tmp_path / "down.csv", np.load(folder / "falling" / "01.npy"), delimiter=",", header="x,y", comments="")
    rows = command("predict", finished, "--input", tmp_path).out.splitlines()
    assert [row.split("\t")[0] for row in rows] == ["falling"]
    np.save(tmp_path / "wide.npy", np.zeros((4, 3), np.float32))
    refused(command("predict", finished, "--input", tmp_path), "wide.npy has 3 features a step, the run reads 2")
    refused(command("predict", finished), "give --input FILE")
    refused(command("predict", finished, "--input", tmp_path / "no.npy"), "no.npy is no file of one item")
