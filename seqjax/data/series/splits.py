"""Train, valid and test parts of a series, which never divide a group."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from seqjax.data.series.series import Series
from seqjax.data.splits import DEFAULT_SHARES, SPLITS, checked_shares, split_names
from seqjax.errors import InputError


def split_series(
    series: Series, *, shares: Sequence[float] = DEFAULT_SHARES, fold: int | None = None, seed: int = 0
) -> dict[str, Series]:
    """The parts train, valid and test of a series; no group is in two of them.

    A published split is taken if there is one: `fold` chooses among several. Otherwise, with `fold`, that group is the test part
    (leave one out), and without it each group goes where its hash falls in the shares, so that more data move no group; if that
    leaves a part empty, the groups are ordered by hash and cut at the shares. Of the training groups of a fold or of a published
    split without a valid part, the share of valid is set aside, at least one group, those of the lowest hashes.

    Args:
        series: the data.
        shares: the shares of train, valid and test; 0 for a part that is not wanted.
        fold: a place in `series.folds`; None: no fold.
        seed: changes the hashes.

    Returns:
        {"train": ..., "valid": ..., "test": ...}; a part whose share is 0 is missing, but for the test part of a fold.

    Raises:
        InputError: the shares are wrong, there is no such fold, there are several published splits and no fold, there are too few
            groups, or a class of valid or test is not in train.

    Example:
        >>> from seqjax.data.labels import Labels
        >>> series = Series(
        ...     inputs={"features": [np.zeros((1, 2))] * 6},
        ...     lengths=np.ones(6, int),
        ...     classes=Labels(names=("a", "b")),
        ...     names=tuple("uvwxyz"),
        ...     groups=("Ann", "Ann", "Bob", "Bob", "Cy", "Cy"),
        ...     labels=np.array([0, 1, 0, 1, 0, 1]),
        ... )
        >>> {name: part.names for name, part in split_series(series, fold=1).items()}
        {'train': ('y', 'z'), 'valid': ('u', 'v'), 'test': ('w', 'x')}
    """
    shares = checked_shares(shares)
    places = _published(series, fold)
    if places is None:
        places = _hashed(series, shares, seed) if fold is None else _left_out(series, fold)
    if "valid" not in places and shares[1] > 0:
        places |= _set_aside(series, places["train"], shares[1], seed)
    parts = {name: series.take(places[name]) for name in SPLITS if name in places and len(places[name])}
    check_parts(parts)
    return parts


def check_parts(parts: Mapping[str, Series]) -> None:
    """Checks of parts that belong together, such as training and test data from two folders.

    Args:
        parts: by name, with "train" among them.

    Raises:
        InputError: a group is in two parts, classes or sizes of inputs differ, or a class of another part is not in train.
    """
    if "train" not in parts:
        raise InputError(f"the parts are {', '.join(parts) or 'none'}: train has no items")
    train, groups = parts["train"], {}
    seen = _classes_of(train)
    for name, part in parts.items():
        if part.classes != train.classes or part.shapes != train.shapes:
            raise InputError(f"{name} has inputs {part.shapes} and classes {part.classes.names}, train differs: use the same")
        for group in set(part.groups):
            if group in groups:
                raise InputError(f"group {group} is in {groups[group]} and in {name}: a group belongs to one part")
            groups[group] = name
        unseen = [train.classes.names[n] for n in sorted(_classes_of(part) - seen)]
        if unseen:
            raise InputError(f"class {unseen[0]!r} is in {name} and not in train: split otherwise, or leave the class out")


def _classes_of(series: Series) -> set[int]:
    classes = set() if series.labels is None else set(series.labels.tolist())
    return classes.union(*(np.unique(target).tolist() for target in series.targets or ())) - {-1}


def _checked_fold(series: Series, fold: int) -> int:
    if not 0 <= fold < len(series.folds):
        raise InputError(f"fold is {fold}: there are {len(series.folds)}, 0 to {len(series.folds) - 1}")
    return fold


def _published(series: Series, fold: int | None) -> dict[str, np.ndarray] | None:
    if not series.splits:
        return None
    if any("/" in name for name in series.splits):
        if fold is None:
            raise InputError(f"there are {len(series.folds)} published splits: choose one, fold 0 to {len(series.folds) - 1}")
        prefix = series.folds[_checked_fold(series, fold)] + "/"
    elif fold is None:
        prefix = ""
    else:
        return None
    chosen = {name: series.splits.get(prefix + name) for name in SPLITS}
    return {name: indices for name, indices in chosen.items() if indices is not None}


def _left_out(series: Series, fold: int) -> dict[str, np.ndarray]:
    test = series.folds[_checked_fold(series, fold)]
    is_test = np.array([group == test for group in series.groups])
    return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


def _hash(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{group}".encode("utf-8", "surrogatepass")).digest()


def _hashed(series: Series, shares: tuple[float, ...], seed: int) -> dict[str, np.ndarray]:
    expected = {name for name, share in zip(SPLITS, shares, strict=True) if share > 0}
    split_of = split_names((f"{seed}/{group}" for group in series.groups), shares)
    if set(split_of.values()) != expected:
        raise InputError(f"there are {len(split_of)} groups for {len(expected)} parts: give more, or a share of 0")
    part_of = [split_of[f"{seed}/{group}"] for group in series.groups]
    places = {name: np.array([n for n, part in enumerate(part_of) if part == name], np.int64) for name in SPLITS}
    return {name: indices for name, indices in places.items() if name in expected}


def _set_aside(series: Series, train: np.ndarray, share: float, seed: int) -> dict[str, np.ndarray]:
    groups = sorted({series.groups[n] for n in train}, key=lambda group: _hash(group, seed))
    if len(groups) < 2:
        raise InputError(f"the training data have {len(groups)} group, none can be set aside: give valid the share 0")
    valid = set(groups[: min(max(1, round(share * len(groups))), len(groups) - 1)])
    in_valid = np.array([series.groups[n] in valid for n in train])
    return {"train": train[~in_valid], "valid": train[in_valid]}
