"""The verb `train` of every experiment: its flags, and its exit code after a signal."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from experiments import command_line
from experiments.provenance import located_data
from experiments.repeats import FILE, train_seeds
from experiments.session import Folder
from experiments.weights import check_experiment
from seqjax import train as training
from seqjax.errors import InputError
from seqjax.train.output import say


def read_config(argv: list[str], program: command_line.Program, *, default_preset: str = "tiny") -> tuple[Any, str]:
    """The config that the flags make of a preset or of a resumed run's config; prints the preset and the changes.

    Args:
        argv: the flags of `train`.
        program: the experiment's command line.
        default_preset: the preset if no flag names one.

    Returns:
        (config, the preset's name).

    Raises:
        InputError: the preset is unknown or not the resumed run's, the folder to resume is not a run folder, or --run.dir names
            another one.
    """
    name, argv = command_line.take_flag(argv, "--preset")
    folder, argv = command_line.take_flag(argv, "--resume")
    config_type: Any = type(next(iter(program.presets.values())))
    if folder is None:
        folder, argv = _folder_that_is_there(argv)
    if folder is not None:
        if pathlib.Path(folder, FILE).exists():
            raise InputError(f"{folder} holds the runs of several seeds: to continue, repeat the command that started them")
        run = training.RunFolder.resume(folder)
        description = run.read_config()
        with run.config_blamed():
            check_experiment(folder, description, program)
            if name not in (None, description["preset"]):
                raise InputError(f"cannot resume with another preset: it was {description['preset']}, now it is {name}")
            preset = description["preset"]
            before: Any = command_line.from_dict(config_type(), description["config"])
            data = located_data(before.data, description)
        base = dataclasses.replace(before, data=data, resume=folder, init_from=None, run=Folder(folder))
    else:
        preset = name or default_preset
        base = command_line.pick_preset(program.presets, preset)
    usage = f"{program} train --preset {{{','.join(program.presets)}}}"
    config = command_line.parse(config_type, argv, program=usage, default=base)
    if folder is not None and training.RunFolder(config.run.dir).dir != training.RunFolder(folder).dir:
        raise InputError(f"--resume {folder} continues in that folder: leave out --run.dir, or copy the folder to try two ways")
    changes = command_line.differences(config, base)
    say(f"preset {preset}" + "".join(f"\n  --{flag.replace('_', '-')} {value}" for flag, value in changes.items()), sys.stdout)
    return config, preset


def _folder_that_is_there(argv: list[str]) -> tuple[str | None, list[str]]:
    """The run folder that --resume-if-there continues, and the flags for it; None for a new run."""
    if not {"--resume-if-there", "--resume_if_there"} & set(argv):
        return None, argv
    folder, rest = command_line.take_flag(argv, "--run.dir")
    if folder is None or not training.RunFolder(folder).exists():
        return None, argv
    rest = command_line.take_flag(rest, "--init-from")[1]
    return folder, [flag for flag in rest if flag not in ("--resume-if-there", "--resume_if_there")]


def run_training(argv: list[str], program: command_line.Program, main: Callable[..., training.Run]) -> training.Run | None:
    """Reads the flags of `train`, calls `main(config, preset=...)` and prints the run's folder; None for several seeds."""
    config, preset = read_config(argv, program)
    if config.seeds:
        signal = train_seeds(config, program, main, preset=preset)
        if signal is not None:
            raise SystemExit(128 + signal)
        return None
    run = main(config, preset=preset)
    say(run.dir, sys.stdout)
    exit_if_stopped(run)
    return run


def exit_if_stopped(run: training.Run):
    """Ends the command if a signal has stopped the run, with the exit code that shells give it: 128 and its number."""
    if run.stopped_by is not None:
        raise SystemExit(128 + run.stopped_by)
