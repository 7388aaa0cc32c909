"""Runs side by side.

python -m experiments.runs list [FOLDER ...]
python -m experiments.runs compare DIR DIR ... [--out FOLDER]
"""

import csv
import dataclasses
import datetime
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tyro.conf import Positional

from experiments import command_line
from experiments.limits import FilePath
from experiments.repeats import figures_of, shown, summary_of
from seqjax.errors import InputError
from seqjax.train import RunFolder
from seqjax.train.plots import compared_curves
from seqjax.train.runs.lock import is_owned
from seqjax.writing import write_bytes

PROGRAM = "python -m experiments.runs"
OWN = ("seed", "seeds", "run", "resume", "resume_if_there")  # settings in which the runs of one config may differ


class Entry(NamedTuple):
    """A run, as its folder tells of it.

    Args:
        dir: the folder.
        description: config.json.
        metrics: the lines of metrics.jsonl.
        results: results.json; {} before the run has ended.
    """

    dir: pathlib.Path
    description: dict[str, Any]
    metrics: list[dict]
    results: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that make the run's config, flat, and the SHA-256 of its data."""
        config = {name: value for name, value in self.description["config"].items() if name not in OWN}
        return _flat(config) | {"data.sha256": self.description.get("data", {}).get("sha256")}

    @property
    def step(self) -> int:
        """The last step in the metrics."""
        return max((line["step"] for line in self.metrics), default=0)

    @property
    def state(self) -> str:
        """Running, finished, or stopped before its end."""
        if is_owned(self.dir):
            return "running"
        return "finished" if self.results and self.step <= self.results.get("steps", self.step) else "interrupted"

    @property
    def unit(self) -> str:
        """The unit of the loss, from the name of the rate in the metrics."""
        rates = [name for line in self.metrics for name in line if name.endswith("s_per_second")]
        return rates[0].removesuffix("s_per_second") if rates else "example"


