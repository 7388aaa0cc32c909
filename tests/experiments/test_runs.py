"""`experiments.runs`: lists and comparisons, on folders that are written here."""

import contextlib
import csv
import io
import math
import socket

import pytest

from experiments import runs
from experiments.command_line import run_verbs
from experiments.repeats import summary_of
from seqjax.train import RunFolder

LOSSES = {("a", 0): (3.0, 2.0), ("a", 1): (3.2, 2.2), ("b", 0): (2.0, 1.0), ("b", 1): (2.2, 1.4)}  # in the middle and at the end


@pytest.fixture
def four(tmp_path):
    """A folder with two runs of each of two configs; the last has not ended."""
    for (name, seed), losses in LOSSES.items():
        run = RunFolder.create(str(tmp_path / "runs" / name / f"seed-{seed}"), experiment="language_model", preset="tiny")
        config = {"optimizer": {"learning_rate": 0.1 if name == "a" else 0.2}, "seed": seed, "run": {"dir": str(run.dir)}}
        config |= {"monitor": "loss", "data": {"path": None}}
        about = {"experiment": "language_model", "preset": "tiny", "config": config, "model": None, "vocabulary": None}
        run.write_config(about | {"data": {"sha256": "1234"}})
        for step, loss in enumerate(losses, 1):
            about_step = {"step": 5 * step, "epoch": step, "seconds": 2.0 * step, "tokens_per_second": 1.0}
            run.append_metrics(split="train", loss=9.0, gradient_norm=10.0 * loss if seed else math.inf, **about_step)
            run.append_metrics(step=5 * step, split="validation", loss=loss)
        if (name, seed) != ("b", 1):
            run.write_results({"test_loss": losses[-1], "steps": 10, "seed": seed, "data_files": 3, "device": "cpu"})
    return tmp_path / "runs"


def command(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run_verbs(runs.PROGRAM, runs.VERBS, [str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def test_list_tells_the_state_of_each_run(four):
    (four / "b" / "seed-1" / "lock").write_text(f'{{"host": "{socket.gethostname()}"}}')  # of a process that was killed just now
    (four / "broken").mkdir()
    (four / "broken" / "config.json").write_text("{")
    with RunFolder(four / "b" / "seed-0").owned():
        code, out, err = command("list", four)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0 and len(lines) == 5 and "broken" in err and len(err.splitlines()) == 1
    assert [lines[str(four / run)].split()[5] for run in ("a/seed-0", "b/seed-0", "b/seed-1")] == [
        "finished",
        "running",
        "interrupted",
    ]
    assert "language_model  tiny" in lines[str(four / "a/seed-0")] and "test_loss 2" in lines[str(four / "a/seed-0")]


@pytest.mark.parametrize("as_folders", [True, False])
def test_compare_puts_the_seeds_of_a_config_together(four, tmp_path, monkeypatch, as_folders):
    drawn = []
    monkeypatch.setattr(runs, "compared_curves", lambda *args, **kw: (drawn.append((args, kw)), picture(*args, **kw)))
    folders = ["a", "b"] if as_folders else ["a/seed-0", "b/seed-1", "a/seed-1", "b/seed-0"]
    code, out, err = command("compare", *(four / folder for folder in folders), "--out", tmp_path / "out")
    assert code == 0 and not err, err
    assert "optimizer.learning_rate  0.1                0.2" in out and "seed-1: interrupted at step 10" in out
    assert out.count("±") == 2 and "2.1 ± 0.14 (2)" in out and "sha256" not in out  # of test_loss, and 0 of steps
    rows = list(csv.DictReader((tmp_path / "out" / "figures.csv").read_text().splitlines()))
    assert {(row["optimizer.learning_rate"], row["seed"]): row["test_loss"] for row in rows} == {
        ("0.1", "0"): "2.0",
        ("0.1", "1"): "2.2",
        ("0.2", "0"): "1.0",
        ("0.2", "1"): "",
    }
    [[(groups, path), options]] = drawn
    assert {name: len(metrics) for name, metrics in groups.items()} == {"learning rate 0.1": 2, "learning rate 0.2": 2}
    assert options["unit"] == "token" and options["figure"] == "loss" and path.read_bytes().startswith(b"\x89PNG")


picture = runs.compared_curves


def test_the_picture_has_a_line_for_each_run_and_a_mean(four, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (drawn.append(self), save(self, *args, **kw))[1])
    assert command("compare", four / "a", four / "b", "--out", tmp_path, "--x", "seconds", "--gradient")[0] == 0
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in drawn[0].axes[0].lines]
    assert lines[:3] == [([2.0, 4.0], [3.0, 2.0]), ([2.0, 4.0], [3.2, 2.2]), ([2.0, 4.0], [3.1, 2.1])]
    assert drawn[0].axes[0].get_ylim()[1] < 4  # not the first losses in training
    norms = [(list(line.get_xdata()), list(line.get_ydata())) for line in drawn[0].axes[1].lines]
    assert norms == [([], []), ([2.0, 4.0], [32.0, 22.0]), ([], []), ([2.0, 4.0], [22.0, 14.0])]  # a gradient of inf has no place
    told = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert told == ["learning rate 0.1: 2.1 ± 0.14, 2 runs", "learning rate 0.2: 1.2 ± 0.28, 2 runs", "one run", "training, mean"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "no run is named: give run folders"),
        (["compare", "nowhere"], "nowhere holds no run"),
        (["list", "nowhere"], "nowhere is not a folder"),
        (["compare", "runs/a", "--figure", "bleu"], "no run has a validation figure 'bleu'"),
        (["show"], "unknown verb 'show'"),
    ],
)
def test_wrong_arguments_are_refused(four, monkeypatch, arguments, message):
    monkeypatch.chdir(four.parent)
    code, _, err = command(*arguments)
    assert code == 2 and message in err and len(err.splitlines()) == 1


def test_a_summary_leaves_out_figures_that_are_no_numbers():
    rows = [{"a": 1.0, "b": None, "c": True}, {"a": 2, "b": float("nan"), "d": "x"}, {"a": 6.0, "b": 5.0}]
    assert summary_of(rows) == {"a": {"mean": 3.0, "sd": pytest.approx(7**0.5), "n": 3}, "b": {"mean": 5.0, "sd": None, "n": 1}}
