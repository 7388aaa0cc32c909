"""Splits: no group in two parts, more people move nobody, published splits as they are."""

import numpy as np
import pytest

from seqjax.data.series import check_parts, split_series
from seqjax.errors import InputError
from tests.data.series.examples import make


def people(count, *, each=3, **options):
    lengths = (2,) * (count * each)
    options = {"targets": None, "labels": [n % 3 for n in range(len(lengths))]} | options
    groups = tuple(f"person {n // each}" for n in range(len(lengths)))
    return make(lengths, names=tuple(f"{n}" for n in range(len(lengths))), groups=groups, **options)


def groups_of(parts):
    return {name: set(part.groups) for name, part in parts.items()}


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_divided_and_every_item_is_in_one_part(seed):
    for count in (3, 5, 60):
        series = people(count)
        for options in ({}, {"fold": 1}, {"shares": (0.5, 0, 0.5)}, {"shares": (0.4, 0.3, 0.3), "fold": count - 1}):
            parts = split_series(series, seed=seed, **options)
            valid = () if options.get("shares", (0, 1))[1] == 0 else ("valid",)
            assert set(parts) == {"train", "test", *valid}
            assert sorted(name for part in parts.values() for name in part.names) == sorted(series.names)
            assert sum(map(len, groups_of(parts).values())) == count
            if "fold" in options:
                assert groups_of(parts)["test"] == {series.folds[options["fold"]]}


def test_more_people_move_nobody():
    small, large = (groups_of(split_series(people(count))) for count in (60, 90))
    assert all(small[name] <= large[name] for name in small)
    assert groups_of(split_series(people(60), seed=1)) != small
    assert abs(len(large["train"]) / 90 - 0.8) < 0.12


def test_published_splits_are_taken():
    plain = people(4, splits={"train": np.arange(9), "test": np.arange(9, 12)})
    whole = groups_of(split_series(plain, shares=(0.9, 0, 0.1)))
    assert whole == {"train": {"person 0", "person 1", "person 2"}, "test": {"person 3"}}
    parts = groups_of(split_series(plain))
    assert parts["test"] == {"person 3"} and len(parts["valid"]) == 1 and len(parts["train"]) == 2
    assert groups_of(split_series(plain, fold=0))["test"] == {"person 0"}  # one person left out
    several = {"a/train": range(6), "a/test": range(6, 12), "b/train": range(6), "b/test": range(6, 9)}
    several = people(4, splits=several)
    assert several.folds == ("a", "b")
    assert groups_of(split_series(several, fold=0, shares=(1, 0, 0)))["test"] == {"person 2", "person 3"}
    assert groups_of(split_series(several, fold=1, shares=(1, 0, 0)))["test"] == {"person 2"}
    halved = several.take(np.arange(0, 12, 2))
    assert groups_of(split_series(halved, fold=1, shares=(1, 0, 0)))["test"] == {"person 2"}


def test_wrong_splits_are_refused():
    series = people(3)
    for call, message in [
        (lambda: split_series(series, fold=3), "fold is 3: there are 3, 0 to 2"),
        (lambda: split_series(series, shares=(1, 1, 0)), "split is 1 1 0: it must be three shares"),
        (lambda: split_series(people(2)), "there are 2 groups for 3 parts"),
        (lambda: split_series(people(2), fold=0), "the training data have 1 group, none can be set aside"),
        (
            lambda: split_series(people(3, splits={"a/train": [0], "b/train": [1]})),
            "there are 2 published splits: choose one, fold",
        ),
        (lambda: split_series(people(3, labels=[0] * 8 + [2]), fold=2), "class 'run' is in test and not in train"),
        (lambda: check_parts({"train": series, "test": series.take([0])}), "group person 0 is in train and in test"),
        (lambda: check_parts({"test": series}), "train has no items"),
        (lambda: check_parts({"train": series, "test": series.with_classes("run")}), "train differs: use the same"),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert message in str(error.value)
