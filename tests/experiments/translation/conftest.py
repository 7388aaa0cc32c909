"""The translation command: tiny settings, a toy language of nine words."""

import random
import shlex

import pytest

from experiments.translation import __main__ as program
from tests.experiments.conftest import Command, Outcome

ENGLISH = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FRENCH = ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf")
GERMAN = ("eins", "zwei", "drei", "vier", "f\u00fcnf", "sechs", "sieben", "acht", "neun")
WORDS = {"fr": dict(zip(ENGLISH, FRENCH, strict=True)), "de": dict(zip(ENGLISH, GERMAN, strict=True))}
SIZES = shlex.split("--data.units word --data.batch-size 4 --model.hidden-size 8 --model.embedding-size 4 --model.dropout 0.1")
PACE = shlex.split("--loop.steps 4 --loop.log-every 1 --loop.eval-every 2 --loop.save-every 2 --search.beam 2")
PACE += shlex.split("--search.max-length 6")

command = Command(program)


def lines(count: int, seed: int = 0) -> list[str]:
    """Lines of a table: French in the order of the English, German in reverse; one word or three."""
    draw, rows = random.Random(seed), []
    for n in range(count):
        english = [draw.choice(ENGLISH) for _ in range(3 if n % 4 else 1)]
        for to, order in (("fr", 1), ("de", -1)):
            rows.append(f"<{to}> {' '.join(english)}\t{' '.join(WORDS[to][word] for word in english[::order])}\n")
    return rows


@pytest.fixture(scope="session")
def files(once):
    """A folder with train.tsv, valid.tsv and test.tsv."""
    return once("pairs", write_pairs)[0]


def write_pairs(folder):
    folder.mkdir()
    for seed, (name, count) in enumerate((("train", 20), ("valid", 5), ("test", 4))):
        (folder / f"{name}.tsv").write_text("".join(lines(count, seed)))


@pytest.fixture(scope="session")
def train(files):
    """A function of a new folder and more flags, which trains in the folder."""
    data = [part for name in ("train", "valid", "test") for part in (f"--data.{name}", files / f"{name}.tsv")]

    def run(folder, *flags) -> Outcome:
        return command("train", *data, *SIZES, *PACE, "--run.dir", folder, *flags)

    return run


@pytest.fixture(scope="session")
def finished(run_once, train):
    """(folder, outcome) of a run that no test may change; its best weights are not its last."""
    flags = ["--monitor", "loss", "--keep", 2, "--optimizer.learning-rate", 0.3, "--optimizer.warmup-steps", 0]
    return run_once("translation", lambda folder: train(folder, *flags))
