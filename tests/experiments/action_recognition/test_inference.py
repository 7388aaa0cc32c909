"""Measuring, fusing, predicting and following through the real command."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import seqjax
from experiments.action_recognition import inference
from experiments.action_recognition.config import Data
from experiments.online import read_steps
from seqjax.data.video import optical_flow
from seqjax.train import RunFolder
from tests.experiments.action_recognition.conftest import command, ramps
from tests.experiments.conftest import evaluation_of, refused, results_of


def clip_of(seed=5):
    """The steps of one falling clip [T, 2], as text too."""
    arrays = ramps(2, seed)
    rows = arrays["features"][arrays["length"][0] :]
    return rows, "".join(f"{a!r}, {b!r}\n" for a, b in rows.astype(float).tolist())


def offline(folder, rows):
    """The model's own answer after each step: of the clip cut off there, or of that step."""
    run = seqjax.load_run(folder)
    answers = []
    for n in range(1, len(rows) + 1):
        batch = {"features": rows[None, :n], "features_lengths": np.array([n], np.int32)}
        scores = np.asarray(run.model.probabilities(run.params, batch))[0]
        answers.append(scores if scores.ndim == 1 else scores[-1])
    return np.stack(answers)


@pytest.mark.slow
def test_evaluate_gives_the_figures_of_training_and_fuses_runs(finished, train, no_pictures, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    results = results_of(folder)
    assert command("evaluate", folder).code == 0
    figures = evaluation_of(folder, "test")
    assert {name: figures[name] for name in figures if name.startswith("test_")} == {
        name: results[name] for name in results if name.startswith("test_")
    }
    assert train(tmp_path / "other", "--seed", 3).code == 0
    for name, weights in (("all", (1, 0)), ("none", (0, 1))):
        flags = ["--ensemble", tmp_path / "other", "--fusion", *weights, "--name", name]
        assert command("evaluate", folder, *flags).code == 0
    assert evaluation_of(folder, "all")["test_accuracy"] == results["test_accuracy"]
    assert evaluation_of(folder, "none")["test_accuracy"] == results_of(tmp_path / "other")["test_accuracy"]
    assert command("evaluate", folder, "--ensemble", tmp_path / "other", "--fit-fusion", "--name", "fit").code == 0
    fitted = evaluation_of(folder, "fit")["fusion"]
    assert sum(fitted) == pytest.approx(1) and fitted[0] > 0.9  # the other has hardly been trained
    refused(command("evaluate", folder, "--fusion", 1, 2), "--fusion and --fit-fusion weigh the runs of an ensemble")
    refused(command("evaluate", folder, "--ensemble", tmp_path / "other", "--fusion", 1), "weights is (1.0,)")


@pytest.mark.slow
def test_predict_shows_a_recording_over_time(finished, by_step, files, nowhere):
    rows, text = clip_of()
    (nowhere / "clip.csv").write_text(text)
    np.save("clip.npy", rows)
    (nowhere / "truth.csv").write_text("clip,begin,end,class\nclip.csv,0,0.6,fall\n")
    outcome = command("predict", finished[0], "clip.csv", "--segments", "truth.csv")
    assert outcome.code == 0, outcome.err
    content = json.loads((nowhere / "timeline.json").read_text())
    assert (nowhere / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert content["class"] == "fall" and content["truth"] == [{"class": "fall", "begin": 0.0, "end": 0.6}]
    np.testing.assert_allclose(content["scores"], offline(finished[0], rows), atol=1e-4)
    assert command("predict", finished[0], "clip.npy", "--out", "b.png").code == 0
    assert json.loads((nowhere / "b.json").read_text())["scores"] == content["scores"]

    assert command("predict", by_step, "--index", 1, "--out", "steps.png").code == 0
    content = json.loads((nowhere / "steps.json").read_text())
    assert content["unit"] == "second" and len(content["scores"]) == 40 and content["truth"][0]["begin"] == 0


@pytest.mark.parametrize("kind", ["finished", "by_step"])
def test_a_stream_gives_what_the_offline_pass_gives(kind, request, nowhere, monkeypatch):
    folder = request.getfixturevalue(kind)
    folder = folder[0] if kind == "finished" else folder
    rows, text = clip_of()
    followed, follow = [], inference.follow
    monkeypatch.setattr(inference, "follow", lambda *args, **more: followed.append(follow(*args, **more)))
    outcome = command("stream", folder, "--every", 0.4, stdin=text.encode())
    assert outcome.code == 0, outcome.err
    np.testing.assert_allclose(followed[0], offline(folder, rows), atol=1e-5)
    assert len(outcome.out.splitlines()) == -(-len(rows) // 2) + 1  # 5 steps a second, a guess after every second one
    (nowhere / "clip.txt").write_text(text)
    assert command("stream", folder, "clip.txt").code == 0
    np.testing.assert_array_equal(followed[1], followed[0])
    assert command("stream", folder, "clip.txt", "--restart", 3).code == 0
    np.testing.assert_allclose(followed[2][3:6], offline(folder, rows[3:6]), atol=1e-5)


def test_frames_of_a_folder_and_of_standard_input_are_read_as_those_of_a_clip(nowhere, monkeypatch):
    import io
    import sys

    from PIL import Image

    frames = np.random.default_rng(0).integers(0, 255, (5, 24, 20, 1)).astype(np.uint8)
    (nowhere / "images").mkdir()
    stream = io.BytesIO()
    for n, frame in enumerate(frames):
        Image.fromarray(frame[..., 0]).save(nowhere / "images" / f"{n}.png")
        Image.fromarray(frame[..., 0]).save(stream, format="png")
    np.savez("clip.npz", frames=frames, rate=np.array(10.0))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stream.getvalue())))
    for path, rate in (("clip.npz", None), ("images", 10.0), (None, 10.0)):
        steps = list(read_steps(path, "frames", (24, 20, 1), rate=rate))
        np.testing.assert_array_equal(np.stack([step.values for step in steps]), frames)
        assert [step.seconds for step in steps] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    flow = np.stack([step.values for step in read_steps("clip.npz", "flow", (6, 5, 2), size=(24, 20))])
    np.testing.assert_allclose(flow, optical_flow(frames, grid=(6, 5)), atol=1e-5)
    every = [step.values for step in read_steps("clip.npz", "frames", (24, 20, 1), every=2)]
    np.testing.assert_array_equal(np.stack(every), frames[::2])


