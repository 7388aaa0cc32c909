"""What every experiment's training shares: its length, its folder, and how a run begins, goes on or starts from another."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any

import jax

from experiments import command_line
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.serial import to_json
from seqjax.train.checkpoint import Checkpoints, resume
from seqjax.train.loop import LoopConfig
from seqjax.train.runs.folder import RunFolder, compare, describe_run
from seqjax.train.state import TrainState
from seqjax.types import Params


@dataclasses.dataclass(frozen=True)
class Loop:
    """How long, and what happens on the way."""

    epochs: float = 10.0  # times through the training data
    steps: int | None = None  # the budget in steps, instead of epochs
    log_every: int = 50
    eval_every: int | None = None  # steps; None: an epoch
    save_every: int | None = None  # steps; None: an epoch
    patience: int | None = None  # evaluations without improvement before the run stops; None: never

    def resolve(self, steps_per_epoch: int, **more) -> LoopConfig:
        """The same in steps; `more` are further fields of LoopConfig.

        Raises:
            InputError: a budget below one step, or an interval below 1.
        """
        if not math.isfinite(self.epochs):
            raise InputError(f"loop.epochs is {self.epochs}, it must be a finite number")
        steps = round(self.epochs * steps_per_epoch) if self.steps is None else self.steps
        every = {"log_every": self.log_every, "eval_every": self.eval_every, "save_every": self.save_every}
        every = {name: steps_per_epoch if value is None else value for name, value in every.items()}
        for name, value in {"steps": steps, **every}.items():
            if value < 1:
                raise InputError(f"loop.{name} is {value}, it must be at least 1")
        return LoopConfig(steps=steps, patience=self.patience, **every, **more)


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where the run is written."""

    dir: str | None = None  # a new folder; None: runs/<experiment>/<preset>-<time>


def read_config(
    argv: list[str], presets: Mapping[str, command_line.Config], *, program: str, default_preset: str = "tiny"
) -> tuple[command_line.Config, str]:
    """The preset, or the resumed run's config, under the flags; says which, and what was changed.

    Args:
        argv: the flags.
        presets: configs by name, all of one dataclass with a field `resume`.
        program: what the user typed before the flags.
        default_preset: where none is named.

    Returns:
        (config, the preset's name).

    Raises:
        InputError: an unknown preset, another preset than the resumed run's, or a folder without a run.
    """
    name, argv = command_line.take_flag(argv, "--preset")
    folder, argv = command_line.take_flag(argv, "--resume")
    some: Any = next(iter(presets.values()))
    if folder is not None:
        description = RunFolder.resume(folder).read_config()
        if name not in (None, description["preset"]):
            raise InputError(f"cannot resume with another preset: it was {description['preset']}, now it is {name}")
        preset = description["preset"]
        before: Any = command_line.from_dict(type(some)(), description["config"])
        base = dataclasses.replace(before, resume=folder, init_from=None)  # a begun run has its weights
    else:
        preset = name or default_preset
        base = command_line.pick_preset(presets, preset)
    usage = f"{program} --preset {{{','.join(presets)}}}"
    config = command_line.parse(type(some), argv, program=usage, default=base)
    changed = command_line.differences(config, base)
    print(f"preset {preset}" + "".join(f"\n  --{flag.replace('_', '-')} {value}" for flag, value in changed.items()))
    return config, preset


def describe(config, preset: str, presets: Mapping, *, experiment: str, model: Model, vocabulary, data: dict) -> dict:
    """What config.json holds.

    Args:
        config: the experiment's.
        preset: its name; presets: what that name stands for, where it is one of them.
        experiment: its name.
        model, vocabulary: of registered types.
        data: the record of where the data comes from.
    """
    return describe_run(
        experiment=experiment,
        preset=preset,
        overrides=command_line.differences(config, presets[preset]) if preset in presets else {},
        config=dataclasses.asdict(dataclasses.replace(config, resume=None)),
        model=model,
        vocabulary=vocabulary,
        data=data,
    )


def open_run(config, description: dict, *, free: tuple[str, ...]) -> RunFolder:
    """The run's folder: a new one with its config.json, or the one to resume, once nothing but `free` parts differ.

    Raises:
        InputError: the new folder exists, or the run to resume is another one.
    """
    if config.resume:
        run = RunFolder.resume(config.resume)
        compare(run.read_config(), description, free=free)
        return run
    run = RunFolder.create(config.run.dir, experiment=description["experiment"], preset=description["preset"])
    run.write_config(description)
    return run


def begin(config, state: TrainState, stream, plan: LoopConfig, *, run: RunFolder, checkpoints: Checkpoints, description: dict):
    """Where training goes on: (state, position in the stream); of a new run as they are, (state, None).

    Raises:
        InputError: the run has more steps than it is now given, or its checkpoint does not fit.
    """
    if not config.resume:
        return state, None
    done = checkpoints.step("last") or 0
    if plan.steps < done:
        raise InputError(f"loop.steps is {plan.steps}, and the run is at step {done} already: give more")
    state, position = resume(checkpoints, state, stream, run)
    run.write_config(description)  # not before it is sure that the run goes on
    return state, position


def initial_params(config, model: Model, vocabulary) -> Params | None:
    """The weights of another run (--init-from); None where none is named.

    Raises:
        InputError: there are none, they are of another vocabulary or other sizes, or the run is a resumed one.
    """
    if config.resume and config.init_from:
        raise InputError("--resume and --init-from are both given: a resumed run has weights, give one of them")
    if config.init_from is None:
        return None
    folder = RunFolder(config.init_from)
    if folder.read_config()["vocabulary"] != to_json(vocabulary):
        raise InputError(
            f"--init-from {config.init_from}: its vocabulary is not this text's, its weights would mean other symbols"
        )
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        return checkpoints.params(jax.eval_shape(model.init, jax.random.key(0)))


def facts(seed: int, record: Mapping, mesh) -> dict:
    """What a figure is worth nothing without: seed, device, versions, and what the data is."""
    devices = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    versions = f"python {sys.version.split()[0]}, jax {jax.__version__}"
    return {"seed": seed, "device": devices, "versions": versions} | {f"data_{name}": fact for name, fact in record.items()}
