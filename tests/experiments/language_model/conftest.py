"""The language model's command: tiny settings, tiny texts."""

import random
import re
import shlex

import pytest

from experiments.language_model import __main__ as program
from tests.experiments.conftest import Command, Outcome

WORDS = re.findall(r"\w+", "the cat sat on a mat and saw two birds fly over old hills while rain fell")
SIZES = shlex.split("--data.batch-size 2 --data.length 8 --model.hidden-size 8 --model.embedding-size 4 --model.dropout 0.1")
PACE = shlex.split("--loop.steps 4 --loop.log-every 1 --loop.eval-every 2 --loop.save-every 2")
PACE += shlex.split("--sample.prompt the --sample.length 12")

command = Command(program)


def words(count: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(count)) + "\n"


@pytest.fixture(scope="session")
def text(once):
    """A file of a few hundred words."""
    # a newline at its end would be a symbol of the test split alone
    return once("words.txt", lambda path: path.write_text(words(400).strip()))[0]


@pytest.fixture(scope="session")
def train(text):
    """A function of a new folder and more flags, which trains in the folder."""

    def run(folder, *flags) -> Outcome:
        return command("train", "--data.path", text, *SIZES, *PACE, "--run.dir", folder, *flags)

    return run


@pytest.fixture(scope="session")
def finished(run_once, train):
    """(folder, outcome) of a run that no test may change; its learning rate is so high that the best weights are not the last."""
    flags = ["--optimizer.learning-rate", 5, "--optimizer.warmup-steps", 0, "--ngrams", 2, 3, 5]
    return run_once("language", lambda folder: train(folder, *flags))
