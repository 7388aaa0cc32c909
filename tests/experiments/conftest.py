"""Helpers for tests of an experiment's command, which runs in this process."""

import contextlib
import io
import json
import signal
import sys
from typing import NamedTuple

import pytest

from experiments import command_line
from seqjax.train import IDLE
from seqjax.train.runs.folder import RunFolder


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Terminal(io.TextIOWrapper):
    """A terminal as standard input, as Python opens it in the POSIX locale."""

    def __init__(self, typed: bytes):
        super().__init__(io.BytesIO(typed), encoding="utf-8", errors="surrogateescape")

    def isatty(self) -> bool:
        return True


class Command:
    """Runs `python -m PROGRAM ARGUMENTS` with `stdin` as its standard input, or with `typed` at a terminal."""

    def __init__(self, program):
        self._program = program

    def __call__(self, *arguments, stdin: bytes = b"", typed: bytes | None = None) -> Outcome:
        program, before = self._program, sys.stdin
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin)) if typed is None else Terminal(typed)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                code = command_line.run_verbs(program.PROGRAM, program.VERBS, [str(argument) for argument in arguments])
            except SystemExit as stop:  # raised by the flag parser
                code = stop.code
            finally:
                sys.stdin = before
        return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def run_once(once):
    """A function of a name and `train`, a function of a new folder: (the folder, the outcome), once for all workers."""

    def get(name, train):
        folder, outcome = once(name, lambda folder: tuple(train(folder)))
        assert outcome[0] == 0, outcome[2]
        return folder, Outcome(*outcome)

    return get


class Interrupt:
    """Patches run folders so that SIGTERM arrives when they record a training step."""

    def __init__(self, monkeypatch, step):
        append = RunFolder.append_metrics

        def interrupted(self, **line):
            append(self, **line)
            if (line["step"], line["split"]) == (step, "train"):  # once: a second signal kills
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(RunFolder, "append_metrics", interrupted)


def refused(outcome, *messages):
    """Asserts exit code 2 and one line that has all messages in it."""
    assert outcome.code == 2, outcome
    assert len(outcome.err.splitlines()) == 1 and outcome.err.startswith("error: "), outcome.err
    for part in messages:
        assert part in outcome.err, f"{part!r} is not in {outcome.err}"


def evaluation_of(folder, name) -> dict:
    """The content of the one eval-<name>-<hash>.json."""
    [path] = (path for path in folder.glob(f"eval-{name}-*.json") if path.stem.count("-") == name.count("-") + 2)
    return json.loads(path.read_text())


def contents(folder) -> dict:
    """Every file below a folder, with its bytes and modification time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def results_of(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


def figures_of(folder) -> list[dict]:
    """The metrics of a run without the wall clock."""
    clock = ("seconds", "tokens_per_second", IDLE)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty folder, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
