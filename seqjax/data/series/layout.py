"""Folders of items by class, `<class>/<item>` or `<split>/<class>/<item>`: classes, groups and splits out of the names."""

import re
from collections.abc import Sequence

import numpy as np

from seqjax.errors import InputError

SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def classes_and_splits(names: Sequence[str], label: str | None) -> tuple[list[str], dict[str, np.ndarray]]:
    """The class of each item and the published splits.

    Args:
        names: paths below the root folder, with slashes.
        label: a regular expression whose first group (else its match) in a name is the class; None: the item's folder.

    Returns:
        (class of each item, indices by "train", "valid", "test"); [] if no item lies in a folder, {} unless the folders train,
        valid (val, validation) and test lie above all.

    Raises:
        InputError: `label` does not match a name, or some items lie in folders and others do not.

    Example:
        >>> classes_and_splits(["train/run/a.npy", "test/walk/b.npy"], None)
        (['run', 'walk'], {'train': array([0]), 'test': array([1])})
    """
    parts = [name.split("/") for name in names]
    splits: dict[str, np.ndarray] = {}
    if all(len(part) > 1 and part[0].lower() in SPLIT_FOLDERS for part in parts):
        split_of = np.array([SPLIT_FOLDERS[part[0].lower()] for part in parts])
        splits = {
            split: np.flatnonzero(split_of == split) for split in dict.fromkeys(SPLIT_FOLDERS.values()) if split in split_of
        }
        parts = [part[1:] for part in parts]
    if label is not None:
        return [matched(name, label, "label") for name in names], splits
    folders = [part[-2] for part in parts if len(part) > 1]
    if folders and len(folders) < len(parts):
        name = next("/".join(part) for part in parts if len(part) == 1)
        raise InputError(f"{name} lies in no folder of a class, others do: move it, or give label=")
    return folders, splits


def matched(name: str, pattern: str, option: str) -> str:
    """The part of a name that a regular expression's first group matches, else its whole match.

    Args:
        name: an item's name.
        pattern: the regular expression.
        option: the name of the option that gave it, for the message.

    Returns:
        The part.

    Raises:
        InputError: it is not a regular expression, or matches nothing.

    Example:
        >>> matched("walk/person07_2.npy", r"person(\\d+)", "group")
        '07'
    """
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise InputError(f"{option} is {pattern!r}, not a regular expression: {error}") from None
    if match is None:
        raise InputError(f"{option} {pattern!r} matches nothing in the name {name}")
    return match[1] if match.re.groups else match[0]
