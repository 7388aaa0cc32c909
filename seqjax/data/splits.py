"""The splits train, valid and test: names, shares, and a split by hash that is stable under reordering and additions."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import accumulate

from seqjax.errors import InputError

SPLITS = ("train", "valid", "test")
DEFAULT_SHARES = (0.8, 0.1, 0.1)


def checked_shares(split: Sequence[float]) -> tuple[float, ...]:
    """Three shares as floats.

    Args:
        split: the shares of train, valid and test.

    Returns:
        The shares as floats.

    Raises:
        InputError: there are not three shares, one is negative, or their sum is not 1.

    Example:
        >>> checked_shares([1, 0, 0])
        (1.0, 0.0, 0.0)
    """
    shares = tuple(split)
    numeric = all(isinstance(share, int | float) for share in shares)
    if not (len(shares) == 3 and numeric and min(shares) >= 0 and abs(sum(shares) - 1) < 1e-6):
        raise InputError(
            f"split is {' '.join(map(str, shares))}: it must be three shares (train, valid, test), none negative, of sum 1"
        )
    return tuple(float(share) for share in shares)


def hashed_split(name: str, shares: Sequence[float]) -> str:
    """The split of a name: the interval of the cumulative shares that contains the name's SHA-256, scaled to [0, 1).

    Args:
        name: a unique name of the document or sentence.
        shares: returned by `checked_shares`.

    Returns:
        "train", "valid" or "test".

    Example:
        >>> [hashed_split(name, (0.5, 0.25, 0.25)) for name in "abc"]
        ['test', 'train', 'train']
    """
    point = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    return SPLITS[sum(point >= edge for edge in list(accumulate(shares))[:2])]


def split_names(names: Iterable[str], shares: Sequence[float]) -> dict[str, str]:
    """The split of each name by `hashed_split`; if that leaves a split empty, the names are cut in the order of their hashes.

    Args:
        names: names of documents, sentences or groups; equal names count once.
        shares: returned by `checked_shares`.

    Returns:
        {name: "train", "valid" or "test"}. Every split with a share has a name, if there are as many names as such splits;
        a split without a share has none.

    Example:
        >>> sorted(split_names(("one pair", "another", "a third"), (0.8, 0.1, 0.1)).values())
        ['test', 'train', 'valid']
    """
    split_of = {name: hashed_split(name, shares) for name in names}
    expected = {split for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    count = len(split_of)
    if set(split_of.values()) == expected or count < len(expected):
        return split_of
    ordered = sorted(split_of, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
    sizes = [max(1, round(share * count)) if share > 0 else 0 for share in shares]  # small splits get one name
    largest = sizes.index(max(sizes))
    sizes[largest] += count - sum(sizes)
    train, valid, test = sizes
    return dict(zip(ordered, ["valid"] * valid + ["test"] * test + ["train"] * train, strict=True))
