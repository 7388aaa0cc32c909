"""Every wrong input of the language model's command: one readable line, exit code 2, nothing written, nothing touched."""

import json
import math
import os
import re
import sys

import jax
import numpy as np
import pytest

import seqjax
from experiments.language_model.config import Config, Data, Network, build_model
from experiments.language_model.text import load_text
from experiments.limits import checked
from experiments.sampling import Output, Sampling, draw
from experiments.vocabularies import earlier_vocabulary
from seqjax.data.text.characters import CharacterVocabulary
from seqjax.errors import InputError
from seqjax.serial import to_json
from seqjax.train import LoopConfig, OptimizerConfig
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.folder import RunFolder
from tests.experiments.conftest import contents, figures_of, refused
from tests.experiments.language_model.conftest import PACE, SIZES, command, words

LETTERS = CharacterVocabulary.from_text("the cat")


@pytest.fixture
def here(nowhere):
    """The current folder, with a good text and bad ones."""
    (nowhere / "good.txt").write_text(words(400))
    (nowhere / "empty.txt").write_text("")
    (nowhere / "short.txt").write_text(words(3))
    (nowhere / "latin.txt").write_bytes(b"plain\n" + "caf\u00e9".encode("latin-1") + b"\n")
    (nowhere / "lines").mkdir()
    (nowhere / "lines" / "train.txt").write_text(words(400))
    (nowhere / "lines" / "valid.txt").write_text("cat")
    (nowhere / "nothing").mkdir()
    (nowhere / "ten.txt").write_text("ten bytes.")
    (nowhere / "pictures").mkdir()
    (nowhere / "pictures" / "a.png").write_bytes(b"\x89PNG\r\n")
    (nowhere / "pairs").mkdir()
    pair = {"preset": "tiny", "config": {}, "model": {}, "vocabulary": [to_json(LETTERS)] * 2}
    RunFolder(nowhere / "pairs").write_config(pair)
    (nowhere / "kept").mkdir()
    (nowhere / "kept" / "notes.txt").write_text("mine")
    (nowhere / "begun").mkdir()
    (nowhere / "begun" / "config.json").write_text("{}")
    return nowhere


GOOD = ["--data.path", "good.txt"]
TRAIN = {  # one of each kind of message goes through the command
    "missing text": (["--data.path", "missing.txt"], ["missing.txt", "does not exist"]),
    "text too short for a batch": (["--data.path", "short.txt"], ["tokens", "batch 2 x length 8 needs 17"]),
    "prompt outside the vocabulary": ([*GOOD, "--sample.prompt", "the \u00e9"], ["outside the vocabulary", "'\u00e9'"]),
    "unknown preset": ([*GOOD, "--preset", "huge"], ["unknown preset 'huge'", "tiny, min_char_rnn, karpathy_lstm"]),
    "preset without a name": ([*GOOD, "--preset"], ["--preset", "has no value"]),
    "unknown flag": ([*GOOD, "--model.hiden-size", 8], ["--model.hiden-size"]),
    "no number": ([*GOOD, "--loop.steps", "many"], ["--loop.steps", "many"]),
    "unknown cell": ([*GOOD, "--model.cell", "mamba"], ["--model.cell: mamba is not known", "LSTM", "GRU", "Elman"]),
    "no layers": ([*GOOD, "--model.layers", 0], ["--model.layers is 0", "from 1 to 1000"]),
    "no steps": ([*GOOD, "--loop.steps", 0], ["loop.steps is 0", "at least 1"]),
    "run folder with other files": ([*GOOD, "--run.dir", "kept"], ["kept exists and is not empty", "another folder"]),
    "run folder below a file": ([*GOOD, "--run.dir", "good.txt/run"], ["good.txt"]),
    "resume of nothing": (["--resume", "missing"], ["nothing to resume", "missing"]),
    "resume of another folder": (["--resume", "kept"], ["nothing to resume", "kept"]),
    "resume of half a config": (["--resume", "begun"], ["begun/config.json is damaged", "no preset, config, model"]),
    "resume elsewhere": (["--resume", "begun", "--run.dir", "other"], ["damaged"]),
    "resume if there is no folder": ([*GOOD, "--resume-if-there"], ["--resume-if-there", "--run.dir"]),
    "resume without a folder": (["--resume"], ["--resume", "has no value"]),
    "weights of nothing": ([*GOOD, "--init-from", "kept"], ["kept is not a run folder"]),
}


