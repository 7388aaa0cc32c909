"""Every wrong input of the classifier's command: one readable line, exit code 2, nothing written, nothing touched."""

import pytest

from tests.experiments.conftest import contents, refused
from tests.experiments.sequence_classification.conftest import PACE, SIZES, command, lines


@pytest.fixture
def here(nowhere):
    """The current folder, with good tables and bad ones."""
    (nowhere / "good.tsv").write_text(lines(40))
    (nowhere / "other.tsv").write_text("2\ta film\n")
    (nowhere / "empty.tsv").write_text("\n")
    (nowhere / "columns.tsv").write_text("0\tone\ttwo\n")
    (nowhere / "latin.tsv").write_bytes("0\té\n".encode("latin-1"))
    return nowhere


GOOD = ["--data.train", "good.tsv"]
TRAIN = {
    "a missing table": (["--data.train", "missing.tsv"], ["missing.tsv does not exist"]),
    "an empty table": (["--data.train", "empty.tsv"], ["empty.tsv holds no line"]),
    "three columns": (["--data.train", "columns.tsv"], ["columns.tsv has 3 columns in line 1"]),
    "another encoding": (["--data.train", "latin.tsv"], ["latin.tsv is not UTF-8 text"]),
    "a class that is only in test": ([*GOOD, "--data.test", "other.tsv"], ["labels that training has not: 2"]),
    "test without train": (["--data.test", "good.tsv"], ["without --data.train"]),
    "columns without a table": (["--data.columns", 2, 1], ["--data.columns 2 1", "give --data.train TABLE"]),
    "a header without a table": (["--data.header", "skip"], ["--data.header skip", "give --data.train TABLE"]),
    "two sources": ([*GOOD, "--data.strokes", "x.zip"], ["--data.train and --data.strokes are given: give one"]),
    "a missing zip": (["--data.strokes", "missing.zip"], ["missing.zip"]),
    "missing series": (["--data.series", "missing.npz"], ["missing.npz"]),
    "shares": ([*GOOD, "--data.split", 0.5, 0.5, 0.5], ["it must be three shares"]),
    "names": ([*GOOD, "--data.names", "good"], ["data.names has 'good': give label=name"]),
    "no rows": ([*GOOD, "--data.batch-size", 0], ["--data.batch-size is 0"]),
    "no words": ([*GOOD, "--data.min-count", 99], ["--data.min-count 99"]),
    "no length": ([*GOOD, "--data.max-length", 0], ["--data.max-length is 0"]),
    "all words unknown": ([*GOOD, "--data.word-dropout", 1], ["--data.word-dropout is 1.0"]),
    "no layer": ([*GOOD, "--model.layers", 0], ["model.layers is 0"]),
    "a rate": ([*GOOD, "--model.dropout", 1.5], ["--model.dropout is 1.5"]),
    "no filters": ([*GOOD, "--model.kind", "convolutional", "--model.channels", 0], ["--model.channels is 0"]),
    "an unknown kind": ([*GOOD, "--model.kind", "magic"], ["magic", "recurrent"]),
    "no kept checkpoint": ([*GOOD, "--keep", 0], ["keep is 0"]),
}


@pytest.mark.parametrize(("flags", "messages"), TRAIN.values(), ids=TRAIN)
def test_wrong_training_is_refused(here, flags, messages):
    before = contents(here)
    refused(command("train", *SIZES, *PACE, "--run.dir", "new", *flags), *messages)
    assert contents(here) == before and not (here / "new").exists()


USE = {
    "no run": (["evaluate", "nowhere"], ["nowhere is not a run folder"]),
    "no such split": (["evaluate", "RUN", "--split", "dev"], ["dev"]),
    "a table of other classes": (["evaluate", "RUN", "--data.test", "other.tsv"], ["labels that training has not: 2"]),
    "a name with a folder": (["evaluate", "RUN", "--name", "a/b"], ["a/b is not a plain file name"]),
    "no class": (["predict", "RUN", "--top", 0], ["--top is 0"]),
    "a missing file": (["predict", "RUN", "--input", "missing.txt"], ["missing.txt does not exist"]),
    "bytes that are no text": (["predict", "RUN", "--input", "latin.tsv"], ["latin.tsv is not UTF-8 text"]),
    "another experiment": (["predict", "OTHER"], ["is not a run of this experiment"]),
    "an unknown verb": (["translate", "RUN"], ["unknown verb 'translate'", "predict"]),
}


@pytest.mark.parametrize(("arguments", "messages"), USE.values(), ids=USE)
def test_wrong_use_of_a_run_is_refused(here, finished, request, arguments, messages):
    folder = finished[0]
    if "OTHER" in arguments:
        arguments = [request.getfixturevalue("tiny_run") if each == "OTHER" else each for each in arguments]
    before = contents(folder)
    refused(command(*[folder if each == "RUN" else each for each in arguments]), *messages)
    assert contents(folder) == before