def find_runs(folder: pathlib.Path) -> Iterator[Entry]:
    """The run in a folder, or the runs in the folders below it; a folder that cannot be read is told and left out."""
    for path in [folder / "config.json"] if (folder / "config.json").exists() else sorted(folder.rglob("config.json")):
        if any((parent / "config.json").exists() for parent in path.parent.parents if parent.is_relative_to(folder)):
            continue  # a file of a run
        try:
            run = RunFolder(path.parent)
            yield Entry(path.parent, run.read_config(), run.read_metrics(), run.read_results())
        except (InputError, OSError) as error:
            print(f"warning: {error}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class List:
    """Lists the runs in some folders."""

    folders: Positional[tuple[FilePath, ...]] = ("runs",)


def list_runs(argv: list[str]):
    """Lists runs, the newest first: list [FOLDER ...]; the folders may hold runs at any depth."""
    entries = []
    for folder in command_line.parse(List, argv, program=f"{PROGRAM} list").folders:
        if not pathlib.Path(folder).is_dir():
            raise InputError(f"{folder} is not a folder: give one that holds runs")
        entries += [entry for entry in find_runs(pathlib.Path(folder)) if not entry.dir.is_symlink()]
    rows = [("folder", "experiment", "preset", "date", "state", "step", "figures")]
    for entry in sorted(entries, key=_begun, reverse=True):
        about = entry.description
        shown = {name: value for name, value in figures_of(entry.results).items() if name not in ("steps", "seconds")}
        figures = "  ".join(f"{name} {value:.4g}" for name, value in list(shown.items())[:4])
        date = datetime.datetime.fromtimestamp(_begun(entry)).strftime("%Y-%m-%d %H:%M")
        rows.append((str(entry.dir), about.get("experiment", ""), about["preset"], date, entry.state, f"{entry.step:,}", figures))
    print(_table(rows) if len(rows) > 1 else "no runs")


def _begun(entry: Entry) -> float:
    return min(path.stat().st_mtime for path in entry.dir.iterdir())


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compares runs, or folders of runs such as those of several seeds."""

    dirs: Positional[tuple[FilePath, ...]]
    out: FilePath = "comparison"  # the folder for curves.png and figures.csv
    figure: str | None = None  # the validation figure of the picture; None: the one that all runs monitor, or the loss
    x: Literal["steps", "epochs", "seconds"] = "steps"  # the horizontal axis of the picture
    gradient: bool = False  # draw the norm of the gradient in training beside it


def compare(argv: list[str]):
    """Compares configs, the runs of several seeds together: compare DIR DIR ... [--out FOLDER]; draws curves, writes a table."""
    config = command_line.parse(Compare, argv, program=f"{PROGRAM} compare")
    if not config.dirs:
        raise InputError("no run is named: give run folders, or folders of runs")
    entries = []
    for folder in map(pathlib.Path, config.dirs):
        found = list(find_runs(folder)) if folder.is_dir() else []
        if not found:
            raise InputError(f"{folder} holds no run: give run folders, or folders of runs")
        entries += [entry for entry in found if entry.dir.resolve() not in {each.dir.resolve() for each in entries}]
    groups = grouped(entries)
    rows = differences([runs[0].settings for runs in groups.values()])
    if rows:
        print(_table([("setting", *groups), *rows]), end="\n\n")
    else:
        print("the settings of all runs are equal\n")
    summaries = {name: summary_of([figures_of(run.results) for run in runs]) for name, runs in groups.items()}
    figures = list(dict.fromkeys(figure for summary in summaries.values() for figure in summary))
    print(
        _table(
            [("figure", *groups), *((figure, *(shown(each.get(figure)) for each in summaries.values())) for figure in figures)]
        )
    )
    for run in entries:
        if run.state != "finished":
            print(f"{run.dir}: {run.state} at step {run.step:,}" + (", its figures are older" if run.results else ""))
    figure = config.figure or chosen_figure(entries)
    if not any(figure in line for run in entries for line in run.metrics if line["split"] == "validation"):
        raise InputError(f"no run has a validation figure {figure!r}: give another --figure")
    out = pathlib.Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "figures.csv", as_csv(groups, [name for name, *_ in rows], figures).encode())
    metrics = {name: [run.metrics for run in runs] for name, runs in groups.items()}
    compared_curves(metrics, out / "curves.png", figure=figure, unit=entries[0].unit, x=config.x, gradient=config.gradient)
    print(out / "figures.csv", out / "curves.png", sep="\n")


def grouped(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The runs of each config, by a name that tells the configs apart."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(json.dumps([entry.description.get("experiment"), entry.settings], sort_keys=True), []).append(entry)
    members = list(groups.values())
    rows = differences([runs[0].settings for runs in members])
    names = []
    for number, runs in enumerate(members):
        told = [(setting, row[number]) for setting, *row in rows if setting != "data.sha256"]
        told = [f"{setting.rsplit('.', 1)[-1].replace('_', ' ')} {value}" for setting, value in told]
        alone = runs[0].dir if len(runs) == 1 else runs[0].dir.parent
        names.append(", ".join(told) if 0 < len(told) <= 3 else str(alone))
    return {
        name if names.count(name) == 1 else f"{name} ({runs[0].dir})": runs for name, runs in zip(names, members, strict=True)
    }


def differences(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each setting that differs: its name, and the value of each config.

    Example:
        >>> differences([{"a": 1, "b": None}, {"a": 1, "b": 2}])
        [('b', 'None', '2')]
    """
    names = dict.fromkeys(name for each in settings for name in each)
    rows = [(name, *(str(each.get(name, "-")) for each in settings)) for name in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return [(name, *(value[:12] if name == "data.sha256" else value for value in values)) for name, *values in rows]


def chosen_figure(entries: Sequence[Entry]) -> str:
    """The validation figure that all runs monitor and have, else the loss."""
    monitors = {entry.description["config"].get("monitor", "loss") for entry in entries}
    known = [{name for line in entry.metrics if line["split"] == "validation" for name in line} for entry in entries]
    monitor = monitors.pop()
    return monitor if not monitors and all(monitor in names for names in known) else "loss"


def as_csv(groups: Mapping[str, Sequence[Entry]], settings: Sequence[str], figures: Sequence[str]) -> str:
    """A table of all runs: group, folder, state, seed, the settings that differ, and the final figures."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["config", "dir", "state", "seed", *settings, *figures])
    for name, runs in groups.items():
        for run in runs:
            about = [name, run.dir, run.state, run.description["config"].get("seed")]
            table.writerow([*about, *(run.settings.get(each) for each in settings), *(run.results.get(each) for each in figures)])
    return text.getvalue()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


VERBS = {"list": list_runs, "compare": compare}

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
