"""The sequence classifier's command: tiny settings, tiny data."""

import random
import shlex

import pytest

from experiments.sequence_classification import __main__ as program
from tests.experiments.conftest import Command, Outcome

SIZES = shlex.split("--model.head max --data.batch-size 8 --model.hidden-size 6 --model.embedding-size 5")
CONVOLUTIONAL = shlex.split("--model.kind convolutional --model.channels 3 --model.widths 2 3")
PACE = shlex.split("--loop.steps 4 --loop.log-every 1 --loop.eval-every 2 --loop.save-every 2")
WORDS = {"0": "good fine superb", "1": "bad dull poor"}

command = Command(program)


def lines(count: int, seed: int = 0) -> str:
    """A table of films, each with a word that tells its class, and two that do not."""
    draw, rows = random.Random(seed), []
    for n in range(count):
        label = str(n % 2)
        words = [draw.choice(WORDS[label].split()), *draw.choices(["a", "film", "the", "plot", "(and)", "music"], k=2)]
        rows.append(f"{label}\t{' '.join(draw.sample(words, 3))} {n}\n")
    return "".join(rows)


@pytest.fixture(scope="session")
def table(once):
    """A table of labelled lines."""
    return once("films.tsv", lambda path: path.write_text(lines(60)))[0]


@pytest.fixture(scope="session")
def train(table):
    """A function of a new folder and more flags, which trains in the folder."""

    def run(folder, *flags) -> Outcome:
        names = ["--data.names", "0=good", "1=bad"]
        return command("train", "--data.train", table, *names, *SIZES, *PACE, "--run.dir", folder, *flags)

    return run


@pytest.fixture(scope="session")
def finished(run_once, train):
    """(folder, outcome) of a run that no test may change."""
    return run_once("classification", lambda folder: train(folder, "--data.word-dropout", 0.2))
