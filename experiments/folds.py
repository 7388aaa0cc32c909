"""All folds of a data set, for several seeds, by one command: a run folder each; what is finished is not done again."""

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments import command_line
from experiments.repeats import claimed, continued, plain, write
from experiments.session import Folder
from experiments.train_verb import read_config
from seqjax.errors import InputError
from seqjax.train import Run, RunFolder

FILE = "folds.json"


def run_folds(
    argv: list[str], program: command_line.Program, main: Callable[..., Run], names: Callable[[Any], Sequence[str]], figure: str
) -> dict[str, Any]:
    """Trains every fold with every seed, prints a table, and writes folds.json; the same command continues an interrupted one.

    Args:
        argv: the flags of `train`, passed on to every run, their --seeds among them; without those, config.seed.
        program: the experiment's command line; its Data has a field `fold`.
        main: trains one run: main(config, preset=...).
        names: a function of the data config that returns the names of the folds.
        figure: the figure of the table, one of results.json.

    Returns:
        The content of folds.json.

    Raises:
        InputError: a wrong flag, a folder with the folds of another config, or a run that fails.
    """
    config, preset = read_config(argv, program)
    if config.resume or config.data.fold is not None:
        raise InputError("folds trains every fold: leave out --resume and --data.fold; the same command continues")
    folder = pathlib.Path(config.run.dir or f"runs/{program.experiment}/folds-{preset}")
    folds, rows = list(names(config.data)), []
    seeds = config.seeds or (config.seed,)
    print(f"{len(folds)} folds, {len(seeds)} seeds, in {folder}", flush=True)
    plan = [(seed, n) for seed in seeds for n in range(len(folds))]
    with claimed(folder, FILE, preset, config), compiled_once():
        for seed, n in plan:
            start, name = time.monotonic(), f"{_plain(folds[n])}-seed{seed}"
            data = dataclasses.replace(config.data, fold=n)
            run = dataclasses.replace(config, seed=seed, seeds=(), data=data, run=Folder(str(folder / name)))
            with contextlib.redirect_stdout(io.StringIO()):
                results, stopped_by = continued(run, main, preset)
            if stopped_by is not None:
                print(f"stopped in {folder / name}: the same command continues")
                raise SystemExit(128 + stopped_by)
            rows.append({"fold": folds[n], "seed": seed, "dir": name} | results)
            took = f"{time.monotonic() - start:.0f} s"
            print(f"  {len(rows)} of {len(plan)}: {name} {figure} {results[figure]:.4f} ({took})", flush=True)
            summary = {"preset": preset, "config": plain(config), "runs": rows} | _means(rows)
            write(folder / FILE, summary)
    print(table(rows, figure), json.dumps(summary["mean"], indent=1), folder / FILE, sep="\n")
    return summary


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """A context in which equal programs of several runs are compiled once, unless the user has a compilation cache already."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    if before[names[0]]:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, value in zip(names, (folder, 0.0), strict=True):
                jax.config.update(name, value)
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)


def table(rows: Sequence[Mapping[str, Any]], figure: str) -> str:
    """The figure of every fold and seed, and the means.

    Example:
        >>> rows = [{"fold": f, "seed": 0, "accuracy": a} for f, a in (("ann", 0.5), ("bob", 1.0))]
        >>> print(table(rows, "accuracy"))
        accuracy    seed 0
        ann         0.5000
        bob         1.0000
        mean        0.7500
    """
    seeds, folds = sorted({row["seed"] for row in rows}), list(dict.fromkeys(row["fold"] for row in rows))
    values = {(row["fold"], row["seed"]): row[figure] for row in rows}
    width = max(map(len, (*folds, figure, "mean")))
    lines = [f"{figure:{width}}" + "".join(f"    seed {seed}" for seed in seeds)]
    for fold in folds:
        lines.append(f"{fold:{width}}" + "".join(f"    {values[fold, seed]:.4f}" for seed in seeds))
    means = [float(np.mean([row[figure] for row in rows if row["seed"] == seed])) for seed in seeds]
    return "\n".join([*lines, f"{'mean':{width}}" + "".join(f"    {mean:.4f}" for mean in means)])


def evaluate_folds(argv: list[str], folder: str, others: Sequence[str], evaluate: Callable[[list[str]], dict[str, float]]):
    """Evaluates a run, or every run in a folder of folds and their mean.

    Args:
        argv: the flags of `evaluate`.
        folder: its run folder, or one written by `run_folds`.
        others: the folders of its --ensemble; of folds, the runs of the same fold and seed in them are taken.
        evaluate: a function of the flags for one run.

    Raises:
        InputError: one of the others lacks a run of that fold and seed.
    """
    path = pathlib.Path(folder, FILE)
    if not path.exists():
        evaluate(argv)
        return
    rows = []
    for row in json.loads(path.read_text())["runs"]:
        places = {each: str(pathlib.Path(each, row["dir"])) for each in (folder, *others)}
        print(places[folder])
        for place in places.values():
            if not RunFolder(place).read_results():
                raise InputError(f"{place} is no finished run: train the same folds and seeds in all folders")
        rows.append(evaluate([places.get(argument, argument) for argument in argv]))
    if not rows:
        raise InputError(f"{folder} has no finished fold yet")
    print(f"mean of {len(rows)} runs", *[f"{name} {value:.4f}" for name, value in mean_figures(rows).items()], sep="\n")


def mean_figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The means of the figures that all rows have.

    Example:
        >>> mean_figures([{"accuracy": 0.5, "dir": "a"}, {"accuracy": 1.0, "dir": "b"}])
        {'accuracy': 0.75}
    """
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names if all(row.get(name) is not None for row in rows)}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means over all runs, and the standard deviation over seeds of the means over folds."""
    by_seed = [mean_figures([row for row in rows if row["seed"] == seed]) for seed in sorted({row["seed"] for row in rows})]
    names = [name for name in by_seed[0] if all(name in means for means in by_seed)]
    return {
        "mean": mean_figures(rows),
        "deviation": {name: float(np.std([means[name] for means in by_seed])) for name in names},
        "by_seed": by_seed,
    }


def _plain(name: str) -> str:
    """A name without characters that folders cannot have."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
