"""Buckets: every pair once an epoch, in one of few shapes, from one integer; and the schedules of teacher forcing."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import serial
from seqjax.data.text.buckets import Buckets, bucket_shapes, evaluation_pairs
from seqjax.errors import InputError
from seqjax.symbols import TeacherForcing


def make_rows(count, longest, seed=0):
    """(sources, targets): row n is n + 1 again and again, so that it says which pair it is."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, longest + 1, count), generator.integers(1, longest + 1, count)
    return tuple([np.full(n, place + 1, np.int32) for place, n in enumerate(side)] for side in lengths)


def pairs_of(batch):
    """The pairs that a batch holds, checked: padding is 0, both sides are of the same pair."""
    pairs = []
    for r, (read, written) in enumerate(zip(batch["source_lengths"], batch["target_lengths"], strict=True)):
        source, target = batch["source"][r], batch["target"][r]
        assert not source[read:].any() and not target[written:].any()
        if written:
            assert {*source[:read], *target[:written]} == {target[0]}
            pairs.append((int(target[0]) - 1, int(read), int(written)))
        else:
            assert not read
    return pairs


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 60),
    longest=st.integers(1, 20),
    batch_size=st.integers(1, 9),
    buckets=st.integers(1, 6),
    seed=st.integers(0, 5),
)
def test_every_pair_comes_once_an_epoch_in_a_shape_that_holds_it(count, longest, batch_size, buckets, seed):
    source, target = make_rows(count, longest, seed)
    shapes = bucket_shapes(source, target, buckets)
    assert len(shapes) <= buckets and shapes[-1] == (max(1, *map(len, source)), max(map(len, target)))
    stream = Buckets(source=source, target=target, batch_size=batch_size, seed=seed, shapes=shapes)
    assert stream.shapes == shapes and stream.steps_per_epoch == math.ceil(count / batch_size)
    expected = [(n, len(s), len(t)) for n, (s, t) in enumerate(zip(source, target, strict=True))]
    for epoch in range(2):
        batches = [stream.batch(epoch * stream.steps_per_epoch + n) for n in range(stream.steps_per_epoch)]
        assert sorted(pair for batch in batches for pair in pairs_of(batch)) == expected
        for batch in batches:
            assert {name: array.dtype for name, array in batch.items()} == dict.fromkeys(batch, np.int32)
            shape = batch["source"].shape[1], batch["target"].shape[1]
            assert shape in shapes and batch["source"].shape[0] == batch_size
            smaller = [other for other in shapes if other < shape]
            if smaller:  # some row needs it
                assert any(read > smaller[-1][0] or written > smaller[-1][1] for _, read, written in pairs_of(batch))


@pytest.fixture
def stream():
    source, target = make_rows(100, 12)
    return Buckets(source=source, target=target, batch_size=8, seed=3)


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_is_a_function_of_its_position(stream):
    source, target = make_rows(100, 12)
    other = Buckets(source=source, target=target, batch_size=8, seed=3)
    for n in (40, 3, 12, 13, 0):
        same(other.batch(n), stream.batch(n))
    iterator = iter(stream)
    for n in range(15):
        same(next(iterator), stream.batch(n))
    state = json.loads(json.dumps(iterator.get_state()))
    assert state == {"next_index": 15}
    restored = iter(other)
    restored.set_state(state)
    same(next(restored), stream.batch(15))


def test_epochs_differ_and_their_batches_are_not_sorted_by_length(stream):
    epochs = [[stream.batch(13 * epoch + n) for n in range(13)] for epoch in range(2)]
    orders = [[pair for batch in epoch for pair, *_ in pairs_of(batch)] for epoch in epochs]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    widths = [batch["target"].shape[1] for batch in epochs[0]]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))
    groups = [{frozenset(pair for pair, *_ in pairs_of(batch)) for batch in epoch} for epoch in epochs]
    assert len(groups[0] & groups[1]) <= 3  # a bucket of few pairs has few ways to be cut


