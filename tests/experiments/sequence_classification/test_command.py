"""The classifier's verbs: they train, measure and answer, and what they print agrees with what a loaded run computes."""

import io
import json
import re

import numpy as np
import pytest

import seqjax
from experiments.sequence_classification.config import Data
from experiments.sequence_classification.sequences import load_sequences
from tests.experiments.conftest import evaluation_of, results_of
from tests.experiments.sequence_classification.conftest import CONVOLUTIONAL, PACE, SIZES, command, lines


def probabilities(folder, text: str) -> dict[str, float]:
    """The probabilities of a text's classes, by one call of the model."""
    run = seqjax.load_run(folder)
    words, classes = run.vocabulary
    tokens = words.encode(text)
    scores = run.model.probabilities(run.params, {"tokens": tokens[None], "tokens_lengths": np.array([len(tokens)], np.int32)})
    return dict(zip(classes.names, np.asarray(scores[0], float).tolist(), strict=True))


def test_training_writes_its_figures_and_pictures(finished):
    folder, outcome = finished
    results = results_of(folder)
    for split in ("validation", "test"):
        assert results[f"{split}_loss"] > 0 and 0 <= results[f"{split}_mean_class_accuracy"] <= 1
    assert results["test_early_accuracy"][-1] == results["test_accuracy"] <= 1
    assert results["data_train_lines"] + results["data_valid_lines"] + results["data_test_lines"] == 60
    assert {"curves.png", "confusion-test.png", "early-test.png"} <= {path.name for path in folder.iterdir()}
    assert re.search(r"data: .*films\.tsv, \d+ train, \d+ valid, \d+ test; 2 classes, \d+ words", outcome.out)
    assert seqjax.load_run(folder).vocabulary[1].names == ("bad", "good")


@pytest.mark.slow
def test_it_learns_which_words_tell_the_class(tmp_path, train):
    pace = ["--loop.steps", 100, "--loop.eval-every", 50, "--loop.log-every", 100, "--loop.save-every", 100]
    flags = [
        "--optimizer.learning-rate",
        0.03,
        *CONVOLUTIONAL,
        "--model.channels",
        8,
        "--optimizer.warmup-steps",
        0,
    ]
    outcome = train(tmp_path / "run", *pace, *flags)
    assert outcome.code == 0, outcome.err
    assert results_of(tmp_path / "run")["validation_accuracy"] == 1.0
    answers = command("predict", tmp_path / "run", stdin=b"a SUPERB film 3\n\nthe plot poor 4\n")
    assert [line.split("\t")[0] for line in answers.out.splitlines()] == ["good", "", "bad"]


def test_evaluate_measures_the_same_as_training(finished):
    folder, _ = finished
    outcome = command("evaluate", folder, "--split", "valid")
    assert outcome.code == 0, outcome.err
    measured, results = evaluation_of(folder, "valid"), results_of(folder)
    for name in ("validation_loss", "validation_accuracy", "validation_mean_class_accuracy"):
        assert measured[name] == pytest.approx(results[name], abs=1e-6)
    assert list(folder.glob("confusion-valid-*.png")) and outcome.out.splitlines()[-1].endswith(".json")


def test_evaluate_measures_another_table_alone(finished, tmp_path):
    folder, table = finished[0], tmp_path / "others.tsv"
    table.write_text(lines(9, seed=3))
    outcome = command("evaluate", folder, "--data.test", table, "--name", "others")
    assert outcome.code == 0, outcome.err
    measured, right = evaluation_of(folder, "others"), 0
    for row in table.read_text().splitlines():
        label, text = row.split("\t")
        scores = probabilities(folder, text)
        right += max(scores, key=lambda name: scores[name]) == {"0": "good", "1": "bad"}[label]
    assert measured["test_accuracy"] == pytest.approx(right / 9) and measured["data_lines"] == 9


def test_predict_gives_the_probabilities_of_every_line(finished, tmp_path):
    folder, text = finished[0], tmp_path / "lines.txt"
    text.write_text("A Fine film\n\ndull, dull!\n")
    outcome = command("predict", folder, "--input", text, "--top", 2)
    assert outcome.code == 0, outcome.err
    rows = outcome.out.splitlines()
    assert rows[1] == "" and [row.split("\t")[-1] for row in rows] == ["A Fine film", "", "dull, dull!"]
    for row, words in ((rows[0], "a fine film"), (rows[2], "dull , dull !")):
        first, p, second, q, _ = row.split("\t")
        expected = probabilities(folder, words)
        assert (float(p), float(q)) == pytest.approx((expected[first], expected[second]), abs=1e-3) and float(p) >= float(q)
    assert command("predict", folder, "--top", 2, stdin=text.read_bytes()).out == outcome.out
    typed = command("predict", folder, "--top", 2, typed=text.read_bytes())
    assert (typed.code, typed.out) == (0, outcome.out) and "a line to classify" in typed.err


