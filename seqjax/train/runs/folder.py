"""A run's folder: its only writer, its reader, and what of it may change when it is resumed."""

import dataclasses
import datetime
import json
import math
import pathlib
import platform
from importlib import metadata
from typing import Any

import jax
from etils import epath

from seqjax import serial
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.train.checkpoint import Checkpoints, refuse_changes
from seqjax.types import Params

_PACKAGES = ("seqjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished or unfinished run, read back.

    Args:
        dir: its folder.
        config: the experiment's configuration, a nested plain dict.
        model: what was trained.
        vocabulary: what its symbols mean; None where it has none.
        params: the best, or the last where there is no best.
        metrics: one dict a line of metrics.jsonl: step, split, figures; losses in nats per token.
        results: the final figures, flat; empty while it runs.
    """

    dir: str
    config: dict
    model: Model
    vocabulary: Any
    params: Params
    metrics: list[dict]
    results: dict


def load_run(dir) -> Run:
    """Reads a run folder; needs only the library, not the experiment that wrote it.

    Args:
        dir: the folder, e.g. runs/language_model/latest.

    Returns:
        Run, its weights on the default device.

    Raises:
        InputError: it is no run folder, has no checkpoint, or is damaged.

    Example:
        >>> load_run("nowhere")
        Traceback (most recent call last):
        seqjax.errors.InputError: nowhere is no run folder: it has no config.json
    """
    import seqjax.data  # their types are registered when they are imported
    import seqjax.models  # noqa: F401

    folder = RunFolder(dir)
    description = folder.read_config()
    model: Any = serial.from_json(description["model"])
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        params = checkpoints.params(jax.eval_shape(model.init, jax.random.key(0)))
    return Run(
        dir=str(folder.dir),
        config=description["config"],
        model=model,
        vocabulary=serial.from_json(description["vocabulary"]),
        params=jax.tree.map(jax.numpy.asarray, params),
        metrics=folder.read_metrics(),
        results=folder.read_results(),
    )


class RunFolder:
    """The writer of a run's files.

    Args:
        dir: an existing run folder; `RunFolder.create` makes a new one.
    """

    def __init__(self, dir):
        self.dir = epath.Path(dir)
        self.checkpoints = self.dir / "checkpoints"
        self.curves = self.dir / "curves.png"

    @classmethod
    def create(cls, dir: str | None, *, experiment: str, preset: str) -> "RunFolder":
        """Makes a new folder, and a link `latest` beside it.

        Args:
            dir: the folder; None: runs/<experiment>/<preset>-<time>.
            experiment: its name.
            preset: its name.

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
        """The folder of a run to continue.

        Raises:
            InputError: there is no run in it, or it has saved nothing yet.
        """
        folder = cls(dir)
        if not (folder.dir / "config.json").exists():
            raise InputError(f"nothing to resume: {folder.dir} has no config.json, it is no run folder")
        with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
            if checkpoints.step("last") is None:
                raise InputError(f"nothing to resume: {folder.dir} has no checkpoint yet, start the run anew")
        return folder

    def write_config(self, description: dict):
        """config.json, from `describe_run`."""
        _write_json(self.dir / "config.json", description)

    def read_config(self) -> dict:
        """What `write_config` wrote.

        Raises:
            InputError: there is none.
        """
        path = self.dir / "config.json"
        if not path.exists():
            raise InputError(f"{self.dir} is no run folder: it has no config.json")
        description = _read_json(path)
        missing = [name for name in ("preset", "config", "model", "vocabulary") if name not in description]
        if missing or not isinstance(description, dict):
            raise InputError(f"{path} is damaged: it has no {', '.join(missing) or 'entries'}")
        return description

    def append_metrics(self, *, step: int, split: str, **figures: float):
        """One more line of metrics.jsonl; a figure that is not finite is written as null."""
        with (self.dir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "split": split} | _finite(figures)) + "\n")

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl; one that was cut short by a crash is left out."""
        path = self.dir / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise InputError(f"{path} is damaged: {error}") from error

    def trim_metrics(self, step: int):
        """Takes out the lines beyond a step, which a resumed run writes again."""
        kept = [json.dumps(line) + "\n" for line in self.read_metrics() if line["step"] <= step]
        _write_text(self.dir / "metrics.jsonl", "".join(kept))

    def write_results(self, results: dict):
        """results.json: the final figures, flat; one that is not finite is written as null."""
        _write_json(self.dir / "results.json", _finite(results))

    def read_results(self) -> dict:
        """What `write_results` wrote; empty where there is none yet."""
        path = self.dir / "results.json"
        return _read_json(path) if path.exists() else {}

    def write_evaluation(self, name: str, results: dict):
        """eval-<name>.json: a later measurement of the same weights, written as `write_results` does.

        Returns:
            Its path.
        """
        path = self.dir / f"eval-{name}.json"
        _write_json(path, _finite(results))
        return path

    def write_text(self, name: str, text: str):
        """A further file of the run."""
        _write_text(self.dir / name, text)

    def write_samples(self, text: str):
        """samples.txt."""
        _write_text(self.dir / "samples.txt", text)


def describe_run(*, experiment: str, preset: str, overrides: dict, config: dict, model: Model, vocabulary=None, **more) -> dict:
    """What config.json holds: enough to load the model without the experiment, and to see what was run.

    Args:
        experiment, preset: names.
        overrides: {flag: value} that differ from the preset.
        config: the experiment's configuration, nested and plain, e.g. of `dataclasses.asdict`.
        model, vocabulary: of registered types.
        **more: further entries, e.g. what the data is.

    Returns:
        A dict that JSON takes and gives back unchanged.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> about = describe_run(experiment="demo", preset="tiny", overrides={}, config={"seed": 0}, model=model)
        >>> about["model"]["type"], serial.from_json(about["model"]) == model
        ('LanguageModel', True)
    """
    description = {
        "experiment": experiment,
        "preset": preset,
        "overrides": overrides,
        "config": config,
        "model": serial.to_json(model),
        "vocabulary": serial.to_json(vocabulary),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
    }
    return json.loads(json.dumps(description | more))


def compare(old: dict, new: dict, *, free: tuple[str, ...] = ("loop", "run")):
    """Refuses to resume a run as another one.

    Args:
        old, new: two descriptions, of `read_config` and `describe_run`.
        free: the parts of `config` that may differ: how long, how often, where.

    Raises:
        InputError: another model, vocabulary or configuration; names the field, its old and its new value.

    Example:
        >>> one, two = ({"model": None, "vocabulary": None, "config": {"batch": n, "loop": {"steps": n}}} for n in (8, 9))
        >>> compare(one, two)
        Traceback (most recent call last):
        seqjax.errors.InputError: cannot go on with another batch: it was 8, now it is 9
    """

    before, after = ({key: part for key, part in table["config"].items() if key not in free} for table in (old, new))
    refuse_changes("", before, after)  # first: it names the flag that was given
    for name in ("model", "vocabulary"):
        refuse_changes(name, old[name], new[name])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _write_text(path, text: str):
    """A file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def _finite(figures: dict) -> dict:
    """JSON has no number for what is not finite."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in figures.items()}


def _write_json(path, value):
    _write_text(path, json.dumps(value, indent=2) + "\n")


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