def test_identity_tells_everything_that_a_position_depends_on(stream):
    source, target = stream.source, stream.target
    changes = [
        {"source": target},
        {"target": [*target[:-1], target[-1] + 1]},
        {"source": [*source[1:], source[0]]},
        {"batch_size": 4},
        {"seed": 4},
        {"shapes": ((12, 12),)},
        {"teacher_forcing": TeacherForcing(decay="linear", k=10)},
        {"teacher_forcing": TeacherForcing(decay="linear", k=11)},
    ]
    same_again = {"source": list(source), "shapes": stream.shapes}
    options = {"source": source, "target": target, "batch_size": 8, "seed": 3}
    identities = [json.dumps(Buckets(**options | change).identity) for change in changes]
    assert len({*identities, json.dumps(stream.identity)}) == len(changes) + 1
    assert Buckets(**options | same_again).identity == stream.identity
    assert json.loads(json.dumps(stream.identity)) == stream.identity
    # the ends of rows count, not the symbols alone
    parts = [[np.array([1]), np.array([1, 1])], [np.array([1, 1]), np.array([1])]]
    one, other = (Buckets(source=side, target=side, batch_size=1, seed=0, shapes=((2, 2),)) for side in parts)
    assert one.identity["pairs"] != other.identity["pairs"]


def test_a_batch_does_not_share_memory_with_the_data(stream):
    before = stream.batch(0)
    stream.batch(0)["source"][:] = 99
    same(stream.batch(0), before)


def test_little_is_padded(shared_data):
    from seqjax.data import build_pair_vocabularies, encode_pairs
    from seqjax.data.text.pairs import from_files

    folder = shared_data("multi30k")
    pairs = from_files((folder / "val.de.gz", folder / "val.en.gz"), split=(0.9, 0.1, 0)).train
    encoded = encode_pairs(pairs, *build_pair_vocabularies(pairs, max_size=2000))
    stream = Buckets(source=encoded.source, target=encoded.target, batch_size=16, seed=0)
    batches = [stream.batch(n) for n in range(stream.steps_per_epoch)]
    padded = sum(batch["source"].size + batch["target"].size for batch in batches)
    real = sum(len(row) for side in encoded[:2] for row in side)
    assert len(stream.shapes) == 8 and padded < 1.3 * real


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 9), longer=st.booleans(), with_target=st.booleans())
def test_evaluation_batches_hold_every_pair_once_and_say_which(count, batch_size, longer, with_target):
    source, target = make_rows(count, 9, seed=1)
    shapes = ((2, 2), (4, 3)) if longer else ()
    batches = evaluation_pairs(source, target if with_target else None, batch_size=batch_size, shapes=shapes)
    assert len(batches) == math.ceil(count / batch_size)
    places = [int(n) for batch in batches for n in batch["index"] if n >= 0]
    assert sorted(places) == list(range(count))
    for batch in batches:
        assert set(batch) == {"source", "source_lengths", "index"} | ({"target", "target_lengths"} if with_target else set())
        for name, side in (("source", source), ("target", target)):
            if name in batch:
                for n, row, length in zip(batch["index"], batch[name], batch[f"{name}_lengths"], strict=True):
                    np.testing.assert_array_equal(row[:length], side[n] if n >= 0 else [])
                    assert not row[length:].any() and batch[name].shape[0] == batch_size
    if longer and with_target:
        used = {(batch["source"].shape[1], batch["target"].shape[1]) for batch in batches}
        longest = max(4, *map(len, source)), max(3, *map(len, target))
        assert used <= {*shapes, longest}


def test_a_single_short_pair_is_not_padded_to_the_longest_shape():
    (batch,) = evaluation_pairs([np.array([7])], None, batch_size=1, shapes=((3, 3), (50, 50)))
    assert batch["source"].shape == (1, 3)


ROWS = [np.array([1]), np.array([1, 2])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ROWS[:1]}, "there are 2 sources and 1 targets"),
        ({"source": [], "target": []}, "there are 0 pairs and 8 buckets: give at least 1 of each"),
        ({"shapes": ((1, 1),)}, "pair 1 has lengths (2, 2), above the longest shape (1, 1)"),
        ({"shapes": ((2, 1), (1, 2))}, "each must be larger than the one before, neither side may shrink"),
        ({"shapes": ((1, 2), (2, 1))}, "each must be larger"),
        ({"shapes": ((2, 2), (2, 2))}, "each must be larger"),
        ({"shapes": ((0, 1), (2, 2))}, "all must be at least 1"),
        ({"batch_size": 0}, "2 pairs, batch size 0, seed 0: the first two must be at least 1"),
        ({"seed": -1}, "the seed at least 0"),
    ],
)
def test_wrong_buckets_are_refused(options, message):
    with pytest.raises(InputError) as error:
        Buckets(**{"source": ROWS, "target": ROWS, "batch_size": 1, "seed": 0} | options)
    assert message in str(error.value)