@pytest.mark.parametrize(("flags", "messages"), TRAIN.values(), ids=TRAIN.keys())
def test_train_refuses(flags, messages, here):
    before = contents(here)
    refused(command("train", *SIZES, *PACE, "--model.embedding-size", "None", *flags), *messages)
    assert contents(here) == before
    assert not (here / "runs").exists()


CONFIGS = {  # the others are raised by the same functions that the command calls
    "no end": (lambda: LoopConfig(epochs=math.inf), "loop.epochs is inf, it must be above 0 and finite"),
    "momentum of 2": (lambda: OptimizerConfig(b1=2.0), "optimizer.b1 is 2.0, it must be from 0 to 1"),
    "learning rate": (lambda: OptimizerConfig(learning_rate=-1.0), "learning_rate is -1.0, it must be above 0"),
    "order of an n-gram model": (lambda: Config(ngrams=(2, 0)), "ngrams is 2 0, each must be from 1 to 1000"),
    "no checkpoint kept": (lambda: Config(keep=0), "keep is 0, it must be from 1 to"),
    "no units": (lambda: build_model(Network(hidden_size=0), LETTERS), "hidden_size"),
    "tied without equal sizes": (
        lambda: build_model(Network(tied=True, embedding_size=4), LETTERS),
        "a tied projection needs embedding_size equal",
    ),
    "too much dropout": (lambda: build_model(Network(dropout=1.5), LETTERS), "1.5"),
    "no rows": (lambda: load_text(Data(path="good.txt")).stream(Data(batch_size=0), 0), "batch"),
    "empty path": (lambda: load_text(Data(path="")), "the path is empty"),
    "empty text": (lambda: load_text(Data(path="empty.txt")), "empty.txt is empty"),
    "empty folder": (lambda: load_text(Data(path="nothing")), "nothing holds no text"),
    "text that is not UTF-8": (lambda: load_text(Data(path="latin.txt")), "latin.txt is not UTF-8.*0xe9 at byte offset 9"),
    "nothing left to validate on": (lambda: load_text(Data(path="good.txt", split=(1, 0, 0))), "valid split is empty"),
    "validation too short": (
        lambda: load_text(Data(path="lines", vocabulary="word")).held_out("valid", Data()),
        "1 tokens.*at least 2",
    ),
    "a folder of pictures": (lambda: load_text(Data(path="pictures")), "a.png is not UTF-8 text.*choose files by include"),
    "ten bytes": (lambda: load_text(Data(path="ten.txt")).stream(Data(), 0), "9 tokens, batch 32 x length 64 needs 2049"),
    "one run's vocabulary for another's kind": (
        lambda: earlier_vocabulary(Config(data=Data(vocabulary_from="pairs"))),
        "the run in pairs has 2, not 1 vocabularies: give the folder of a run that has 1",
    ),
    "a vocabulary of another language": (
        lambda: load_text(Data(path="good.txt", vocabulary_from="RUN"), CharacterVocabulary.from_text("\u4e2d \n")),
        r"the vocabulary does not fit this text: 7\d\.\d+% .* the vocabulary of RUN lacks \d+ different ones, such as 'a' 'b'",
    ),
    "shares that are no split": (lambda: load_text(Data(path="good.txt", split=(0.5, 0.4, 0.4))), "split is 0.5 0.4 0.4.*sum 1"),
    "two texts": (lambda: load_text(Data(path="good.txt", tfds="tiny_shakespeare")), "good.txt.*tiny_shakespeare.*give one"),
    "no sample": (lambda: checked(Output(samples=0)), "samples is 0, it must be from 1 to"),
    "an output that exists": (lambda: Output(output="good.txt"), "--output good.txt exists: name a new file"),
    "two prompts": (
        lambda: Output(prompt_file="good.txt").with_prompt(Sampling(prompt="a")),
        "--prompt 'a' and --prompt-file good.txt are both given",
    ),
    "a prompt in another encoding": (
        lambda: Output(prompt_file="latin.txt").with_prompt(Sampling()),
        "latin.txt is not UTF-8 text: 0xe9",
    ),
    "an empty stop": (lambda: Sampling(stop=("a", "")), "stop has an empty text"),
    "temperature": (
        lambda: draw(build_model(Network(hidden_size=2), LETTERS), LETTERS, {}, Sampling(temperature=-1.0)),
        "temperature is -1.0.*at least 0",
    ),
}


