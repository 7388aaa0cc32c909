"""The weights and the data that a verb uses, by the same flags in every experiment."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import tyro

from experiments import command_line
from experiments.limits import Count, FilePath
from experiments.provenance import located_data
from experiments.session import facts
from seqjax import decode, train
from seqjax.errors import InputError
from seqjax.types import Params
from seqjax.writing import warned

Folders = tuple[FilePath, ...]
Verb = TypeVar("Verb")


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights to load."""

    dir: tyro.conf.Positional[FilePath]  # a run folder
    checkpoint: Literal["best", "last"] = "best"
    raw: bool = False  # of a run that kept an average of its weights (train --optimizer.average): the weights themselves
    average: Count = 1  # above 1: the mean of the last `average` checkpoints, which the run must have kept (train --keep)
    ensemble: Folders = ()  # more run folders, whose predictions are averaged with the first's
    averaging: Literal["probability", "log"] = "probability"  # of an ensemble: the mean of probabilities, or of their logarithms

    def load(
        self, model_type: type | tuple[type, ...], *, vocabularies: int | None = 1, fuse: Callable[[tuple], Any] | None = None
    ) -> "Loaded":
        """Loads the model, or an ensemble of several, with its parameters.

        Args:
            model_type: the type of the experiment's models, or several.
            vocabularies: the number of a model's vocabularies; None: any.
            fuse: a function of the models of an ensemble that returns one, whose parameters are the tuple of theirs; None: a
                decode.Ensemble.

        Raises:
            InputError: a folder has no run of this experiment, the runs of an ensemble differ in vocabulary, or there are too
                few checkpoints to average.
        """
        checkpoint = None if self.checkpoint == "best" and self.average == 1 else "last"
        runs = [train.load_run(folder, checkpoint) for folder in (self.dir, *self.ensemble)]
        for run in runs:
            fits = isinstance(run.model, model_type) and vocabularies in (None, len(run.model.vocabulary_sizes))
            if not fits or run.vocabulary is None:
                model = f"its model is a {type(run.model).__name__} of {len(run.model.vocabulary_sizes)} vocabularies"
                types = model_type if isinstance(model_type, tuple) else (model_type,)
                expected = f"it must be a {' or '.join(each.__name__ for each in types)}"
                expected += "" if vocabularies is None else f" of {vocabularies}"
                raise InputError(f"{run.dir} is not a run of this experiment: {model}, {expected}")
            if run.vocabulary != runs[0].vocabulary:
                raise InputError(f"--ensemble {run.dir}: its vocabularies are not those of {self.dir}")
        params = tuple(self._params(run) for run in runs)
        if len(runs) == 1:
            return Loaded(runs[0], runs[0].model, params[0], self)
        models = tuple(run.model for run in runs)
        return Loaded(runs[0], fuse(models) if fuse else decode.Ensemble(models, average=self.averaging), params, self)

    def _params(self, run: train.Run) -> Params:
        if self.average == 1 and not self.raw:
            return run.params
        shapes = jax.eval_shape(run.model.init, jax.random.key(0))
        with train.Checkpoints(train.RunFolder(run.dir).checkpoints, read_only=True) as checkpoints:
            if self.average != 1:
                return train.average(checkpoints, shapes, self.average, raw=self.raw)
            return checkpoints.params(shapes, "last" if self.checkpoint == "last" else None, raw=self.raw)


