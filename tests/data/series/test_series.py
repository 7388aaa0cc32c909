"""Series: items of equal kind, cut and chosen without losing their group, class or splits; and refusals."""

import numpy as np
import pytest

from seqjax.data.labels import Labels
from seqjax.errors import InputError
from tests.data.series.examples import Lazy, make


@pytest.mark.parametrize("lazy", [None, Lazy, lambda items: Lazy(items, parts=True)])
def test_windows_are_parts_of_their_items_with_the_class_of_most_steps(lazy):
    series = make(lazy=lazy, labels=None, splits={"train": [0, 1], "test": [2, 3]})
    whole = make().inputs["features"]
    windows = series.windows(4, 2)
    expected = []
    for n, target in enumerate(series.targets):
        for begin in range(0, len(target) - 3, 2):
            counts = [int((target[begin : begin + 4] == c).sum()) for c in (-1, 0, 1, 2)]
            if max(counts[1:]) > counts[0]:
                expected.append((n, begin, counts[1:].index(max(counts[1:]))))
    every = sum(max(0, (n - 4) // 2 + 1) for n in series.lengths)
    assert 0 < len(expected) < every
    assert windows.record["shorter_than_window"] == 1 and windows.record["unlabelled_windows"] == every - len(expected)
    assert windows.names == tuple(f"{'abcd'[n]}[{begin}:{begin + 4}]" for n, begin, _ in expected)
    for k, (n, begin, label) in enumerate(expected):
        np.testing.assert_array_equal(windows.read(k)["features"], whole[n][begin : begin + 4])
        np.testing.assert_array_equal(windows.read(k, 1, 3)["features"], whole[n][begin + 1 : begin + 3])
        np.testing.assert_array_equal(windows.targets[k], series.targets[n][begin : begin + 4])
        assert windows.labels[k] == label and windows.groups[k] == series.groups[n]
    for name, items in (("train", (0, 1)), ("test", (2, 3))):
        assert windows.splits[name].tolist() == [k for k, (n, *_) in enumerate(expected) if n in items]


def test_windows_of_lazy_clips_read_their_steps_only():
    lazy = Lazy([np.zeros((n, 2)) for n in (5, 9, 3, 7)], parts=True)
    windows = make(lazy=lambda _: lazy, targets=False).windows(3, 3).take([1, 2])
    lazy.asked.clear()
    assert windows.shapes == {"features": (2,)}
    windows.read(1)
    assert lazy.asked == [(1, 0, 1), (1, 3, 6)] and windows.labels.tolist() == [1, 1]
    (part,) = windows.inputs["features"][1:]
    assert part.shape == (3, 2)


def test_segments_are_runs_of_one_class():
    series = make(labels=None)
    segments = series.segments()
    rebuilt = [np.full(n, -1) for n in series.lengths]
    for name, label, target in zip(segments.names, segments.labels, segments.targets, strict=True):
        item, (begin, end) = "abcd".index(name[0]), map(int, name[2:-1].split(":"))
        assert set(target) == {label} and end - begin == len(target)
        for edge, beyond in ((begin, begin - 1), (end - 1, end)):
            if 0 <= beyond < series.lengths[item]:
                assert series.targets[item][edge] != series.targets[item][beyond]
        rebuilt[item][begin:end] = label
    for target, again in zip(series.targets, rebuilt, strict=True):
        np.testing.assert_array_equal(target, again)


def test_classes_are_chosen_and_numbered_anew():
    series = make()
    chosen = series.with_classes("run", "rest")
    assert chosen.classes.names == ("run", "rest")
    assert [series.classes.names[n] for n in series.labels if n != 1] == [chosen.classes.names[n] for n in chosen.labels]
    for name, target in zip(chosen.names, chosen.targets, strict=True):
        old = series.targets[series.names.index(name)]
        np.testing.assert_array_equal(target, np.select([old == 2, old == 0], [0, 1], -1))


def test_classes_of_an_earlier_run_number_the_items():
    series = make().with_classes("run", "rest")
    earlier = Labels(names=("jump", "rest", "run"))
    again = series.renumbered(earlier)
    assert again.classes == earlier and again.names == series.names
    assert [earlier.names[n] for n in again.labels] == [series.classes.names[n] for n in series.labels]
    for target, old in zip(again.targets, series.targets, strict=True):
        np.testing.assert_array_equal(target, np.select([old == 0, old == 1], [2, 1], -1))
    assert make().take([0]).with_classes("rest").renumbered(Labels(names=("rest",))).labels.tolist() == [0]
    with pytest.raises(InputError, match="class 'run' is not known: it must be one of rest, walk"):
        series.renumbered(Labels(names=("rest", "walk")))


@pytest.mark.parametrize("lazy", [None, Lazy, lambda items: Lazy(items, parts=True)])
@pytest.mark.parametrize("every", [1, 2, 3, 20])
def test_thinned_series_keep_every_nth_step(lazy, every):
    whole, series = make().inputs["features"], make(lazy=lazy, rate=30)
    thin = series.thin(every)
    assert thin.rate == 30 / every and thin.groups == series.groups
    for n, item in enumerate(whole):
        kept = item[::every]
        assert thin.lengths[n] == len(kept)
        for begin in range(len(kept)):
            for end in range(begin + 1, len(kept) + 1):
                np.testing.assert_array_equal(thin.read(n, begin, end)["features"], kept[begin:end])
        np.testing.assert_array_equal(thin.inputs["features"][n], kept)
        np.testing.assert_array_equal(thin.targets[n], series.targets[n][::every])


def test_stacked_series_have_several_steps_in_one():
    series = make(rate=30)
    stacked = series.stack(3)
    assert stacked.shapes == {"features": (6,)} and stacked.lengths.tolist() == [1, 3, 1, 2] and stacked.rate == 10
    for n, item in enumerate(series.inputs["features"]):
        for step in range(stacked.lengths[n]):
            np.testing.assert_array_equal(stacked.inputs["features"][n][step], item[3 * step : 3 * step + 3].ravel())
            assert stacked.targets[n][step] == series.targets[n][3 * step + 1]


def test_identity_is_that_of_the_data_and_not_of_its_place():
    series = make(record={"source": "here", "sha256": "0"})
    assert series.identity == make(record={"source": "there", "sha256": "1"}).identity
    changes = [{"labels": [0, 0, 0, 0]}, {"targets": None}, {"names": tuple("wxyz")}, {"classes": Labels(names=tuple("rst"))}]
    others = [make(**change).identity for change in changes] + [series.take([1, 0, 2, 3]).identity, series.windows(3, 1).identity]
    others += [make(lazy=Lazy, record={"sha256": sha}).identity for sha in "01"]
    others += [make((1, 1), lazy=Lazy).thin(every).identity for every in (2, 3)]
    assert len({other["series"] for other in [series.identity, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("a",)}, "there are 1 names, 4 lengths, 4 groups, 4 labels, 4 targets, 4 features: give one of each"),
        ({"groups": ("x",)}, "1 groups"),
        ({"inputs": {}}, "there are no inputs"),
        ({"lengths": [5, 9, 3, 0]}, "d has no steps: leave it out"),
        ({"inputs": {"features": np.zeros((4, 5, 2))}}, "features of b has 5 steps, it should have 9"),
        ({"rate": 0}, "rate is 0, it must be above 0"),
        ({"labels": [0, 1, 3, 0]}, "c has label 3: there are 3 classes, 0 to 2"),
        ({"targets": [np.zeros(5, int)] * 4}, "b has 9 steps and targets (5,): give one a step"),
        ({"targets": [np.full(n, 3 * (n == 9)) for n in (5, 9, 3, 7)]}, "b has target 3 at step 0"),
        ({"lazy": Lazy, "record": {}}, 'record needs "sha256"'),
        ({"splits": {"train": [0, 2], "test": [1]}}, "group person 0 is in the splits train and test: a group belongs to one"),
        ({"splits": {"1/train": [0, 2], "2/train": [0], "1/test": [3]}}, "group person 1 is in the splits 1/train and 1/test"),
        ({"splits": {"train": [0, 4]}}, "split train has indices 0 to 4: there are 4 items"),
    ],
)
def test_wrong_series_are_refused(options, message):
    with pytest.raises(InputError) as error:
        make(**options)
    assert message in str(error.value)


@pytest.mark.parametrize("lazy", [False, True])
def test_broken_items_are_named(lazy):
    nan = np.zeros((9, 2), np.float32)
    nan[4, 1] = np.nan
    cases = [
        (nan, "features of b is NaN or infinite at step 4"),
        (np.zeros((9, 3)), "features of b has size [3] a step, a has [2]"),
    ]
    for item, message in cases:
        items = [np.zeros((5, 2), np.float32), item]
        with pytest.raises(InputError) as error:
            make((5, 9), lazy=lambda _, items=items: Lazy(items) if lazy else items).read(1)
        assert message in str(error.value)


def test_wrong_cuts_are_refused():
    series = make()
    for call, message in [
        (lambda: series.windows(10, 1), "no item has 10 steps, the longest has 9: give a smaller window"),
        (lambda: series.windows(0, 1), "both must be at least 1"),
        (lambda: make(targets=False).segments(), "segments need targets"),
        (lambda: make(targets=[np.full(n, -1) for n in series.lengths]).segments(), "no step has a class"),
        (lambda: series.with_classes("swim"), "class 'swim' is not known: it must be one of rest, walk, run"),
        (lambda: make(labels=[0] * 4).with_classes("run"), "no item has one of the classes run"),
        (lambda: series.only("frames"), "the data have no ['frames']: they have features"),
        (lambda: series.thin(0), "every is 0, it must be at least 1"),
        (lambda: series.stack(0), "stack is 0, of features: give at least 1"),
        (lambda: make(lazy=Lazy).stack(2), "features [T, D] in memory"),
        (lambda: series.stack(4), "c has 3 steps, too few for one of 4"),
        (lambda: series.seconds(3), "the data have no frame rate"),
        (lambda: Labels(names=("a", "a")), "class 'a' is given twice"),
        (lambda: Labels(names=()), "there are no classes"),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert message in str(error.value)
    assert make(rate=50).seconds(25) == 0.5