@pytest.mark.slow
def test_a_clip_of_frames_goes_through_every_verb(nowhere, no_pictures):
    draw = np.random.default_rng(0)
    for n in range(12):
        name = ("left", "right")[n % 2]
        (nowhere / "clips" / name).mkdir(parents=True, exist_ok=True)
        frames = np.zeros((6, 12, 12), np.uint8)
        for t in range(6):
            frames[t, 4:8, (t if n % 2 else 6 - t) : (t if n % 2 else 6 - t) + 4] = 200 + draw.integers(0, 55)
        np.savez(nowhere / "clips" / name / f"{n}.npz", frames=frames, rate=np.array(4.0))
    (nowhere / "clips" / "left" / "broken.avi").write_bytes(b"no video")
    flags = "--data.path clips --data.inputs frames --data.batch-size 4 --model.channels 4 --model.hidden-size 4 --loop.steps 2"
    outcome = command("train", *flags.split(), "--no-bag-of-frames", "--data.split", 0.5, 0.25, 0.25, "--run.dir", "run")
    assert outcome.code == 0, outcome.err
    assert "1 could not be read" in outcome.out and "broken.avi" in outcome.out
    assert results_of(nowhere / "run")["data_skipped"] == 1
    for verb in ("predict", "stream"):
        outcome = command(verb, "run", "clips/left/0.npz")
        assert outcome.code == 0 and ("left" in outcome.out or "right" in outcome.out), outcome.err
    refused(command("predict", "run", "clips/left/broken.avi"), "broken.avi")
    refused(command("train", *flags.split(), "--data.unreadable", "refuse", "--run.dir", "other"), "broken.avi")
    assert not (nowhere / "other").exists()


def test_tables_with_motion_come_averaged(tmp_path):
    facts = {key: {} for key in ("preset", "config", "model", "vocabulary")} | {"data": {"rate": 25.0}}
    RunFolder(tmp_path).write_config(facts)
    data = Data(recordings="hapt", inputs="features", every=2, path="there")
    prepared = inference.preparation(str(tmp_path), data, None)
    assert (prepared["every"], prepared["rate"]) == (2, 50.0)
    prepared = inference.preparation(str(tmp_path), dataclasses.replace(data, motion=True), None)
    assert (prepared["every"], prepared["rate"]) == (1, 25.0)