class Loaded(NamedTuple):
    """A run with its model and parameters, or those of an ensemble of which the run is the first."""

    run: train.Run
    model: Any
    params: Any
    weights: Weights

    def name(self, split: str, name: str | None, data: Mapping[str, Any]) -> str:
        """The name of an evaluation's files: `name`, else the split and the weights; then a hash of the data."""
        weights = self.weights
        parts = [split] if name is None else [name]
        if name is None:
            parts += ["last"] * (weights.checkpoint == "last" and weights.average == 1)
            parts += ["raw"] * weights.raw
            parts += [f"average{weights.average}"] * (weights.average != 1)
            parts += [f"ensemble{1 + len(weights.ensemble)}"] * bool(weights.ensemble)
        return "-".join([*parts, data["sha256"][:8]])

    def write(
        self,
        name: str,
        figures: dict[str, float],
        more: Mapping[str, Any],
        data: Mapping[str, Any],
        lines: Mapping[str, Sequence[str]] | None = None,
    ):
        """Prints the figures of an evaluation, then writes eval-<name>.json and prints its path; warns if it cannot be written.

        Args:
            name: the name returned by `Loaded.name`.
            figures: figures to print and write.
            more: further entries, only written.
            data: the record of the data, with its sha256.
            lines: of further files eval-<name>.<suffix>, by suffix.
        """
        print("\n".join(f"{figure} {value:.4f}" for figure, value in figures.items()), flush=True)
        weights: dict[str, Any] = {name: getattr(self.weights, name) for name in ("checkpoint", "raw", "average")}
        weights["ensemble"] = list(self.weights.ensemble)
        mesh = train.data_mesh(jax.local_devices()[:1])
        about = facts(self.run.config["seed"], data, mesh)
        path, folder = None, train.RunFolder(self.run.dir)
        with warned():
            path = folder.write_evaluation(name, figures | dict(more) | weights | about)
            for suffix, texts in (lines or {}).items():
                folder.write_text(f"eval-{name}.{suffix}", "".join(f"{text}\n" for text in texts))
        if path is not None:
            print(path)


def check_experiment(folder: str, description: Mapping[str, Any], program: Any):
    """Raises InputError if another experiment than that of a command wrote config.json; `program` is the command."""
    experiment = description.get("experiment", "")
    if f"experiments.{experiment}" not in str(program).split():
        raise InputError(f"{folder} is not a run of this experiment: it is one of {experiment or 'none'}")


def latest(program: command_line.Program) -> Callable[[], Weights]:
    """A function that returns the flags for an experiment's newest run, for use as a default factory."""
    return lambda: Weights(dir=f"runs/{program.experiment}/latest")


def with_latest(argv: list[str], program: command_line.Program) -> list[str]:
    """The arguments of a verb that takes a run's folder and a file: [DIR] [FILE] as DIR --input FILE.

    A file that stands alone is for the newest run.
    """
    count = next((n for n, argument in enumerate(argv) if argument.startswith("-")), len(argv))
    names, flags = argv[:count], argv[count:]
    if len(names) == 1 and not Path(names[0], "config.json").exists():
        names = [latest(program)().dir, *names]
    return [*names[:1], *(["--input", *names[1:]] if names[1:] else ()), *flags]


def parse_verb(verb: type[Verb], argv: list[str], *, program: str, data: Any) -> tuple[Verb, bool]:
    """Parses the flags of a verb with `weights` and `data`; --data flags change the data of the run.

    Args:
        verb: a frozen dataclass.
        argv: the flags.
        program: the command with the verb.
        data: the experiment's default Data(); if a flag gives one of its `SOURCES`, the run's other sources are dropped, and
            one of `OF_TRAINING` is refused.

    Returns:
        (the verb's config, True if a flag changes the data).

    Raises:
        InputError: the folder is not a run folder, --name is not a plain file name, or a flag would change training alone.
    """
    config: Any = command_line.parse(verb, argv, program=program)
    name = getattr(config, "name", None)
    if name is not None and (Path(name).name != name or name in ("", "..")):
        raise InputError(f"--name {name} is not a plain file name: leave out the folders")
    folder = train.RunFolder(config.weights.dir)
    description = folder.read_config()
    with folder.config_blamed():
        check_experiment(config.weights.dir, description, program)
        base = located_data(command_line.from_dict(data, description["config"]["data"]), description)
    flags = {argument.split("=")[0] for argument in argv if argument.startswith("--data.")}
    names = {flag.removeprefix("--data.").replace("-", "_") for flag in flags}
    for flag in sorted(flags):
        if flag.removeprefix("--data.").removeprefix("no-").split(".")[0].replace("-", "_") in data.OF_TRAINING:
            raise InputError(f"{flag} is a setting of training, and does nothing here: leave it out")
    if names & set(data.SOURCES):
        dropped = (*data.SOURCES, *(() if names & set(data.PATHS) else getattr(data, "OF_FILES", ())))
        base = dataclasses.replace(base, **{name: getattr(data, name) for name in dropped})
    default = dataclasses.replace(config, data=base)
    return command_line.parse(verb, argv, program=program, default=default), bool(names)
