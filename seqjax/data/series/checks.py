"""Checks of a series: each raises InputError with one line that names the item and the step."""

from collections.abc import Mapping, Sequence

import numpy as np

from seqjax.errors import InputError


def check_counts(names: Sequence[str], lengths: np.ndarray, rate: float | None, fields: Mapping[str, Sequence | None]) -> None:
    """Raise InputError unless every field has one value an item, every item has steps, and the rate is above 0.

    Args:
        names: of the items.
        lengths: int, [N].
        rate: steps a second, or None.
        fields: what else has one value an item; None: it is not there.
    """
    sizes = {"lengths": len(lengths)} | {name: len(values) for name, values in fields.items() if values is not None}
    wrong = [f"{size} {name}" for name, size in sizes.items() if size != len(names)]
    if wrong or not names:
        raise InputError(f"there are {len(names)} names, {', '.join(wrong) or 'no items'}: give one of each an item")
    if lengths.min() < 1:
        raise InputError(f"{names[int(lengths.argmin())]} has no steps: leave it out")
    if rate is not None and not 0 < rate < np.inf:
        raise InputError(f"rate is {rate}, it must be above 0: the steps a second")


def check_labels(names: Sequence[str], labels: np.ndarray, classes: int) -> None:
    """Raise InputError unless every item's class, int [N], is from 0 to below the number of classes."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise InputError(f"{names[wrong[0]]} has label {labels[wrong[0]]}: there are {classes} classes, 0 to {classes - 1}")


def check_targets(names: Sequence[str], targets: Sequence[np.ndarray], lengths: np.ndarray, classes: int) -> None:
    """Raise InputError unless every item has a class a step, int [T_n], each from -1 to below the number of classes."""
    for name, target, length in zip(names, targets, lengths, strict=True):
        if target.shape != (length,):
            raise InputError(f"{name} has {length} steps and targets {target.shape}: give one a step")
        wrong = np.flatnonzero((target < -1) | (target >= classes))
        if wrong.size:
            raise InputError(f"{name} has target {target[wrong[0]]} at step {wrong[0]}: there are {classes} classes, and -1")


def check_item(what: str, array: np.ndarray, length: int, shape: tuple[int, ...], first: str) -> None:
    """Raise InputError unless an item has so many steps, each of a shape, and holds neither NaN nor infinity.

    Args:
        what: the input and the item, for the message.
        array: [T, ...].
        length: T.
        shape: of a step.
        first: the name of the item that has this shape.
    """
    if array.shape[:1] != (length,):
        raise InputError(f"{what} has {len(array)} steps, it should have {length}")
    if array.shape[1:] != shape:
        raise InputError(
            f"{what} has size {list(array.shape[1:])} a step, {first} has {list(shape)}: all items must have the same"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        step = int(np.flatnonzero(~np.isfinite(array.reshape(length, -1)).all(axis=1))[0])
        raise InputError(f"{what} is NaN or infinite at step {step}: repair it or leave the item out")


def check_splits(splits: Mapping[str, np.ndarray], groups: Sequence[str]) -> None:
    """Raise InputError if a published split has an index outside the data or divides a group.

    Args:
        splits: indices by "train", "valid", "test", or by "<name>/train" and so on.
        groups: of the items.
    """
    places = {}  # by the name of the split, the part of each group
    for name, indices in splits.items():
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(groups)):
            raise InputError(f"split {name} has indices {indices.min()} to {indices.max()}: there are {len(groups)} items")
        split_of: dict[str, str] = places.setdefault(name.rpartition("/")[0], {})
        for group in {groups[int(n)] for n in indices}:
            if group in split_of:
                raise InputError(f"group {group} is in the splits {split_of[group]} and {name}: a group belongs to one")
            split_of[group] = name
