"""Checks, by hashes, that the data of a run have not changed since it was trained."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import command_line
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


def refuse_changed(config, data: Mapping[str, Any]):
    """Refuses to resume a run whose data have changed although its config names the same data.

    Args:
        config: the experiment's config, with `resume` and `data`.
        data: the record of the present data.

    Raises:
        InputError: the data have changed; the message names the data and the changed splits.
    """
    if config.resume:
        description = RunFolder.resume(config.resume).read_config()
        splits = changed_splits(description.get("data", {}), data)
        if splits and command_line.from_dict(type(config.data)(), description["config"]["data"]) == config.data:
            origin = _origin(config.data, data, splits)
            change = f"{origin} has changed since {config.resume} was started"
            raise InputError(f"{change}: restore it to continue, or start a new run")


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