@pytest.mark.slow
def test_texts_are_cut_as_in_training_unless_a_flag_says_otherwise(finished, tmp_path):
    folder, words = finished[0], ["good", "film", "plot", "bad", "dull", "film"]
    assert results_of(folder)["data_max_length"] == 200
    cut, whole = " ".join(["film"] * 200), " ".join(["film"] * 200 + 40 * words)
    outcome = command("predict", folder, "--top", 1, stdin=f"{whole}\n".encode())
    first, p, _ = outcome.out.split("\t")
    assert float(p) == pytest.approx(probabilities(folder, cut)[first], abs=1e-3)
    assert float(p) != pytest.approx(probabilities(folder, whole)[first], abs=1e-3)
    table = tmp_path / "long.tsv"
    table.write_text(f"0\t{whole}\n")
    for flags, text, name in (([], cut, "cut"), (["--data.max-length", 900], whole, "whole")):
        outcome = command("evaluate", folder, "--data.test", table, "--name", name, *flags)
        assert outcome.code == 0, outcome.err
        assert evaluation_of(folder, name)["test_loss"] == pytest.approx(-np.log(probabilities(folder, text)["good"]), abs=1e-4)


@pytest.mark.slow
def test_an_ensemble_averages_probabilities(finished, train, tmp_path):
    folder, other = finished[0], tmp_path / "other"
    assert train(other, "--data.word-dropout", 0.2, "--seed", 1, *CONVOLUTIONAL).code == 0
    outcome = command("predict", folder, "--ensemble", other, "--top", 2, stdin=b"fine film\n")
    first, p, *_ = outcome.out.split("\t")
    expected = np.mean([probabilities(run, "fine film")[first] for run in (folder, other)])
    assert float(p) == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_the_default_data_are_lines_of_the_library(tmp_path):
    flags = [
        "--preset",
        "tiny",
        *SIZES,
        *PACE,
        "--loop.steps",
        1,
        "--run.dir",
        tmp_path / "run",
        "--data.max-size",
        50,
        "--data.max-length",
        3,
    ]
    outcome = command("train", *flags, "--data.batch-size", 500)
    assert outcome.code == 0, outcome.err
    assert re.search(r"data: Python's library, [\d,]+ train.*20 classes, 50 words", outcome.out)
    assert 0 <= results_of(tmp_path / "run")["test_hit_at_5"] <= 1


def test_texts_become_words_as_the_flags_say(table):
    data = Data(train=str(table), lowercase=False, max_length=2, names=("0=good", "1=bad"))
    sequences = load_sequences(data)
    assert {len(row) for row in sequences.splits["train"].inputs["tokens"]} == {2}
    assert sequences.classes.names == ("bad", "good")
    again = load_sequences(data, sequences.saved)
    assert again.splits["train"].identity == sequences.splits["train"].identity
    shifted = load_sequences(Data(train=str(table), names=("0=same", "1=same")))
    assert shifted.classes.names == ("same",) and set(shifted.splits["train"].labels) == {0}


def test_word_dropout_replaces_training_words_only(table):
    data = Data(train=str(table), word_dropout=0.5)
    sequences = load_sequences(data)
    batch = sequences.stream(data, seed=0).batch(0)
    real = np.arange(batch["tokens"].shape[1]) < batch["tokens_lengths"][:, None]
    share = (batch["tokens"][real] == sequences.words.unknown).mean()
    assert 0.3 < share < 0.7
    held_out = [row for row in sequences.batches("valid", batch_size=8)]
    assert sum(((row["tokens"] == 1) & (row["index"][:, None] >= 0)).sum() for row in held_out) < 0.3 * sum(
        row["tokens_lengths"].sum() for row in held_out
    )


def test_results_are_plain_json(finished):
    text = (finished[0] / "results.json").read_text()
    json.load(io.StringIO(text), parse_constant=lambda name: pytest.fail(name))
