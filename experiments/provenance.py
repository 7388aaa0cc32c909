"""The places of a run's data, which may change, and their hashes, which may not."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from seqjax.data.splits import SPLITS
from seqjax.errors import InputError
from seqjax.train import Run, RunFolder


def changed_splits(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits whose hash differs between two records of data; all splits if the records have a single hash.

    Example:
        >>> before = {"sha256": "12", "train_sha256": "1", "valid_sha256": "2", "test_sha256": "0"}
        >>> changed_splits(before, before | {"sha256": "13", "valid_sha256": "3"}), changed_splits(before, before)
        (('valid',), ())
        >>> changed_splits({"sha256": "12"}, {"sha256": "13"})
        ('train', 'valid', 'test')
    """
    if before.get("sha256", now["sha256"]) == now["sha256"]:
        return ()
    if f"{SPLITS[0]}_sha256" not in now:
        return SPLITS
    return tuple(split for split in SPLITS if before.get(f"{split}_sha256") != now[f"{split}_sha256"])


def places_of(config: Any) -> tuple[str, ...]:
    """The fields of a config that say where the data lie, as dotted names."""
    return tuple(f"data.{name}" for name in dict.fromkeys((*type(config.data).SOURCES, *type(config.data).PATHS)))


def paths_of(config: Any) -> dict[str, Any]:
    """The absolute paths of the files and folders that a config names, by dotted name."""
    named = {f"data.{name}": getattr(config.data, name) for name in type(config.data).PATHS} | {"init_from": config.init_from}
    return {name: path for name, value in named.items() if (path := _absolute(value))}


def located_data(data: Any, description: Mapping[str, Any]) -> Any:
    """The field `data` of a run's config with the absolute paths of its files, where these are still there.

    Args:
        data: read from `description`.
        description: the content of the run's config.json.
    """
    paths = {name.removeprefix("data."): _absolute(value) for name, value in description.get("paths", {}).items()}
    return dataclasses.replace(data, **{name: path for name, path in paths.items() if path and name in type(data).PATHS})


def _absolute(value: Any) -> Any:
    """The absolute path of a file or folder, or those of several, as a tuple; None unless they are there."""
    if isinstance(value, list | tuple):
        paths = tuple(map(_absolute, value))
        return paths if paths and all(paths) else None
    there = isinstance(value, str) and value and os.path.exists(os.path.expanduser(value))
    return os.path.abspath(os.path.expanduser(value)) if there else None


def refuse_changed(config, before: Mapping[str, Any], data: Mapping[str, Any]):
    """Refuses to resume a run with other data, wherever they lie.

    Args:
        config: the experiment's config, with `data`.
        before: the content of the run's config.json.
        data: the record of the present data.

    Raises:
        InputError: a split has changed; the message names the data and the changed splits.
    """
    splits = changed_splits(before.get("data", {}), data)
    if splits:
        origin = _origin(config.data, data, splits)
        raise InputError(f"{origin} is not what {config.resumes} was started with: restore it to continue, or start a new run")


def warn_if_changed(run: Run, data: Any, record: Mapping[str, Any], split: str):
    """Prints a warning if a split has changed since training.

    Args:
        run: the run that is measured.
        data: the field `data` of its config.
        record: the record of the present data.
        split: the split that is measured.
    """
    if split in changed_splits(RunFolder(run.dir).read_config().get("data", {}), record):
        origin = _origin(data, record, (split,))
        print(f"warning: {origin} has changed since {run.dir} was trained: the figures are of other data", file=sys.stderr)


def _origin(data: Any, record: Mapping[str, Any], splits: Sequence[str]) -> str:
    """The files of some splits (or the source of the data) and the names of the splits, as a text."""
    files = dict.fromkeys(path for split in splits for path in getattr(data, split, ()) or getattr(data, "train", ()))
    return f"{' '.join(files) or record['source']} ({', '.join(splits)})"