def test_wrong_evaluation_pairs_are_refused():
    for options in ({"target": ROWS[:1]}, {"batch_size": 0}):
        with pytest.raises(InputError, match="give one target for each source, and a batch size of at least 1"):
            evaluation_pairs(ROWS, **{"target": ROWS, "batch_size": 1} | options)


# Teacher forcing.


@pytest.mark.parametrize(
    ("forcing", "expected"),
    [
        (TeacherForcing(decay="linear", k=8), {0: 1, 2: 0.75, 8: 0, 9: 0}),
        (TeacherForcing(decay="linear", k=8, floor=0.5), {2: 0.75, 4: 0.5, 10**9: 0.5}),
        (TeacherForcing(decay="exponential", k=0.5), {0: 1, 1: 0.5, 3: 0.125, 10**6: 0}),
        (TeacherForcing(decay="inverse_sigmoid", k=2), {0: 2 / 3, 2: 2 / (2 + math.e), 10**6: 0}),
        (TeacherForcing(decay="inverse_sigmoid", k=100), {0: 100 / 101, round(100 * math.log(100)): 0.5}),
    ],
)
def test_schedules_follow_their_formulas(forcing, expected):
    for step, probability in expected.items():
        assert forcing.probability(step) == pytest.approx(probability, abs=2e-3 if probability == 0.5 else 1e-12)
    assert serial.from_json(json.loads(json.dumps(serial.to_json(forcing)))) == forcing


def test_a_batch_carries_the_probability_of_its_position():
    forcing = TeacherForcing(decay="linear", k=10)
    stream = Buckets(source=ROWS, target=ROWS, batch_size=2, seed=0, teacher_forcing=forcing)
    for n in (5, 0, 20):
        array = stream.batch(n)["teacher_forcing"]
        assert array.dtype == np.float32 and array.tolist() == [max(0, 1 - n / 10)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": "cosine", "k": 1}, "decay 'cosine' is not known: choose one of linear, exponential, inverse_sigmoid"),
        ({"decay": "linear", "k": 0}, "k is 0, for linear decay it must be between 0 and inf"),
        ({"decay": "exponential", "k": 1.5}, "between 0 and 1"),
        ({"decay": "inverse_sigmoid", "k": 0.5}, "between 1 and inf"),
        ({"decay": "linear", "k": 5, "floor": 1.5}, "floor is 1.5, it must be from 0 to 1"),
    ],
)
def test_wrong_schedules_are_refused(options, message):
    with pytest.raises(InputError) as error:
        TeacherForcing(**options)
    assert message in str(error.value)


def test_features_are_sources_under_their_own_name():
    features = [np.full((n, 2), n, float) for n in (3, 1, 2)]
    frames = [np.full((n, 2, 2, 3), n, np.uint8) for n in (3, 1, 2)]
    targets = [np.array([5, 3]), np.array([3]), np.array([6, 7, 3])]
    for rows, name, dtype in ((features, "audio", np.float32), (frames, "frames", np.uint8)):
        buckets = Buckets(source=rows, target=targets, batch_size=4, seed=0, shapes=((3, 3),), name=name)
        batch = buckets.batch(0)
        assert batch.keys() == {name, f"{name}_lengths", "target", "target_lengths"} and batch[name].dtype == dtype
        assert batch[name].shape == (4, 3, *rows[0].shape[1:]) and sorted(batch[f"{name}_lengths"]) == [0, 1, 2, 3]
        for row, length in zip(batch[name], batch[f"{name}_lengths"], strict=True):
            assert (row[:length] == length).all() and not row[length:].any()
        (evaluation,) = evaluation_pairs(rows, targets, batch_size=3, name=name)
        assert evaluation["index"].tolist() == [1, 2, 0] and (evaluation[name][0, 0] == 1).all()
        other = Buckets(source=[row + row.dtype.type(1) for row in rows], target=targets, batch_size=4, seed=0, name=name)
        assert other.identity["pairs"] != buckets.identity["pairs"]
