"""The folder of a run, and the files in it."""

import contextlib
import datetime
import hashlib
import json
import math
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress

from etils import epath

from seqjax.checks import shown
from seqjax.errors import InputError, warn
from seqjax.train.runs.description import sha256_of
from seqjax.train.runs.lock import owned
from seqjax.writing import writable, write_bytes

_APPENDED = ("metrics.jsonl", "samples.jsonl")  # a line at a time, during training
_LEFTOVERS = {"lock", "config.json.part"}  # of a process that was killed before it wrote anything


class RunFolder:
    """The reader and writer of a run's files.

    Args:
        dir: an existing run folder; `RunFolder.create` makes a new one.
    """

    def __init__(self, dir):
        if not isinstance(dir, str | os.PathLike):
            raise InputError(f"the run folder is {shown(dir)}, it must be a path")
        self.dir = epath.Path(dir).expanduser()
        self.checkpoints = self.dir / "checkpoints"
        self.curves = self.dir / "curves.png"

    @classmethod
    def create(cls, dir: str | None, *, experiment: str, preset: str) -> "RunFolder":
        """Create a new folder; one with the default name also gets a link `latest` beside it, where links are allowed.

        Args:
            dir: the folder, which may exist if it is empty; None: runs/<experiment>/<preset>-<time>, or that with -2, -3 ....
            experiment: the experiment's name.
            preset: the preset's name.

        Raises:
            InputError: the folder exists and is not empty, or cannot be made.

        Example:
            >>> import tempfile
            >>> RunFolder.create(tempfile.mkdtemp() + "/run", experiment="demo", preset="tiny").dir.name
            'run'
        """
        if dir:
            path = epath.Path(dir).expanduser()
            with writable(path):
                path.mkdir(parents=True, exist_ok=True)
            folder = cls(path)
            if folder.exists():
                resume = f"--resume {shlex.quote(str(path))}"
                raise InputError(f"{path} exists: name another folder, or continue that run with {resume}")
            if any(each.name not in _LEFTOVERS for each in path.iterdir()):
                raise InputError(f"{path} exists and is not empty: name another folder")
            return folder
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        parent, names = epath.Path("runs", experiment), (f"{preset}-{now}{n}" for n in ("", *(f"-{n}" for n in range(2, 1000))))
        with writable(parent):
            parent.mkdir(parents=True, exist_ok=True)
            path = next(path for path in map(parent.joinpath, names) if _made(path))
        _link(parent / "latest", path.name)
        return cls(path)

    @classmethod
    def resume(cls, dir) -> "RunFolder":
        """Open the folder of a run to continue.

        Raises:
            InputError: it is not a run folder.
        """
        folder = cls(dir)
        if not folder.exists():
            raise InputError(f"nothing to resume: {folder.dir} has no config.json, so it is not a run folder")
        return folder

    def exists(self) -> bool:
        """True if it is a run folder: a process got as far as writing config.json."""
        return (self.dir / "config.json").exists()

    def owned(self):
        """A context in which no other process writes into the folder, see `lock.owned`."""
        return owned(self.dir)

    def write_config(self, description: dict):
        """Write config.json.

        Args:
            description: returned by `describe_run`.
        """
        _write_json(self.dir / "config.json", description | {"sha256": sha256_of(description)})

    def read_config(self, *needed: str) -> dict:
        """The description in config.json, with a warning if it differs from what was written.

        Args:
            *needed: the names of further entries that it must have.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = self.dir / "config.json"
        if not path.exists():
            raise InputError(f"{self.dir} is not a run folder: it has no config.json")
        description = _read_json(path)
        names = description if isinstance(description, dict) else ()
        missing = [name for name in ("preset", "config", "model", "vocabulary", *needed) if name not in names]
        if missing:
            raise InputError(f"{path} is damaged: it has no {', '.join(missing)}")
        if not _is_whole(description):
            warn(f"{path} is not what was written: it is damaged, or was edited")
        description.pop("sha256", None)
        return description

    @contextlib.contextmanager
    def config_blamed(self) -> Iterator[None]:
        """A context that uses config.json: if that differs from what was written, any error within is reported as its damage.

        Raises:
            InputError: an error was raised within, and config.json is damaged or was edited.
        """
        try:
            yield
        except Exception as error:
            path = self.dir / "config.json"
            if _is_whole(_read_json(path)):
                raise
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}".splitlines()[0][:150]
            raise InputError(f"{path} is damaged or was edited: {reason}") from error

    def append_metrics(self, *, step: int, split: str, **figures: float):
        """Add a line to metrics.jsonl; a figure that is not finite is written as null."""
        self._append("metrics.jsonl", {"step": step, "split": split} | _finite(figures))

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, except a last one that a crash cut short, with a warning about damaged lines."""
        return [record for record, _ in self._lines("metrics.jsonl")]

    def append_sample(self, *, step: int, **texts: str):
        """Add a line to samples.jsonl."""
        self._append("samples.jsonl", {"step": step} | texts)

    def read_samples(self) -> list[dict]:
        """The lines of samples.jsonl, except a last one that a crash cut short, with a warning about damaged lines."""
        return [record for record, _ in self._lines("samples.jsonl")]

    def trim(self, step: int):
        """Remove the metrics and samples after a step, which the resumed run will write again; all of them for step 0."""
        for name in _APPENDED:
            if (self.dir / name).exists():
                kept = [line for record, line in self._lines(name) if step and record["step"] <= step]
                write_bytes(self.dir / name, b"".join(kept))

    def sums(self) -> dict[str, list]:
        """The size and the SHA-256 of the metrics and of the samples so far, {name: [bytes, sha256]}."""
        contents = {name: self._content(name) for name in _APPENDED}
        return {name: [len(content), hashlib.sha256(content).hexdigest()] for name, content in contents.items()}

    def changed(self, sums: dict[str, list]) -> list[str]:
        """The names of the files that do not begin with what they held when `sums` was taken."""
        contents = {name: self._content(name) for name in sums}
        return [name for name, (size, known) in sums.items() if hashlib.sha256(contents[name][:size]).hexdigest() != known]

    def _content(self, name: str) -> bytes:
        path = self.dir / name
        return path.read_bytes() if path.exists() else b""

    def _append(self, name: str, record: dict):
        path = self.dir / name
        with writable(path), path.open("ab") as file:
            file.write(_line(record))

    def _lines(self, name: str) -> list[tuple[dict, bytes]]:
        """The records of a file with their lines; damaged lines are left out, with a warning."""
        records, damaged = [], 0
        for line in self._content(name).split(b"\n")[:-1]:
            try:
                record = json.loads(line)
                _ = record["step"] + 0, name == "samples.jsonl" or record["split"] + ""
                records.append((record, line + b"\n"))
            except (ValueError, TypeError, KeyError):
                damaged += 1
        if damaged:
            warn(f"{self.dir / name} is damaged: {damaged} of its lines cannot be read and are left out")
        return records

    def write_results(self, results: dict):
        """Write results.json: the final figures, flat; one that is not finite is written as null."""
        results = _finite(results)
        _write_json(self.dir / "results.json", results | {"sha256": sha256_of(results)})

    def read_results(self) -> dict:
        """The figures in results.json; {} before the run has ended, and if they are damaged, with a warning."""
        path = self.dir / "results.json"
        with suppress(InputError, AttributeError):
            results = _read_json(path) if path.exists() else {"sha256": sha256_of({})}
            if _is_whole(results):
                del results["sha256"]
                return results
        warn(f"{path} is not what was written: it is damaged, or was edited, and is left out")
        return {}

    def write_evaluation(self, name: str, results: dict):
        """Write the figures of a later evaluation to eval-<name>.json, in the format of results.json.

        Returns:
            The path of the file.
        """
        path = self.dir / f"eval-{name}.json"
        _write_json(path, _finite(results))
        return path

    def write_text(self, name: str, text: str):
        """Write another file of the run."""
        write_bytes(self.dir / name, text.encode("utf-8"))


def _made(path) -> bool:
    """True if a folder could be made; False if it exists."""
    with suppress(FileExistsError):
        path.mkdir(exist_ok=False)
        return True
    return False


def _link(link, name: str):
    """Make or move a link in one step; nothing where links are not allowed."""
    part = link.with_name(f".{link.name}-{os.getpid()}")
    with suppress(OSError, NotImplementedError):
        os.symlink(name, part)
    with suppress(OSError):
        os.replace(part, link)
    with suppress(OSError):
        os.unlink(part)


def _line(record: dict) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _finite(figures: dict) -> dict:
    """The figures, with None for each that is not finite, since JSON has no such numbers."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in figures.items()}


def _write_json(path, value):
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def _is_whole(written: dict) -> bool:
    """True if a record has the hash that was written with it."""
    return written.get("sha256") == sha256_of({name: value for name, value in written.items() if name != "sha256"})


def _read_json(path):
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
