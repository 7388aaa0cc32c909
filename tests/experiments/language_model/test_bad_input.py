"""Every wrong input of the language model's command: one readable line, exit code 2, nothing written, nothing touched."""

import json
import re

import jax
import numpy as np
import pytest

import seqjax
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.folder import RunFolder
from tests.experiments.conftest import contents, refused
from tests.experiments.language_model.conftest import PACE, SIZES, command, words


@pytest.fixture
def here(nowhere):
    """A folder to stand in, with a good text and bad ones."""
    (nowhere / "good.txt").write_text(words(400))
    (nowhere / "empty.txt").write_text("")
    (nowhere / "short.txt").write_text(words(3))
    (nowhere / "latin.txt").write_bytes(b"plain\n" + "caf\u00e9".encode("latin-1") + b"\n")
    (nowhere / "lines").mkdir()
    (nowhere / "lines" / "train.txt").write_text(words(400))
    (nowhere / "lines" / "valid.txt").write_text("cat")
    (nowhere / "nothing").mkdir()
    (nowhere / "kept").mkdir()
    (nowhere / "kept" / "notes.txt").write_text("mine")
    (nowhere / "begun").mkdir()
    (nowhere / "begun" / "config.json").write_text("{}")
    return nowhere


GOOD = ["--data.path", "good.txt"]
TRAIN = {
    "missing text": (["--data.path", "missing.txt"], ["missing.txt", "does not exist"]),
    "empty path": (["--data.path", ""], ["the path is empty"]),
    "no end": ([*GOOD, "--loop.epochs", "inf"], ["loop.epochs is inf, it must be a finite number"]),
    "momentum of 2": ([*GOOD, "--optimizer.b1", 2], ["optimizer.b1 is 2.0, it must be from 0 to 1"]),
    "empty text": (["--data.path", "empty.txt"], ["empty.txt is empty"]),
    "empty folder": (["--data.path", "nothing"], ["nothing holds no text"]),
    "text too short for a batch": (["--data.path", "short.txt"], ["tokens", "batch 2 x length 8 needs 17"]),
    "text that is not UTF-8": (["--data.path", "latin.txt"], ["latin.txt is not UTF-8", "0xe9 at byte offset 9"]),
    "nothing left to validate on": ([*GOOD, "--data.split", 1, 0, 0], ["valid split is empty"]),
    "validation too short": (["--data.path", "lines", "--data.vocabulary", "word"], ["1 tokens", "at least 2"]),
    "shares that are no split": ([*GOOD, "--data.split", 0.5, 0.4, 0.4], ["split is 0.5 0.4 0.4", "sum 1"]),
    "two texts": ([*GOOD, "--data.tfds", "tiny_shakespeare"], ["good.txt", "tiny_shakespeare", "give one"]),
    "prompt outside the vocabulary": ([*GOOD, "--sample.prompt", "the \u00e9"], ["outside the vocabulary", "'\u00e9'"]),
    "temperature": ([*GOOD, "--sample.temperature", -1], ["temperature is -1.0", "at least 0"]),
    "unknown preset": ([*GOOD, "--preset", "huge"], ["unknown preset 'huge'", "tiny, min_char_rnn, karpathy_lstm"]),
    "preset without a name": ([*GOOD, "--preset"], ["--preset", "without a value"]),
    "unknown flag": ([*GOOD, "--model.hiden-size", 8], ["--model.hiden-size"]),
    "no number": ([*GOOD, "--loop.steps", "many"], ["--loop.steps", "many"]),
    "unknown cell": ([*GOOD, "--model.cell", "mamba"], ["mamba", "lstm", "gru", "elman"]),
    "no layers": ([*GOOD, "--model.layers", 0], ["model.layers is 0", "at least 1"]),
    "no units": ([*GOOD, "--model.hidden-size", 0], ["hidden_size", "0"]),
    "tied without equal sizes": ([*GOOD, "--model.tied", "--model.embedding-size", 4], ["tied=True", "4 and 8"]),
    "too much dropout": ([*GOOD, "--model.dropout", 1.5], ["1.5"]),
    "no rows": ([*GOOD, "--data.batch-size", 0], ["batch", "0", "at least 1"]),
    "no steps": ([*GOOD, "--loop.steps", 0], ["loop.steps is 0", "at least 1"]),
    "learning rate": ([*GOOD, "--optimizer.learning-rate", -1], ["learning_rate is -1.0", "above 0"]),
    "order of a count model": ([*GOOD, "--ngrams", 2, 0], ["ngrams is 2 0", "at least 1"]),
    "run folder that exists": ([*GOOD, "--run.dir", "kept"], ["kept exists", "--resume kept"]),
    "run folder below a file": ([*GOOD, "--run.dir", "good.txt/run"], ["good.txt"]),
    "resume of nothing": (["--resume", "missing"], ["nothing to resume", "missing"]),
    "resume of another folder": (["--resume", "kept"], ["nothing to resume", "kept"]),
    "resume before anything was saved": (["--resume", "begun"], ["nothing to resume", "begun", "no checkpoint"]),
    "resume without a folder": (["--resume"], ["--resume", "without a value"]),
    "weights of nothing": ([*GOOD, "--init-from", "kept"], ["kept is no run folder"]),
}


@pytest.mark.parametrize(("flags", "told"), TRAIN.values(), ids=TRAIN.keys())
def test_train_refuses(flags, told, here):
    before = contents(here)
    refused(command("train", *SIZES, *PACE, "--model.embedding-size", "None", *flags), *told)
    assert contents(here) == before
    assert not (here / "runs").exists()


