"""Streams of series: every item once an epoch, batch i from one integer, in memory and read ahead."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.series import SeriesStream, evaluation_series, series_shapes
from seqjax.errors import InputError
from tests.data.series.examples import Lazy, make


def lengths_of(count, longest=12, seed=0):
    return tuple(np.random.default_rng(seed).integers(1, longest + 1, count).tolist())


def items_of(batch, series):
    """The items that a batch holds, checked: padding is 0, and inputs, classes and lengths are of the same item."""
    items = []
    for row, length in enumerate(batch["features_lengths"]):
        features = batch["features"][row]
        assert not features[length:].any() and not batch["target_mask"][row, length:].any()
        if length:
            n = int(features[0, 1]) // 101
            begin = int(features[0, 0]) - 100 * n
            np.testing.assert_array_equal(features[:length], series.inputs["features"][n][begin : begin + length])
            target = np.where(batch["target_mask"][row], batch["target"][row], -1)[:length]
            np.testing.assert_array_equal(target, series.targets[n][begin : begin + length])
            assert batch["label"][row] == series.labels[n]
            items.append((n, begin, int(length)))
    return items


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 26), batch_size=st.integers(1, 9), window=st.sampled_from([None, 1, 5, 50]), seed=st.integers(0, 5))
def test_every_item_comes_once_an_epoch_or_a_window_of_it(count, batch_size, window, seed):
    series = make(lengths_of(count, seed=seed))
    stream = SeriesStream(series=series, batch_size=batch_size, seed=seed, window=window)
    assert stream.steps_per_epoch == math.ceil(count / batch_size) and stream.threads == 0
    assert len(stream.shapes) <= 4 and stream.shapes[-1] == min(window or 99, max(series.lengths))
    for epoch in range(2):
        batches = [stream.batch(epoch * stream.steps_per_epoch + n) for n in range(stream.steps_per_epoch)]
        items = sorted(item for batch in batches for item in items_of(batch, series))
        assert [(n, length) for n, _, length in items] == [(n, min(window or 99, k)) for n, k in enumerate(series.lengths)]
        for batch in batches:
            assert batch["features"].shape[0] == batch_size and batch["features"].shape[1] in stream.shapes
            assert batch["features"].dtype == np.float32 and batch["target_mask"].dtype == bool
            for name in ("features_lengths", "label", "target"):
                assert batch[name].dtype == np.int32
    if window is None:
        batches = evaluation_series(series, batch_size=batch_size, shapes=stream.shapes[:1])
        assert len(batches) == stream.steps_per_epoch
        items = {n: item for batch in batches for n, item in zip(batch["index"], items_of(batch, series), strict=False)}
        assert items == {n: (n, 0, k) for n, k in enumerate(series.lengths)}
        assert sum((batch["index"] < 0).sum() for batch in batches) == len(batches) * batch_size - count


def test_windows_begin_anywhere_and_anew_in_every_epoch():
    series = make((12,))
    stream = SeriesStream(series=series, batch_size=1, seed=0, window=4)
    begins = [items_of(stream.batch(n), series)[0][1] for n in range(200)]
    assert set(begins) == set(range(9)) and max(map(begins.count, range(9))) < 50


@dataclass(frozen=True)
class Thin:
    """Every second step from the first or the second on."""

    stride: int = 2

    def __call__(self, inputs, generator):
        first = int(generator.integers(2))
        return {word: array[first :: self.stride] for word, array in inputs.items()}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], strict=True)


@pytest.mark.parametrize("lazy", [Lazy, lambda items: Lazy(items, parts=True)])
def test_reading_ahead_changes_no_batch_and_resumes(lazy):
    lengths = [n + 2 for n in lengths_of(20)]
    options = {"batch_size": 3, "seed": 1, "window": 7, "augment": Thin()}
    here, there = (SeriesStream(series=make(lengths, lazy=kind), **options) for kind in (None, lazy))
    assert there.threads > 0
    iterator = iter(there)
    for n in range(16):  # three epochs
        same(next(iterator), here.batch(n))
    state = json.loads(json.dumps(iterator.get_state()))
    assert state == {"next_index": 16}
    again = iter(there)
    again.set_state(state)
    same(next(again), here.batch(16))
    for one, other in zip(*(evaluation_series(s.series, batch_size=3) for s in (here, there)), strict=True):
        same(one, other)


def test_augmentation_acts_on_the_steps_and_their_classes_alike():
    series = make((12, 9, 5))
    stream = SeriesStream(series=series, batch_size=3, seed=0, augment=Thin(), shapes=(12,))
    firsts = set()
    for index in range(8):
        batch = stream.batch(index)
        for row, features in enumerate(batch["features"]):
            n = int(features[0, 1]) // 101
            first = int(features[0, 0]) - 100 * n
            firsts.add(first)
            length = len(series.targets[n][first::2])
            assert batch["features_lengths"][row] == length
            target = np.where(batch["target_mask"][row], batch["target"][row], -1)[:length]
            np.testing.assert_array_equal(target, series.targets[n][first::2])
    assert firsts == {0, 1}


def test_dtypes_of_a_batch():
    inputs = {
        "frames": [np.full((2, 3, 4, 1), 200, np.uint8)],
        "features": [np.full((2, 3), -7, np.int8)],
        "flow": [np.full((2, 3, 4, 2), 0.5, np.float16)],
        "tokens": [np.array([1, 2], np.int64)],
    }
    series = make((2,), inputs=inputs)
    batch = SeriesStream(series=series, batch_size=2, seed=0).batch(0)
    dtypes = {"frames": np.uint8, "features": np.float32, "flow": np.float32, "tokens": np.int32}
    assert {name: batch[name].dtype for name in dtypes} == dtypes
    assert batch["frames"].shape == (2, 2, 3, 4, 1) and batch["tokens"].shape == (2, 2)
    assert sorted(batch["features"].ravel().tolist()) == [-7.0] * 6 + [0.0] * 6 and batch["tokens_lengths"].tolist() == [2, 0]
    assert set(series.only("tokens").inputs) == {"tokens"}


def test_identity_tells_everything_that_a_position_depends_on():
    options = {"series": make((5, 9, 3)), "batch_size": 2, "seed": 0, "window": 4, "augment": Thin()}
    stream = SeriesStream(**options)
    changes = [
        {"series": make((5, 9, 4))},
        {"batch_size": 1},
        {"seed": 1},
        {"window": 5},
        {"augment": None},
        {"augment": Thin(stride=3)},
        {"shapes": (2, 4)},
    ]
    identities = {json.dumps(SeriesStream(**options | change).identity) for change in changes}
    assert len(identities | {json.dumps(stream.identity)}) == len(changes) + 1
    assert SeriesStream(**options).identity == stream.identity


def test_an_error_of_a_reading_thread_arrives():
    broken = Lazy([np.zeros((4, 2)), np.full((4, 2), np.nan)])
    stream = SeriesStream(series=make((4, 4), lazy=lambda _: broken), batch_size=2, seed=0)
    with pytest.raises(InputError, match="features of b is NaN or infinite at step 0"):
        next(iter(stream))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size 0, window None, seed 0: the first two must be at least 1"),
        ({"window": 0}, "window 0"),
        ({"seed": -1}, "the seed at least 0"),
        ({"shapes": (4, 4)}, "each must be larger than the one before"),
        ({"shapes": (4, 8)}, "b has 9 steps, above the longest shape 8: drop it, or give a longer shape or a window"),
    ],
)
def test_wrong_streams_are_refused(options, message):
    with pytest.raises(InputError) as error:
        SeriesStream(**{"series": make((5, 9)), "batch_size": 1, "seed": 0} | options)
    assert message in str(error.value)
    for call in (lambda: evaluation_series(make(), batch_size=0), lambda: series_shapes(np.zeros(0))):
        with pytest.raises(InputError):
            call()
