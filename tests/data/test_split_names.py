"""The split of names by their hashes, and of few names by the order of the hashes."""

import itertools

import pytest

from seqjax.data.splits import SPLITS, hashed_split, split_names


@pytest.mark.parametrize("shares", [(0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.01, 0.5, 0.49), (0.98, 0.01, 0.01), (0.4, 0.3, 0.3)])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 9])
def test_a_split_has_names_if_and_only_if_it_has_a_share(shares, count):
    splits = {split for split, share in zip(SPLITS, shares, strict=True) if share}
    first = next(split for split in splits if split != "test")
    alike = (f"name {n}" for n in itertools.count() if hashed_split(f"name {n}", shares) == first)  # all hash to one split
    names = list(itertools.islice(alike, count))
    if count >= len(splits):
        split_of = split_names(names, shares)
        assert set(split_of.values()) == splits and list(sorted(split_of)) == sorted(names)
