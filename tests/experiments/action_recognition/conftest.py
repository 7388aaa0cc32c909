"""The command of action recognition on tiny data: signals whose order alone tells their classes apart."""

import shlex

import numpy as np
import pytest

from experiments.action_recognition import __main__ as program
from tests.experiments.conftest import Command, Outcome

SIZES = shlex.split("--data.inputs features --data.batch-size 8 --model.kind recurrent --model.encoder none --model.cell gru")
SIZES += shlex.split("--model.hidden-size 8 --model.head scores --model.average linear --model.gain linear --no-bag-of-frames")
SIZES += shlex.split("--optimizer.learning-rate 0.03 --optimizer.warmup-steps 0")
PACE = shlex.split("--loop.steps 6 --loop.log-every 1 --loop.eval-every 3 --loop.save-every 3")

command = Command(program)


def ramps(count: int, seed: int, people: int = 3) -> dict[str, np.ndarray]:
    """Clips whose first number rises or falls, the second a nuisance: the same values in another order."""
    draw = np.random.default_rng(seed)
    label, length = np.arange(count) % 2, draw.integers(6, 11, count)
    clips = []
    for falls, steps in zip(label, length, strict=True):
        ramp = np.sort(draw.uniform(-1, 1, steps))
        clips.append(np.stack([ramp[::-1] if falls else ramp, draw.normal(size=steps) / 4], axis=1))
    return {
        "features": np.concatenate(clips).astype(np.float32),
        "length": length,
        "label": label,
        "label_names": np.array(["rise", "fall"]),
        "group": np.array([f"person{n // 2 % people}" for n in range(count)]),
        "rate": np.array(5.0),
    }


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves out what costs most in a short run: every picture is the beginning of a PNG."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))


@pytest.fixture(scope="session")
def files(once):
    """A folder: clips.npz, a class a clip; steps.npz, a class a step (-1 in some); wide.npz, more numbers a step."""
    return once("signals", write_signals)[0]


def write_signals(folder):
    folder.mkdir()
    arrays = ramps(48, seed=0)
    np.savez(folder / "clips.npz", **arrays)
    draw = np.random.default_rng(1)
    target = np.repeat(draw.integers(0, 2, 60), 4)
    target[100:108] = -1
    features = np.stack([np.where(target == 1, 1.0, -1.0), draw.normal(size=len(target))], axis=1)
    length, group = np.full(6, 40), np.array([f"person{n}" for n in range(6)])
    steps = {"features": features.astype(np.float32), "length": length, "target": target, "group": group}
    np.savez(folder / "steps.npz", **steps, label_names=np.array(["still", "wave"]), rate=np.array(5.0))
    np.savez(folder / "wide.npz", **(arrays | {"features": np.repeat(arrays["features"], 2, axis=1)}))


@pytest.fixture(scope="session")
def train(files):
    """A function of a new folder and more flags, which trains in the folder on clips.npz, or on another file."""

    def run(folder, *flags, data="clips.npz") -> Outcome:
        return command("train", "--data.path", files / data, *SIZES, *PACE, "--run.dir", folder, *flags)

    return run


@pytest.fixture(scope="session")
def finished(run_once, train):
    """(folder, outcome) of a run that no test may change; it has learnt, and knows a bag of frames."""
    flags = ["--loop.steps", 60, "--loop.log-every", 20, "--loop.eval-every", 20, "--keep", 2, "--bag-of-frames"]
    return run_once("recognition", lambda folder: train(folder, *flags))


@pytest.fixture(scope="session")
def by_step(run_once, train):
    """The folder of a run with a class a step, which no test may change."""
    flags = ["--data.window", 16, "--model.ranking", "margin", "--data.batch-size", 2]
    return run_once("recognition_by_step", lambda folder: train(folder, *flags, data="steps.npz"))[0]
