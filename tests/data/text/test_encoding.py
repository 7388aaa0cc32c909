"""Pairs as symbol rows: which vocabulary each side has, what is too long, where words are."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.text.characters import ByteVocabulary, CharacterVocabulary
from seqjax.data.text.encoding import build_pair_vocabularies, build_vocabulary, encode_pairs, word_positions
from seqjax.data.text.limits import OutputLimit
from seqjax.data.text.pairs import Pair
from seqjax.data.text.subwords import SubwordVocabulary
from seqjax.data.text.words import LineVocabulary, WordVocabulary
from seqjax.errors import InputError
from seqjax.serial import from_json, to_json

PAIRS = [Pair("<fr> one two", "un deux"), Pair("<fr> two three", "deux trois"), Pair("<de> one two", "eins zwei")]
SYMBOLS = ("<fr>", "<de>")
KINDS = {"bpe": SubwordVocabulary, "unigram": SubwordVocabulary, "character": CharacterVocabulary, "word": WordVocabulary}


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_side_comes_back_and_has_the_same_special_ids(kind, joint):
    source, target = build_pair_vocabularies(PAIRS, kind=kind, joint=joint, symbols=SYMBOLS, max_size=50)
    assert type(source) is type(target) is KINDS[kind] and (source is target) == joint
    assert all((v.pad, v.unknown, v.start, v.end) == (0, 1, 2, 3) for v in (source, target))
    encoded = encode_pairs(PAIRS, source, target)
    assert [source.decode(row) for row in encoded.source] == [pair.source for pair in PAIRS]
    assert [target.decode(row[:-1]) for row in encoded.target] == [pair.target for pair in PAIRS]
    assert all(row.dtype == np.int32 for side in encoded[:2] for row in side) and encoded.over_long == 0
    assert all(row[-1] == 3 and 3 not in row[:-1] for row in encoded.target)
    first = [int(row[0]) for row in encoded.source]
    assert first[0] == first[1] != first[2] and source.decode(first[:1]) == "<fr>"


def test_the_sides_may_differ_and_a_line_is_one_step():
    source, target = build_pair_vocabularies(PAIRS, kind="word", target_kind="line", min_count=1)
    assert isinstance(source, WordVocabulary) and isinstance(target, LineVocabulary)
    encoded = encode_pairs([*PAIRS, Pair("one", "never seen")], source, target)
    assert [row.tolist() for row in encoded.target[2:]] == [[target.lines.index("eins zwei") + 3], [1]]
    assert encode_pairs(PAIRS, *build_pair_vocabularies(PAIRS, kind="bpe", target_kind="word", min_count=2)).target[
        2
    ].tolist() == [1, 1, 3]


def test_over_long_pairs_are_dropped_or_cut_and_counted():
    vocabulary = CharacterVocabulary(characters="ab", pad=0, unknown=None, start=1, end=2)
    pairs = [Pair("abab", "a"), Pair("ab", "bbb"), Pair("a", "ab"), Pair("", "")]
    dropped = encode_pairs(pairs, vocabulary, vocabulary, max_length=3)
    assert [row.tolist() for row in dropped.source] == [[3], []] and dropped.over_long == 2
    cut = encode_pairs(pairs, vocabulary, vocabulary, max_length=3, over_long="cut")
    assert [row.tolist() for row in cut.source] == [[3, 4, 3], [3, 4], [3], []] and cut.over_long == 2
    assert [row.tolist() for row in cut.target] == [[3, 2], [4, 4, 2], [3, 4, 2], [2]]


def test_a_share_of_the_pairs_sets_the_longest_and_a_hundred_symbols_always_fit():
    vocabulary = CharacterVocabulary(characters="a", pad=0, unknown=None, start=1, end=2)
    for lengths, longest, over_long in ((range(1, 100), 100, 0), (range(101, 301), 299, 1)):
        pairs = [Pair("a", (length - 1) * "a") for length in lengths]
        encoded = encode_pairs(pairs, vocabulary, vocabulary, share=0.99)
        assert (encoded.max_length, encoded.over_long) == (longest, over_long)


def test_the_limit_of_outputs_has_room_for_every_training_target():
    digits, words = "0123456789", ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    draw = random.Random(0)
    sources = ["".join(draw.choice(digits) for _ in range(draw.randint(2, 8))) for _ in range(300)]
    pairs = [Pair(source, " ".join(words[int(digit)] for digit in source)) for source in sources]
    encoded = encode_pairs(pairs, *build_pair_vocabularies(pairs, kind="character"))
    limit = OutputLimit.of(encoded.source, encoded.target)
    assert all(len(written) < limit(len(read)) for read, written in zip(encoded.source, encoded.target, strict=True))
    longer = OutputLimit.of(encoded.source[::2], encoded.target[::2])
    assert all(len(written) < longer(len(read)) for read, written in zip(encoded.source, encoded.target, strict=True))
    assert limit(80) > 80 * 5 and OutputLimit.from_record(limit.record | {"source": "x"}) == limit
    assert OutputLimit.from_record({}) is None
    with pytest.raises(InputError, match="there is no pair"):
        OutputLimit.of([], [])


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_equal_texts_in_other_forms_are_equal_symbols(kind):
    composed, apart = "caf\u00e9 \ufb01n", "cafe\u0301 \ufb01n"
    pairs = [Pair(apart, apart), Pair(composed, composed)] * 3
    vocabulary, _ = build_pair_vocabularies(pairs, kind=kind, joint=True, max_size=30, normalization="NFC")
    assert vocabulary.encode(apart, strict=True).tolist() == vocabulary.encode(composed, strict=True).tolist()
    assert vocabulary.decode(vocabulary.encode(apart)) == composed
    assert from_json(to_json(vocabulary)) == vocabulary and to_json(vocabulary)["normalization"] == "NFC"
    assert len(word_positions(vocabulary, apart)) == len(vocabulary.encode(apart))
    compatible = build_vocabulary("word", apart, normalization="NFKC")
    assert compatible.decode(compatible.encode(composed)) == "caf\u00e9 fin"
    with pytest.raises(InputError, match="normalization is 'nfc', it must be one of NFC, NFKC"):
        build_pair_vocabularies(pairs, kind=kind, normalization="nfc")


@settings(deadline=None)
@given(st.lists(st.text("abc\u00e9", min_size=1), min_size=1))
def test_positions_cut_a_text_into_its_words(words):
    text = " ".join(words)
    vocabularies = [CharacterVocabulary.from_text("ab"), ByteVocabulary(), WordVocabulary.from_text("a b")]
    for vocabulary in vocabularies:
        positions = word_positions(vocabulary, text)
        assert len(positions) == len(vocabulary.encode(text)) and (np.diff(positions) >= 0).all()
        assert sorted(set(positions.tolist())) == list(range(len(words)))
    pieces = np.array(list(text.encode()))
    assert [
        bytes(pieces[positions_of == n].tolist()).decode().strip()
        for positions_of in [word_positions(ByteVocabulary(), text)]
        for n in range(len(words))
    ] == words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "byte"}, "source vocabulary 'byte' is not known: choose one of bpe, unigram, character, word"),
        ({"kind": "line"}, "source vocabulary 'line' is not known"),
        ({"target_kind": "lines"}, "target vocabulary 'lines' is not known: choose one of bpe, unigram, character, word, line"),
        ({"kind": "word", "target_kind": "bpe", "joint": True}, "a joint vocabulary cannot be of kinds word and bpe"),
        ({"min_count": 2}, "min_count is 2: sub-words are limited by max_size alone"),
        ({"kind": "word", "byte_fallback": True}, "byte_fallback is for sub-words, not for word and word"),
        ({"kind": "word", "min_count": 9}, "exclude all of the text's"),
    ],
)
def test_vocabularies_that_cannot_be_built_are_refused(options, message):
    with pytest.raises(InputError) as error:
        build_pair_vocabularies(PAIRS, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over_long": "keep"}, 'over_long is \'keep\', it must be "drop" or "cut"'),
        ({"max_length": 1}, "max_length is 1, it must be at least 2"),
        ({"max_length": 9, "share": 0.99}, "max_length is 9 and share is 0.99: give one of the two"),
        ({"share": 1.5}, "share is 1.5, it must be above 0 and at most 1"),
        ({"max_length": 2}, "there is no pair to encode (3 were longer than 2)"),
    ],
)
def test_pairs_that_cannot_be_encoded_are_refused(options, message):
    with pytest.raises(InputError) as error:
        encode_pairs(PAIRS, *build_pair_vocabularies(PAIRS, kind="word"), **options)
    assert message in str(error.value)


def test_no_pairs_are_refused():
    for kind in ("bpe", "word"):
        with pytest.raises(InputError, match="the training text is empty"):
            build_pair_vocabularies([], kind=kind)
