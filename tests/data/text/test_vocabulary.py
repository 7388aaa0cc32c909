"""Vocabularies: round trips, special symbols, rare symbols, and every refusal."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import serial
from seqjax.data import ByteVocabulary, CharacterVocabulary, WordVocabulary, build_vocabulary
from seqjax.errors import InputError

VOCABULARIES = [
    CharacterVocabulary.from_text("hello, wörld 🙂"),
    CharacterVocabulary(characters="ab", pad=0, start=3, unknown=None, end=4),
    CharacterVocabulary.from_text("<x> ab", symbols=("<x>",), pad=0, unknown=1, start=2, end=3),
    ByteVocabulary(),
    ByteVocabulary(pad=0, start=1),
    WordVocabulary.from_text("a b a\nc\n"),
    WordVocabulary(words=("x",), unknown=2, end=None, pad=0),
]


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=str)
def test_a_vocabulary_is_a_hashable_value_that_json_keeps(vocabulary):
    restored = serial.from_json(json.loads(json.dumps(serial.to_json(vocabulary))))
    assert restored == vocabulary
    assert hash(restored) == hash(vocabulary)
    assert type(restored) is type(vocabulary)


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=str)
def test_ordinary_and_special_ids_fill_the_range_once(vocabulary):
    special = [i for i in (vocabulary.pad, vocabulary.unknown, vocabulary.start, vocabulary.end) if i is not None]
    ordinary = vocabulary._ids.tolist()
    assert sorted(special + ordinary) == list(range(vocabulary.size))
    assert len(vocabulary) == vocabulary.size


@settings(deadline=None)
@given(st.text())
def test_bytes_know_every_text(text):
    vocabulary = ByteVocabulary()
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary.decode([256, *ids]) == text


@settings(deadline=None)
@given(st.text(min_size=1))
def test_characters_of_the_text_come_back(text):
    vocabulary = CharacterVocabulary.from_text(text)
    ids = vocabulary.encode(text, strict=True)
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == text
    assert vocabulary.size == len(set(text)) + 2


@settings(deadline=None)
@given(st.lists(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), max_size=5), min_size=1, max_size=5))
def test_words_and_lines_come_back(lines):
    text = "\n".join(" ".join(line) for line in [["word"], *lines])
    vocabulary = WordVocabulary.from_text(text)
    ids = vocabulary.encode(text, strict=True)
    assert vocabulary.decode(ids) == text
    assert (ids == vocabulary.end).sum() == text.count("\n")


@pytest.mark.parametrize("text", ["", "é🙂", "a é b\n\nb"])
@pytest.mark.parametrize("vocabulary", VOCABULARIES[:1] + VOCABULARIES[2:5], ids=str)
def test_streamed_pieces_join_to_the_decoded_text(vocabulary, text):
    ids = vocabulary.encode(text)
    assert "".join(vocabulary.stream(iter(ids.tolist()))) == vocabulary.decode(ids) == vocabulary.decode(ids.tolist())
    endless = vocabulary.stream(int(ids[0]) for _ in iter(int, 1)) if len(ids) else iter([""])
    assert isinstance(next(endless), str)


def test_rare_characters_become_unknown():
    vocabulary = CharacterVocabulary.from_text("aaabbc", min_count=2)
    assert vocabulary.characters == "ab"
    assert vocabulary.encode("abcz").tolist() == [2, 3, 1, 1]
    assert vocabulary.decode([0, 2, 1]) == "a\ufffd"
    assert CharacterVocabulary.from_text("zzaab", max_size=4).characters == "az"
    assert CharacterVocabulary.from_text("zab", max_size=3).characters == "a"  # ties go by the alphabet


def test_words_follow_the_penn_treebank_convention():
    text = " the cat <unk> N \n the dog \n"
    vocabulary = WordVocabulary.from_text(text, min_count=1)
    assert vocabulary.words == ("the", "N", "cat", "dog")
    assert vocabulary.start is None
    ids = vocabulary.encode(text)
    assert ids.tolist() == [2, 4, 1, 3, 0, 2, 5, 0]
    assert vocabulary.decode(ids) == "the cat <unk> N\nthe dog\n"
    assert vocabulary.encode("a <eos>").tolist() == [1, 0]
    assert WordVocabulary.from_text("a a b b c", max_size=4).words == ("a", "b")
    assert WordVocabulary(words=("x",), end=None, unknown=None).encode("x\nx").tolist() == [0, 0]


def test_what_is_outside_is_refused_in_one_line_that_lists_it():
    vocabulary = CharacterVocabulary.from_text("abc")
    assert vocabulary.encode("a?").tolist() == [2, 1]
    for refuse in (
        lambda: vocabulary.encode("a?b!?", strict=True),
        lambda: dataclasses.replace(vocabulary, unknown=None).encode("a?b!?"),
    ):
        with pytest.raises(InputError, match=r"^outside the vocabulary of \d symbols: '!' '\?'; leave them out$"):
            refuse()
    with pytest.raises(InputError, match="and 16 more"):
        CharacterVocabulary(characters="a", unknown=None).encode("bcdefghijklmnopqrstuvwxyz\n")
    with pytest.raises(InputError, match="'dog' 'eel'"):
        WordVocabulary(words=("cat",)).encode("cat eel dog eel", strict=True)
    with pytest.raises(InputError, match="'\\\\n'") as caught:
        CharacterVocabulary(characters="a", unknown=None).encode("\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=str)
@pytest.mark.parametrize("wrong", [-1, 1000])
def test_an_id_outside_the_vocabulary_is_refused(vocabulary, wrong):
    with pytest.raises(InputError, match=f"id {wrong} is outside the vocabulary: its {vocabulary.size} symbols"):
        vocabulary.decode(np.array([wrong]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CharacterVocabulary(characters="ab", pad=0), "share an id"),
        (lambda: CharacterVocabulary(characters="ab", end=9), "outside the vocabulary"),
        (lambda: CharacterVocabulary(characters="aba"), "character 'a' is twice"),
        (lambda: WordVocabulary(words=("a", "a")), "word 'a' is twice"),
        (lambda: CharacterVocabulary.from_text(""), "text is empty"),
        (lambda: WordVocabulary.from_text(" \n"), "text is empty"),
        (lambda: CharacterVocabulary.from_text("abc", min_count=2), "exclude all of the text's 3 symbols"),
        (lambda: CharacterVocabulary.from_text("abc", max_size=2), "max_size 2 with 2 special symbols"),
        (lambda: build_vocabulary("syllable", "abc"), "choose one of character, word, word-punct, byte, bpe, unigram"),
    ],
)
def test_a_wrong_vocabulary_is_refused(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_build_chooses_by_kind():
    assert build_vocabulary("character", "aab", min_count=2) == CharacterVocabulary(characters="a")
    assert build_vocabulary("byte", "anything") == ByteVocabulary()
    assert build_vocabulary("word", "a b", max_size=3) == WordVocabulary(words=("a",))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<fr>", "<f", "fr>", "<", " ", "\u00e9"])))
def test_symbols_stay_whole_among_characters(parts):
    text, symbols = "".join(parts), ("<fr>", "<f")
    vocabulary = CharacterVocabulary.from_text("<fr>< \u00e9", symbols=symbols, pad=0, unknown=1, start=2, end=3)
    ids = vocabulary.encode(text)
    assert vocabulary.decode([2, *ids, 3, 0]) == text.translate({ord(c): "\ufffd" for c in "fr>"}) or "<f" in text
    assert (ids == 4).sum() == text.count("<fr>")
    assert vocabulary.size == 4 + 2 + 3 and vocabulary._symbols == ("<fr>", "<f", " ", "<", "\u00e9")


@pytest.mark.parametrize("kind", [CharacterVocabulary, WordVocabulary])
def test_special_ids_may_be_given_to_a_text_s_vocabulary(kind):
    special = {"pad": 0, "unknown": 1, "start": 2, "end": 3}
    vocabulary = kind.from_text("a b c a", max_size=6, **special)
    assert {name: getattr(vocabulary, name) for name in special} == special
    assert vocabulary.size == 6 and vocabulary.encode("a").tolist() in ([4], [5])
    assert kind.from_text("a", unknown=None).size == kind.from_text("a").size - 1


def test_a_symbol_twice_is_refused():
    with pytest.raises(InputError, match="symbol '<x>' is twice"):
        CharacterVocabulary(characters="a", symbols=("<x>", "<x>"))
