"""Several seeds by one command; the runs themselves are played."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from experiments.command_line import Program
from experiments.repeats import train_seeds
from experiments.session import Folder, Training
from experiments.train_verb import read_config
from seqjax.errors import InputError
from seqjax.train import LoopConfig, RunFolder

CONFIG = Training(seeds=(0, 3), loop=LoopConfig(steps=4))
PROGRAM = Program("demo", {"tiny": Training()})


@pytest.fixture
def played(tmp_path):
    """A function that trains the seeds of a config in tmp_path/seeds; those of `signals` are stopped. It returns them."""

    def train(config=CONFIG, signals=()):
        trained = []

        def main(config, *, preset):
            assert not config.seeds and config.resume_if_there and preset == "tiny"
            trained.append(config.seed)
            folder = RunFolder(config.run.dir)
            if not folder.exists():
                folder = RunFolder.create(config.run.dir, experiment="demo", preset=preset)
            about = {
                "experiment": "demo",
                "preset": preset,
                "config": dataclasses.asdict(config),
                "model": None,
                "vocabulary": None,
            }
            folder.write_config(about)
            if config.seed in signals:
                return SimpleNamespace(results={}, stopped_by=15)
            results = {"loss": 1.0 + config.seed, "steps": config.loop.steps, "seed": config.seed, "device": "cpu"}
            folder.write_results(results)
            return SimpleNamespace(results=results, stopped_by=None)

        config = dataclasses.replace(config, run=Folder(str(tmp_path / "seeds")))
        return train_seeds(config, PROGRAM, main, preset="tiny"), trained

    return train


def test_seeds_end_in_a_summary_and_the_same_command_continues(played, tmp_path, capsys):
    assert played(signals=(3,)) == (15, [0, 3])
    assert "the same command with --run.dir" in capsys.readouterr().out
    assert played() == (None, [3])
    summary = json.loads((tmp_path / "seeds" / "summary.json").read_text())
    assert summary["figures"]["loss"] == {"mean": 2.5, "sd": pytest.approx(4.5**0.5), "n": 2}
    assert [(row["seed"], row["dir"], row["loss"]) for row in summary["runs"]] == [(0, "seed-0", 1.0), (3, "seed-3", 4.0)]
    assert "loss 2.5 ± 2.1 (2)" in capsys.readouterr().out
    assert played() == (None, [])
    assert played(dataclasses.replace(CONFIG, seeds=(0, 3, 1))) == (None, [1])
    assert played(dataclasses.replace(CONFIG, loop=LoopConfig(steps=5))) == (None, [0, 3])  # more steps


def test_other_runs_are_not_mixed_with_them(played, tmp_path):
    played()
    with pytest.raises(InputError, match="holds runs with another monitor"):
        played(dataclasses.replace(CONFIG, monitor="bleu"))
    with pytest.raises(InputError, match="holds the runs of several seeds"):
        read_config(["--resume", str(tmp_path / "seeds")], PROGRAM)

    def refuse(config, *, preset):
        raise InputError("the text is empty")

    config = dataclasses.replace(CONFIG, run=Folder(str(tmp_path / "none")))
    with pytest.raises(InputError, match="the text is empty"):
        train_seeds(config, PROGRAM, refuse, preset="tiny")
    assert not (tmp_path / "none").exists()  # nothing has begun
    with pytest.raises(InputError, match="--seeds and --resume are both given"):
        played(dataclasses.replace(CONFIG, resume="runs/a"))
    with pytest.raises(InputError, match="seeds is 1 1, they must be different numbers"):
        Training(seeds=(1, 1))