@pytest.mark.parametrize(("make", "message"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_is_refused_before_anything_is_written(make, message, here):
    before = contents(here)
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
    assert contents(here) == before


OTHERS = {
    "unknown verb": (["paint"], ["unknown verb 'paint'", "train, evaluate, sample, demo"]),
    "sample of nothing": (["sample", "missing"], ["missing is not a run folder"]),
    "evaluation of nothing": (["evaluate", "missing"], ["missing is not a run folder"]),
    "an unknown split": (["evaluate", "kept", "--split", "dev"], ["dev", "train", "valid", "test"]),
    "sample's unknown flag": (["sample", "kept", "--heat", 2], ["--heat"]),
    "demo's unknown flag": (["demo", "--presto"], ["--presto"]),
    "demo of a missing text": (["demo", "--data.path", "missing.txt"], ["missing.txt does not exist"]),
}


@pytest.mark.parametrize(("arguments", "messages"), OTHERS.values(), ids=OTHERS.keys())
def test_other_verbs_refuse(arguments, messages, here):
    before = contents(here)
    refused(command(*arguments), *messages)
    assert contents(here) == before


OF_A_RUN = {
    "prompt outside the vocabulary": (["sample", "RUN", "--prompt", "the \u00e9"], ["outside the vocabulary", "'\u00e9'"]),
    "length": (["sample", "RUN", "--length", 0], ["--length is 0"]),
    "a name in another folder": (["evaluate", "RUN", "--name", "../x"], ["--name ../x is not a plain file name"]),
    "more checkpoints than there are": (["sample", "RUN", "--average", 3], ["keeps 1 checkpoints", "an average of 3"]),
    "another text that is missing": (["evaluate", "RUN", "--data.path", "missing.txt"], ["missing.txt does not exist"]),
    "two texts": (["evaluate", "RUN", "--data.path", "good.txt", "--data.tfds", "lm1b"], ["good.txt", "lm1b"]),
    "a vocabulary that it has": (
        ["evaluate", "RUN", "--data.vocabulary", "byte"],
        ["--data.vocabulary is a setting of"],
    ),
    "no run in an ensemble": (["sample", "RUN", "--ensemble"], ["--ensemble has no value: give at least one"]),
    "fewer steps than it has": (["train", "--resume", "RUN", "--loop.steps", 1], ["loop.steps is 1", "at step 4 already"]),
    "two sets of weights": (["train", "--resume", "RUN", "--init-from", "RUN"], ["--resume and --init-from are both given"]),
    "run folder that exists": (["train", *GOOD, *SIZES, *PACE, "--run.dir", "RUN"], ["exists", "--resume"]),
}


@pytest.mark.parametrize(("arguments", "messages"), OF_A_RUN.values(), ids=OF_A_RUN.keys())
def test_a_finished_run_is_not_touched(arguments, messages, finished, here):
    before = contents(finished[0])
    refused(command(*(finished[0] if part == "RUN" else part for part in arguments)), *messages)
    assert contents(finished[0]) == before


def test_evaluation_of_a_split_that_the_text_lacks(here):
    flags = [*GOOD, *SIZES, *PACE, "--loop.steps", 1, "--data.split", 0.9, 0.1, 0, "--run.dir", "run"]
    assert command("train", *flags).code == 0
    before = contents(here)
    assert "test_loss" not in json.loads((here / "run" / "results.json").read_text())
    refused(command("evaluate", "run", "--split", "test"), "good.txt has no test split", "train, valid")
    assert contents(here) == before


def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(here):
    def damage(which):
        for array in (here / "run" / "checkpoints" / which).rglob("d/*"):
            array.write_bytes(bytes(byte ^ 0x10 for byte in array.read_bytes()))

    assert command("train", *GOOD, *SIZES, *PACE, "--loop.steps", 1, "--run.dir", "run").code == 0
    damage("last")
    resumed = command("train", "--resume", "run", "--loop.steps", 2)
    assert resumed.code == 0, resumed.err
    assert re.search(r"^warning: checkpoint .*last/1 is damaged.*: going on from best/1$", resumed.err, re.MULTILINE)
    assert command("train", *GOOD, *SIZES, *PACE, "--loop.steps", 2, "--run.dir", "whole").code == 0
    assert figures_of(here / "run")[-1] == figures_of(here / "whole")[-1]

    damage("last"), damage("best")
    before = contents(here)
    refused(command("train", "--resume", "run", "--loop.steps", 3), "damaged", "no other checkpoint is whole")
    refused(command("sample", "run"), "best/2 is damaged")
    refused(command("sample", "run", "--checkpoint", "last"), "last/2 is damaged")
    assert contents(here) == before


def test_in_a_fresh_process_too(as_user, tmp_path):
    done = as_user("-m", "experiments.language_model", "train", "--data.path", "missing.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: missing.txt does not exist: give a UTF-8 text file or a folder of them"]
    assert not list(tmp_path.iterdir())


def test_in_another_locale_python_is_started_anew_in_utf8(monkeypatch):
    started, typed = [], "caf\u00e9".encode().decode("ascii", "surrogateescape")  # as in the locale C
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.language_model", "sample", typed])
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    assert command("sample", typed).code == 2  # where Python goes on
    assert started == [(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])]
    refused(command("sample", "caf\udce9"), "the argument 'caf\\udce9' is not UTF-8 text: give UTF-8")
    assert len(started) == 1


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--optimizer.learning-rate", 1e38, "--optimizer.clip-norm", "None"], "the loss or the update"),
        (["--model.init-scale", 1.6e38, "--model.dropout", 0.5], r"the gradient of (\S+)"),
    ],
)
def test_a_loss_that_is_not_finite_is_reported_with_its_step_and_gradient(flags, what, here):
    wild = ["--optimizer.name", "sgd", "--optimizer.warmup-steps", 0, "--optimizer.max-nonfinite", 2, *flags]
    outcome = command("train", *GOOD, *SIZES, *PACE, "--loop.steps", 9, "--loop.save-every", 1, *wild, "--run.dir", "run")
    lines = [line for line in outcome.err.splitlines() if not line.startswith(("step ", "compiling "))]
    assert outcome.code == 2 and len(lines) == 1, outcome.err
    where = (here / "run" / "checkpoints" / "last").resolve()
    message = re.fullmatch(
        rf"error: diverged: {what} has not been finite since step (\d+) \(noticed at step (\d+)\); "
        rf"step (\d+) is kept in {where}; lower the learning rate or clip",
        lines[0],
    )
    assert message, lines[0]
    *name, first, noticed, saved = message.groups()
    assert 1 <= int(first) < int(noticed) < 9 and int(saved) == int(noticed) - 1
    assert not (here / "run" / "results.json").exists()

    run = seqjax.load_run("run")
    leaves = {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(run.params)}
    assert set(name) <= leaves
    with Checkpoints(RunFolder("run").checkpoints, read_only=True) as checkpoints:
        assert checkpoints.step("last") == int(saved)
        last = checkpoints.params(run.params, "last")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))
