"""Training through the real command: files, the bag of frames, exact resumption, folds, and the presets."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import seqjax
from experiments.action_recognition.config import PRESETS
from experiments.action_recognition.data import load_actions
from experiments.action_recognition.model import build_model
from experiments.groups import Augmentation
from experiments.labelled import Labelled
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.errors import InputError
from seqjax.models import Classifier, FrameClassifier
from tests.experiments.action_recognition.conftest import PACE, SIZES, command
from tests.experiments.conftest import Interrupt, contents, figures_of, refused, results_of


def test_a_run_learns_the_order_that_a_bag_of_frames_cannot_see(finished):
    folder, outcome = finished
    results = results_of(folder)
    assert results["test_accuracy"] >= 0.9 and results["bag_of_frames_test_accuracy"] <= 0.75
    assert results["data_items"] == 48 and results["early_accuracy"][-1] == results["test_accuracy"]
    for name in ("timeline.png", "confusion-test.png", "early-test.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "clips.npz, 2 classes; clips: " in outcome.out and outcome.out.splitlines()[-1] == str(folder)
    run = seqjax.load_run(folder)
    assert run.vocabulary == Labels(names=("rise", "fall")) and isinstance(run.model, Classifier)


def test_steps_have_their_own_figures(by_step):
    results = results_of(by_step)
    assert {f"test_{name}" for name in ("accuracy", "edit", "f1_10", "f1_50", "map_10", "map_50")} <= results.keys()
    assert isinstance(seqjax.load_run(by_step).model, FrameClassifier)


def test_a_resumed_run_equals_one_that_was_not_stopped(train, nowhere, no_pictures, monkeypatch):
    assert train("whole").code == 0
    with monkeypatch.context() as patch:
        Interrupt(patch, step=4)
        outcome = train("parts")
    assert outcome.code == 143 and "stopped after step 4 of 6" in outcome.out
    assert command("train", "--resume", "parts").code == 0
    whole, parts = (figures_of(nowhere / name) for name in ("whole", "parts"))
    drop = ("clips_per_second",)
    assert [{k: v for k, v in line.items() if k not in drop} for line in whole if line["split"] == "validation"] == [
        {k: v for k, v in line.items() if k not in drop} for line in parts if line["split"] == "validation"
    ]
    assert results_of(nowhere / "whole")["test_accuracy"] == results_of(nowhere / "parts")["test_accuracy"]
    refused(command("train", "--resume", "parts", "--model.hidden-size", 9), "--model.hidden-size")


def fold_command(files, *flags):
    data = ["--data.path", files / "clips.npz", *SIZES, *PACE, "--loop.steps", 3, "--data.split", 1, 0, 0]
    return command("folds", *data, "--run.dir", "folds", *flags)


@pytest.mark.slow
def test_folds_train_every_person_left_out_and_continue(files, nowhere, no_pictures, monkeypatch):
    (nowhere / "folds").write_text("a file")
    refused(fold_command(files), "folds cannot be made: File exists")
    (nowhere / "folds").unlink()
    (nowhere / "folds").mkdir()  # as after an interruption before anything was written
    with monkeypatch.context() as patch:
        Interrupt(patch, step=2)
        outcome = fold_command(files)
    assert outcome.code == 143 and "stopped in folds/person0-seed0" in outcome.out
    outcome = fold_command(files)
    assert outcome.code == 0, outcome.err
    summary = json.loads((nowhere / "folds" / "folds.json").read_text())
    rows = summary["runs"]
    assert [row["fold"] for row in rows] == [f"person{n}" for n in range(3)]
    for row in rows:
        assert row["test_accuracy"] == results_of(nowhere / "folds" / row["dir"])["test_accuracy"]
        assert row["data_sha256"] and not any(name.startswith("validation") for name in row)
    assert summary["mean"]["test_accuracy"] == pytest.approx(np.mean([row["test_accuracy"] for row in rows]))
    assert f"mean             {summary['mean']['test_accuracy']:.4f}" in outcome.out

    before = contents(nowhere / "folds")
    again = fold_command(files, "--seeds", 0)
    after = contents(nowhere / "folds")
    assert again.code == 0 and {name for name in before if before[name] != after[name]} == {"folds.json"}
    refused(fold_command(files, "--model.hidden-size", 4), "folds holds runs with another --model.hidden-size")
    refused(fold_command(files, "--seeds", 0, 0), "seeds is 0 0, they must be different numbers")
    (nowhere / "folds" / "folds.json").rename(nowhere / "folds.json")
    refused(fold_command(files), "folds exists and holds no folds.json")
    (nowhere / "folds.json").rename(nowhere / "folds" / "folds.json")

    evaluated = command("evaluate", "folds", "--ensemble", "folds")
    assert evaluated.code == 0, evaluated.err
    mean = next(line for line in evaluated.out.split("mean of 3 runs")[1].splitlines() if line.startswith("test_accuracy"))
    assert float(mean.split()[1]) == pytest.approx(summary["mean"]["test_accuracy"], abs=1e-4)
    shutil.rmtree(nowhere / "folds" / "person2-seed0")
    refused(command("evaluate", "folds"), "folds/person2-seed0 is no finished run")


@pytest.mark.slow
def test_the_default_data_need_no_download(nowhere):
    flags = ["--data.count", 24, 12, 12, "--model.channels", 4, "--model.hidden-size", 8, "--loop.steps", 2]
    outcome = command("train", "--preset", "tiny", *flags, "--run.dir", "run")
    assert outcome.code == 0, outcome.err
    results = results_of(nowhere / "run")
    assert 0 <= results["bag_of_frames_test_accuracy"] < 0.6 and results["test_hit_at_5"] <= 1
    predicted = command("predict", "run", "--index", 2)
    assert predicted.code == 0 and (nowhere / "timeline.png").stat().st_size > 10_000


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("by_frame", [False, True])
def test_every_preset_builds_its_model(preset, by_frame):
    config = PRESETS[preset]
    shape = {"features": (7,), "flow": (16, 16, 2), "frames": (32, 32, 1)}[config.data.inputs]
    items = [np.zeros((12, *shape), np.float32)] * 2
    labels = {"targets": tuple(np.arange(12) % 3 for _ in items)} if by_frame else {"labels": np.array([0, 2])}
    classes = Labels(names=("a", "b", "c"))
    series = Series(inputs={config.data.inputs: items}, lengths=[12, 12], classes=classes, names=("u", "v"), **labels)
    model = build_model(config.model, Labelled({"source": "toy"}, classes, {"train": series}), config.data.inputs)
    assert isinstance(model, FrameClassifier if by_frame else Classifier) and model.vocabulary_sizes == (3,)


def test_splits_never_share_a_person(files):
    data = PRESETS["weizmann"].data
    data = dataclasses.replace(data, recordings=None, path=str(files / "clips.npz"), split=(0.5, 0.25, 0.25))
    for fold in (None, 2):
        splits = load_actions(dataclasses.replace(data, fold=fold)).splits
        groups = [set(series.groups) for series in splits.values()]
        assert len(groups) == 3 and sum(map(len, groups)) == len(set.union(*groups)) == 3


def test_flags_change_features_as_sensor_signals_and_frames_as_clips():
    rng = np.random.default_rng(0)
    item = {"features": rng.normal(size=(20, 6)), "target": np.arange(20)}
    options = {"rotation": 9.0, "scale": 0.2, "noise": 0.1, "speed": 0.3}
    same = Augmentation()(item, np.random.default_rng(1))
    assert all(np.array_equal(same[name], item[name]) for name in item)
    changed = Augmentation(**options)(item, np.random.default_rng(1))
    assert np.abs(changed["features"] - item["features"][: len(changed["target"])]).max() > 0.1
    frames = {"frames": rng.integers(0, 256, (3, 4, 4, 1), np.uint8)}
    np.testing.assert_array_equal(Augmentation(flip=1.0)(frames, rng)["frames"], frames["frames"][:, :, ::-1])
    with pytest.raises(InputError, match=r"rotation is .*from 0 to 180"):
        Augmentation(rotation=-1.0)
