"""Several runs of one config in one folder, by one command: a run for each seed, and a summary of their figures."""

import contextlib
import dataclasses
import datetime
import json
import math
import pathlib
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from experiments import command_line
from experiments.session import Folder
from seqjax.errors import InputError
from seqjax.train import Run, RunFolder
from seqjax.train.output import say
from seqjax.writing import write_bytes

FILE = "summary.json"


def summary_of(rows: Sequence[Mapping[str, Any]], *, but: str = "") -> dict[str, dict[str, float | int | None]]:
    """Mean, standard deviation (n - 1 in the denominator) and number of each figure, over the rows in which it is a number.

    Args:
        rows: figures by name.
        but: a name that is left out.

    Example:
        >>> summary_of([{"loss": 1.0, "device": "cpu"}, {"loss": 3.0, "device": "cpu"}])
        {'loss': {'mean': 2.0, 'sd': 1.4142135623730951, 'n': 2}}
    """
    summary = {}
    for name in dict.fromkeys(name for row in rows for name in row if name != but):
        values = [row[name] for row in rows if _is_number(row.get(name))]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else None
            summary[name] = {"mean": statistics.fmean(values), "sd": deviation, "n": len(values)}
    return summary


def figures_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The figures in results.json, without the record of seed and data."""
    return {
        name: value for name, value in results.items() if _is_number(value) and name != "seed" and not name.startswith("data_")
    }


def train_seeds(config, program: command_line.Program, main: Callable[..., Run], *, preset: str) -> int | None:
    """Trains a config with several seeds, each in the folder seed-N of one folder, and writes summary.json there.

    Finished runs of the same config are left as they are, and others go on from their last checkpoint.

    Args:
        config: the config, with `seeds`; run.dir is the folder of all, None: runs/<experiment>/<preset>-<time>-seeds.
        program: the experiment's command line.
        main: trains one run: main(config, preset=...).
        preset: the preset's name.

    Returns:
        The number of the signal that stopped a run; None if all have ended.

    Raises:
        InputError: --resume is given too, or the folder holds something else.
    """
    seeds, now = config.seeds, datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    if config.resume is not None:
        raise InputError("--seeds and --resume are both given: to continue, repeat the command that started the seeds")
    folder = pathlib.Path(config.run.dir or f"runs/{program.experiment}/{preset}-{now}-seeds")
    rows: list[dict[str, Any]] = []
    with claimed(folder, FILE, preset, config):
        for number, seed in enumerate(seeds, 1):
            run = dataclasses.replace(config, seed=seed, seeds=(), run=Folder(str(folder / f"seed-{seed}")))
            say(f"--- seed {seed}, {number} of {len(seeds)}, in {run.run.dir} ---", sys.stdout)
            results, signal = continued(run, main, preset)
            if signal is not None:
                say(f"stopped in {run.run.dir}: the same command with --run.dir {shlex.quote(str(folder))} continues", sys.stdout)
                return signal
            rows.append({"seed": seed, "dir": f"seed-{seed}"} | figures_of(results))
            write(
                folder / FILE, {"preset": preset, "config": plain(config), "runs": rows, "figures": summary_of(rows, but="seed")}
            )
    summary = summary_of(rows, but="seed")
    say("\n".join([*(f"{name} {shown(figure)}" for name, figure in summary.items()), str(folder / FILE)]), sys.stdout)
    return None


def folder_names(texts: Sequence[str], flag: str) -> list[str]:
    """A name for a folder of each text, without the signs that a shell or a file system reads.

    Args:
        texts: such as calls of cells.
        flag: the flag that gives them, for messages.

    Raises:
        InputError: two of them would have one folder.

    Example:
        >>> folder_names(["LSTM(forget_bias=-1.0)", "LSTM(forget_bias=1.0)"], "--cells")
        ['LSTM-forget_bias--1.0', 'LSTM-forget_bias-1.0']
    """
    names: list[str] = []
    for text in texts:
        names.append(re.sub(r"[^\w.-]+", "-", text).strip("-"))
        if names[-1].lower() in map(str.lower, names[:-1]):
            raise InputError(f"{flag} gives {text} twice, and one folder would hold both: leave one out")
    return names


def train_variants(
    variants: Mapping[str, Any], top: pathlib.Path, program: command_line.Program, main, *, preset: str
) -> int | None:
    """Trains several configs as `train_seeds` does, each in a folder of its own in one folder.

    Args:
        variants: configs by the name of the folder.
        top: the folder of all.
        program: the experiment's command line.
        main: trains one run: main(config, preset=...).
        preset: the preset's name.

    Returns:
        The number of the signal that stopped a run; None if all have ended.

    Raises:
        InputError: a folder holds something else.
    """
    for name, config in variants.items():
        several = dataclasses.replace(config, seeds=config.seeds or (config.seed,), run=Folder(str(top / name)))
        signal = train_seeds(several, program, main, preset=preset)
        if signal is not None:
            return signal
    return None


def shown(figure: Mapping[str, Any] | None) -> str:
    """A figure's mean, deviation and number as a text.

    Example:
        >>> shown({"mean": 1.5, "sd": 0.25, "n": 3}), shown({"mean": 1.5, "sd": None, "n": 1}), shown(None)
        ('1.5 ± 0.25 (3)', '1.5', '-')
    """
    if figure is None:
        return "-"
    return f"{figure['mean']:.5g}" + (f" ± {figure['sd']:.2g} ({figure['n']})" if figure["sd"] is not None else "")


def continued(config, main: Callable[..., Run], preset: str) -> tuple[dict[str, Any], int | None]:
    """The results of a run, read if it has ended, else trained on or anew; and the signal that stopped it.

    Args:
        config: the run's config, with run.dir.
        main: trains one run: main(config, preset=...).
        preset: the preset's name.
    """
    folder, before = RunFolder(config.run.dir), None
    path = folder.dir / "results.json"
    if results := folder.read_results():
        if folder.read_config()["config"]["loop"] == dataclasses.asdict(config.loop):
            return results, None
        before = path.read_bytes()  # of another length
        path.unlink()
    try:
        run = main(dataclasses.replace(config, resume_if_there=True), preset=preset)
    except InputError:
        if before is not None:  # nothing was trained
            write_bytes(path, before)
        raise
    return run.results, run.stopped_by


@contextlib.contextmanager
def claimed(folder: pathlib.Path, file: str, preset: str, config) -> Iterator[None]:
    """A context around the runs of a config in one folder, see `claim`; a folder in which none could begin is removed again."""
    there, new = folder.exists(), not (folder / file).exists()
    claim(folder, file, preset, config)
    try:
        yield
    except InputError:
        if new and [each.name for each in folder.iterdir()] == [file]:
            (folder / file).unlink()
            if not there:
                folder.rmdir()
        raise


def claim(folder: pathlib.Path, file: str, preset: str, config):
    """Makes a folder for the runs of a config, or checks that it holds those of the same.

    Args:
        folder: the folder.
        file: the name of its table of runs.
        preset: the preset's name.
        config: the config; settings that may change when a run is resumed do not count.

    Raises:
        InputError: the folder holds other runs or other files, or cannot be made.
    """
    path = folder / file
    if path.exists():
        before, now = json.loads(path.read_text()), plain(config)
        changed = [name for name, value in now.items() if before["config"].get(name) != value]
        if before["preset"] != preset or changed:
            raise InputError(f"{folder} holds runs with another {', '.join(changed) or 'preset'}: give another --run.dir")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}; give another --run.dir") from None
    if any(each.name != f"{file}.part" for each in folder.iterdir()):  # a write that was cut short
        raise InputError(f"{folder} exists and holds no {file}: give another --run.dir")
    write(path, {"preset": preset, "config": plain(config), "runs": []})


def plain(config) -> dict[str, Any]:
    """The settings that all runs share, flat, as in JSON."""
    free = [field.name for field in dataclasses.fields(config) if field.metadata.get("changeable") and field.name != "init_from"]
    flat = {name: value for name, value in command_line.flatten(config).items() if name.split(".")[0] not in free}
    return json.loads(json.dumps(flat))


def write(path: pathlib.Path, content: dict[str, Any]):
    """Writes a JSON file, whole or not at all."""
    write_bytes(epath.Path(path), (json.dumps(content, indent=1) + "\n").encode())


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
