"""The folder of a run, and the files in it."""

import datetime
import json
import math
import pathlib

from etils import epath

from seqjax.errors import InputError
from seqjax.train.checkpoint import Checkpoints


class RunFolder:
    """The reader and writer of a run's files.

    Args:
        dir: an existing run folder; `RunFolder.create` makes a new one.
    """

    def __init__(self, dir):
        self.dir = epath.Path(dir)
        self.checkpoints = self.dir / "checkpoints"
        self.curves = self.dir / "curves.png"

    @classmethod
    def create(cls, dir: str | None, *, experiment: str, preset: str) -> "RunFolder":
        """Creates a new folder; one with the default name also gets a link `latest` beside it.

        Args:
            dir: the folder; None: runs/<experiment>/<preset>-<time>.
            experiment: the experiment's name.
            preset: the preset's name.

        Raises:
            InputError: the folder exists.

        Example:
            >>> import tempfile
            >>> RunFolder.create(tempfile.mkdtemp() + "/run", experiment="demo", preset="tiny").dir.name
            'run'
        """
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = epath.Path(dir or f"runs/{experiment}/{preset}-{now}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=False)
        except FileExistsError as error:
            raise InputError(f"{path} exists: name another folder, or continue that run with --resume {path}") from error
        if not dir:
            latest = pathlib.Path(path.parent, "latest")
            latest.unlink(missing_ok=True)
            latest.symlink_to(path.name)
        return cls(path)

    @classmethod
    def resume(cls, dir) -> "RunFolder":
        """Opens the folder of a run to continue.

        Raises:
            InputError: it is not a run folder, or has no checkpoint yet.
        """
        folder = cls(dir)
        if not (folder.dir / "config.json").exists():
            raise InputError(f"nothing to resume: {folder.dir} has no config.json, so it is not a run folder")
        with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
            if checkpoints.step("last") is None:
                raise InputError(f"nothing to resume: {folder.dir} has no checkpoint yet, start a new run")
        return folder

    def write_config(self, description: dict):
        """Writes config.json.

        Args:
            description: returned by `describe_run`.
        """
        _write_json(self.dir / "config.json", description)

    def read_config(self) -> dict:
        """The description in config.json.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = self.dir / "config.json"
        if not path.exists():
            raise InputError(f"{self.dir} is not a run folder: it has no config.json")
        description = _read_json(path)
        names = description if isinstance(description, dict) else ()
        missing = [name for name in ("preset", "config", "model", "vocabulary") if name not in names]
        if missing:
            raise InputError(f"{path} is damaged: it has no {', '.join(missing)}")
        return description

    def append_metrics(self, *, step: int, split: str, **figures: float):
        """Adds a line to metrics.jsonl; a figure that is not finite is written as null."""
        self._append("metrics.jsonl", {"step": step, "split": split} | _finite(figures))

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, except a last one that a crash cut short."""
        return self._lines("metrics.jsonl")

    def append_sample(self, *, step: int, **texts: str):
        """Adds a line to samples.jsonl."""
        self._append("samples.jsonl", {"step": step} | texts)

    def read_samples(self) -> list[dict]:
        """The lines of samples.jsonl, except a last one that a crash cut short."""
        return self._lines("samples.jsonl")

    def trim(self, step: int):
        """Removes the metrics and samples after a step, which the resumed run will write again."""
        for name in ("metrics.jsonl", "samples.jsonl"):
            if (self.dir / name).exists():
                lines = [_line(record) for record in self._lines(name) if record["step"] <= step]
                _write_text(self.dir / name, "".join(lines))

    def _append(self, name: str, record: dict):
        with (self.dir / name).open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def _lines(self, name: str) -> list[dict]:
        path = self.dir / name
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise InputError(f"{path} is damaged: {error}") from error

    def write_results(self, results: dict):
        """Writes results.json: the final figures, flat; one that is not finite is written as null."""
        _write_json(self.dir / "results.json", _finite(results))

    def read_results(self) -> dict:
        """The figures in results.json; {} before the run has ended."""
        path = self.dir / "results.json"
        return _read_json(path) if path.exists() else {}

    def write_evaluation(self, name: str, results: dict):
        """Writes the figures of a later evaluation to eval-<name>.json, in the format of results.json.

        Returns:
            The path of the file.
        """
        path = self.dir / f"eval-{name}.json"
        _write_json(path, _finite(results))
        return path

    def write_text(self, name: str, text: str):
        """Writes another file of the run."""
        _write_text(self.dir / name, text)


def _write_text(path, text: str):
    """Writes a file atomically: after a crash it has its old or its new content."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _line(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _finite(figures: dict) -> dict:
    """The figures, with None for each that is not finite, since JSON has no such numbers."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in figures.items()}


def _write_json(path, value):
    _write_text(path, json.dumps(value, indent=2) + "\n")


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
