"""Streams: contiguous rows, every target once, a position that is one integer."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data import (
    ByteVocabulary,
    CharacterVocabulary,
    Document,
    TextStream,
    WordVocabulary,
    encode_documents,
    evaluation_batches,
)
from seqjax.errors import InputError

START = 0


def some_tokens(count=200, seed=0):
    """Distinct symbols, so that a place is known by its symbol, with a start symbol every 37."""
    tokens = np.random.default_rng(seed).permutation(np.arange(1, count + 1)).astype(np.int32)
    tokens[::37] = START
    return tokens


def make(tokens=None, **changes):
    options = {"batch_size": 3, "length": 5, "start": START, "seed": 7} | changes
    return TextStream(tokens=some_tokens() if tokens is None else tokens, **options)


def test_documents_are_opened_by_the_start_symbol():
    documents = [Document("x", "ab"), Document("y", ""), Document("z", "c")]
    vocabulary = CharacterVocabulary(characters="ab")
    ids = encode_documents(documents, vocabulary)
    assert ids.dtype == np.int32
    assert ids.tolist() == [0, 2, 3, 0, 0, 1]
    assert encode_documents(documents, ByteVocabulary()).tolist() == [256, 97, 98, 256, 256, 99]
    assert encode_documents([Document("x", "a b\n")], WordVocabulary(words=("a", "b"))).tolist() == [2, 3, 0]
    with pytest.raises(InputError, match="no documents"):
        encode_documents([], vocabulary)
    with pytest.raises(InputError, match="'c'"):
        encode_documents(documents, CharacterVocabulary(characters="ab", unknown=None))


def test_a_batch_is_what_it_says():
    batch = make().batch(0)
    assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
        "tokens": ("int32", (3, 5)),
        "target": ("int32", (3, 5)),
        "target_mask": ("bool", (3, 5)),
        "reset": ("bool", (3, 5)),
    }


def test_rows_go_on_from_batch_to_batch():
    stream = make()
    epochs = [[stream.batch(e * stream.steps_per_epoch + s) for s in range(stream.steps_per_epoch)] for e in range(3)]
    for epoch in epochs:
        tokens, targets = (np.concatenate([batch[name] for batch in epoch], axis=1) for name in ("tokens", "target"))
        np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
        rows = tokens.ravel()  # row after row, the text goes on as well
        np.testing.assert_array_equal(targets[:-1, -1], tokens[1:, 0])
        at = np.flatnonzero(stream.tokens == rows[0])[0] if rows[0] else None
        if at is not None:
            np.testing.assert_array_equal(rows, np.resize(np.roll(stream.tokens, -at), rows.size))
    np.testing.assert_array_equal(np.concatenate([b["tokens"] for b in epochs[0]], axis=1).ravel(), stream.tokens[:195])


def test_a_start_is_never_predicted_and_always_resets():
    stream = make()
    for i in range(3 * stream.steps_per_epoch):
        batch = stream.batch(i)
        np.testing.assert_array_equal(batch["target_mask"], batch["target"] != START)
        first = np.zeros_like(batch["reset"])
        first[:, 0] = i % stream.steps_per_epoch == 0
        np.testing.assert_array_equal(batch["reset"], (batch["tokens"] == START) | first)


def test_without_a_start_symbol_only_the_ring_s_seam_separates():
    tokens = np.arange(1, 64, dtype=np.int32)
    stream = make(tokens, start=None)
    seams = 0
    for i in range(8 * stream.steps_per_epoch):
        batch = stream.batch(i)
        np.testing.assert_array_equal(batch["target_mask"], batch["target"] != tokens[0])
        np.testing.assert_array_equal(batch["reset"][:, 1:], batch["tokens"][:, 1:] == tokens[0])
        seams += (~batch["target_mask"]).sum()
    assert seams > 0


def test_epochs_begin_elsewhere_and_the_seed_decides_where():
    begins = [[make(seed=seed).batch(e * make().steps_per_epoch)["tokens"][0, 0] for e in range(6)] for seed in (1, 1, 2)]
    assert begins[0] == begins[1]
    assert begins[0][0] == begins[2][0] == make().tokens[0]
    assert begins[0][1:] != begins[2][1:]
    assert len(set(begins[0])) > 3


def test_an_epochs_offset_is_the_documented_draw():
    stream = make()
    offset = np.random.default_rng((7, 2)).integers(len(stream.tokens))
    assert stream.batch(2 * stream.steps_per_epoch)["tokens"][0, 0] == stream.tokens[offset]


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_restored_position_goes_on_as_if_nothing_had_happened():
    uninterrupted = iter(make())
    batches = [next(uninterrupted) for _ in range(40)]
    for i, batch in enumerate(batches):
        same(batch, make().batch(i))
    broken = iter(make())
    for _ in range(17):
        next(broken)
    state = json.loads(json.dumps(broken.get_state()))
    restored = iter(make())
    restored.set_state(state)
    for batch in batches[17:]:
        same(next(restored), batch)
    broken.set_state({"next_index": 3})  # backwards, in the same iterator
    same(next(broken), batches[3])


def test_identity_tells_everything_that_a_position_depends_on():
    stream = make()
    assert stream.identity == make().identity == make(tokens=some_tokens().astype(np.int64)).identity
    changes = [make(some_tokens(seed=1)), make(batch_size=2), make(length=4), make(seed=8), make(start=None)]
    assert len({json.dumps(other.identity) for other in (stream, *changes)}) == 6
    assert json.loads(json.dumps(stream.identity)) == stream.identity
    assert (stream.identity["batch_size"], stream.identity["length"]) == (3, 5)


@settings(deadline=None)
@given(st.integers(2, 120), st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_evaluation_counts_every_target_once(count, batch_size, length, with_start):
    tokens, start = some_tokens(count), START if with_start else None
    batches = evaluation_batches(tokens, batch_size=batch_size, length=length, start=start)
    counted = np.concatenate([batch["target"][batch["target_mask"]] for batch in batches])
    expected = tokens[1:][tokens[1:] != start]
    np.testing.assert_array_equal(np.sort(counted), np.sort(expected))
    rows = [np.concatenate([batch[name] for batch in batches], axis=1) for name in ("tokens", "target", "target_mask")]
    np.testing.assert_array_equal(rows[0][:, 1:], rows[1][:, :-1])
    np.testing.assert_array_equal(rows[1][rows[2]], expected)  # row after row is the text in order
    for i, batch in enumerate(batches):
        assert all(array.shape == (batch_size, length) for array in batch.values())
        first = np.zeros_like(batch["reset"])
        first[:, 0] = i == 0
        np.testing.assert_array_equal(batch["reset"] | first, batch["reset"])
    assert len(batches) == -(-(count - 1) // (batch_size * length))  # no more windows than needed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 20, "length": 10}, r"the text has 200 tokens, batch 20 x length 10 needs 201"),
        ({"batch_size": 0}, "batch size is 0 and length 5"),
        ({"length": -1}, "batch size is 3 and length -1"),
        ({"seed": -1}, "seed is -1"),
        ({"tokens": np.zeros((2, 99), np.int32)}, r"tokens are int32 \(2, 99\)"),
        ({"tokens": np.zeros(99)}, "tokens are float64"),
    ],
)
def test_a_wrong_stream_is_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        make(**change)
    assert "\n" not in str(caught.value)


def test_the_shortest_text_is_one_batch():
    assert make(batch_size=199, length=1).steps_per_epoch == 1
    assert make(batch_size=1, length=199).batch(0)["target"].shape == (1, 199)
    with pytest.raises(InputError, match="the text has 1 tokens, an evaluation needs at least 2"):
        evaluation_batches(np.array([0]), batch_size=1, length=1, start=None)


def test_importing_the_data_folder_imports_no_heavy_part():
    names = "grain tensorflow_datasets tensorflow jax"
    code = f"import sys, seqjax.data; sys.exit(' '.join(m for m in '{names}'.split() if m in sys.modules) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