OTHERS = {
    "unknown verb": (["paint"], ["unknown verb 'paint'", "train, sample, eval, demo"]),
    "sample of nothing": (["sample", "missing"], ["missing is no run folder"]),
    "eval of nothing": (["eval", "missing"], ["missing is no run folder"]),
    "eval's unknown split": (["eval", "kept", "--split", "dev"], ["dev", "train", "valid", "test"]),
    "sample's unknown flag": (["sample", "kept", "--heat", 2], ["--heat"]),
    "demo's unknown flag": (["demo", "--presto"], ["--presto"]),
    "demo of a missing text": (["demo", "--data.path", "missing.txt"], ["missing.txt does not exist"]),
}


@pytest.mark.parametrize(("arguments", "told"), OTHERS.values(), ids=OTHERS.keys())
def test_other_verbs_refuse(arguments, told, here):
    before = contents(here)
    refused(command(*arguments), *told)
    assert contents(here) == before


OF_A_RUN = {
    "prompt outside the vocabulary": (["sample", "RUN", "--prompt", "the \u00e9"], ["outside the vocabulary", "'\u00e9'"]),
    "temperature": (["sample", "RUN", "--temperature", -0.5], ["temperature is -0.5"]),
    "top-k": (["sample", "RUN", "--top-k", 0], ["top_k is 0"]),
    "top-p": (["sample", "RUN", "--top-p", 1.5], ["top_p is 1.5"]),
    "length": (["sample", "RUN", "--length", 0], ["max_length is 0"]),
    "another text that is missing": (["eval", "RUN", "--data.path", "missing.txt"], ["missing.txt does not exist"]),
    "two texts": (["eval", "RUN", "--data.path", "good.txt", "--data.tfds", "lm1b"], ["good.txt", "lm1b"]),
    "fewer steps than it has": (["train", "--resume", "RUN", "--loop.steps", 1], ["loop.steps is 1", "at step 4 already"]),
    "two sets of weights": (["train", "--resume", "RUN", "--init-from", "RUN"], ["--resume and --init-from are both given"]),
    "run folder that exists": (["train", *GOOD, *SIZES, *PACE, "--run.dir", "RUN"], ["exists", "--resume"]),
}


@pytest.mark.parametrize(("arguments", "told"), OF_A_RUN.values(), ids=OF_A_RUN.keys())
def test_a_finished_run_is_not_touched(arguments, told, finished, here):
    before = contents(finished[0])
    refused(command(*(finished[0] if part == "RUN" else part for part in arguments)), *told)
    assert contents(finished[0]) == before


def test_eval_of_a_split_that_the_text_has_not(here):
    flags = [*GOOD, *SIZES, *PACE, "--loop.steps", 1, "--data.split", 0.9, 0.1, 0, "--run.dir", "run"]
    assert command("train", *flags).code == 0
    before = contents(here)
    assert "test_loss" not in json.loads((here / "run" / "results.json").read_text())
    refused(command("eval", "run", "--split", "test"), "good.txt has no test split", "train, valid")
    assert contents(here) == before


def test_a_damaged_checkpoint_is_told_and_not_resumed(here):
    assert command("train", *GOOD, *SIZES, *PACE, "--loop.steps", 1, "--run.dir", "run").code == 0
    for array in (here / "run" / "checkpoints" / "last").rglob("d/*"):
        array.write_bytes(bytes(byte ^ 0x10 for byte in array.read_bytes()))
    before = contents(here)
    refused(command("train", "--resume", "run", "--loop.steps", 2), "damaged")
    assert contents(here) == before


def test_in_a_fresh_process_too(as_user, tmp_path):
    done = as_user("-m", "experiments.language_model", "train", "--data.path", "missing.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: missing.txt does not exist: give a UTF-8 text file or a folder of them"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--optimizer.learning-rate", 1e38, "--optimizer.clip-norm", "None"], "the loss or the update"),
        (["--model.init-scale", 1.6e38, "--model.dropout", 0.5], r"the gradient of (\S+)"),
    ],
)
def test_a_loss_that_is_not_finite_is_told_with_its_step_and_gradient(flags, what, here):
    wild = ["--optimizer.name", "sgd", "--optimizer.warmup-steps", 0, "--optimizer.max-nonfinite", 2, *flags]
    outcome = command("train", *GOOD, *SIZES, *PACE, "--loop.steps", 9, "--loop.save-every", 1, *wild, "--run.dir", "run")
    told = [line for line in outcome.err.splitlines() if not line.startswith("step ")]
    assert outcome.code == 2 and len(told) == 1, outcome.err
    where = (here / "run" / "checkpoints" / "last").resolve()
    found = re.fullmatch(
        rf"error: diverged: {what} is not finite since step (\d+) \(seen at step (\d+)\); "
        rf"step (\d+) is kept in {where}; lower the learning rate or clip",
        told[0],
    )
    assert found, told[0]
    *name, first, seen, kept = found.groups()
    assert 1 <= int(first) < int(seen) < 9 and int(kept) == int(seen) - 1
    assert not (here / "run" / "results.json").exists()

    run = seqjax.load_run("run")
    leaves = {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(run.params)}
    assert set(name) <= leaves
    with Checkpoints(RunFolder("run").checkpoints, read_only=True) as checkpoints:
        assert checkpoints.step("last") == int(kept)
        last = checkpoints.params(run.params, "last")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))
