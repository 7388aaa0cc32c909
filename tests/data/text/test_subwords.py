"""Sub-words and lines as symbols: round trips, one model from one text, and every refusal."""

import base64
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import serial
from seqjax.data.text.encoding import word_positions
from seqjax.data.text.subwords import SubwordVocabulary
from seqjax.data.text.words import LineVocabulary
from seqjax.errors import InputError

WORDS = ["siebenundneunzig", "siebzehn", "neunzehn", "neunundneunzig", "tausend", "hundert", "und", "Stra\u00dfe"]
TEXT = "\n".join(f"<de> {a} {b}" for a in WORDS for b in WORDS)
SYMBOLS = ("<de>", "<fr>")
KINDS = [("bpe", False), ("bpe", True), ("unigram", False), ("unigram", True)]


@pytest.fixture(scope="module", params=KINDS, ids=[f"{kind}{' with bytes' * fallback}" for kind, fallback in KINDS])
def vocabulary(request):
    kind, byte_fallback = request.param
    return SubwordVocabulary.from_text(
        TEXT, kind=kind, max_size=60 + 256 * byte_fallback, byte_fallback=byte_fallback, symbols=SYMBOLS
    )


def test_it_is_a_hashable_value_that_json_keeps_and_repr_hides_the_model(vocabulary):
    restored = serial.from_json(json.loads(json.dumps(serial.to_json(vocabulary))))
    assert (
        restored == vocabulary
        and hash(restored) == hash(vocabulary)
        and restored.encode(WORDS[0]).tolist() == vocabulary.encode(WORDS[0]).tolist()
    )
    assert repr(vocabulary) == "SubwordVocabulary(pad=0, unknown=1, start=2, end=3, symbols=('<de>', '<fr>'))"


def test_the_same_text_makes_the_same_model(vocabulary):
    byte_fallback = vocabulary.size > 256
    kinds = [
        SubwordVocabulary.from_text(TEXT, kind=kind, max_size=vocabulary.size, byte_fallback=byte_fallback, symbols=SYMBOLS)
        for kind in ("bpe", "unigram")
    ]
    assert kinds[0] != kinds[1]
    sizes = {"max_size": 60 + 256 * byte_fallback, "byte_fallback": byte_fallback, "symbols": SYMBOLS}
    assert vocabulary in [SubwordVocabulary.from_text(TEXT, kind=kind, **sizes) for kind in ("bpe", "unigram")]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.one_of(st.sampled_from(WORDS), st.text("abdeinstu", min_size=1)), min_size=1), st.sampled_from([" ", "  ", "\t"])
)
def test_known_characters_come_back_with_single_spaces(vocabulary, words, space):
    text = space.join(words) + space
    ids = vocabulary.encode(text, strict=True)
    assert ids.dtype == np.int32 and not set(ids.tolist()) & {0, 1, 2, 3}
    assert vocabulary.decode([2, *ids, 3, 0]) == " ".join(words)
    assert "".join(vocabulary.stream(iter(ids.tolist()))) == " ".join(words)


def test_sub_words_are_shorter_than_characters_and_longer_than_words(vocabulary):
    assert 3 <= len(vocabulary.encode("siebenundneunzig tausend hundert")) < 20
    assert len(vocabulary.encode("")) == len(vocabulary.encode(" \n ")) == 0


def test_a_symbol_is_one_symbol_wherever_it_stands(vocabulary):
    first, *rest = vocabulary.encode("<de> neunzehn").tolist()
    assert rest == vocabulary.encode("neunzehn").tolist()
    assert vocabulary.encode("<fr>neunzehn <de>").tolist()[1:] == [*rest, first]
    assert vocabulary.decode(vocabulary.encode("<fr> neunzehn <de>")) == "<fr> neunzehn <de>"


def test_only_characters_outside_symbols_are_named_as_unknown():
    vocabulary = SubwordVocabulary.from_text(TEXT, max_size=60, symbols=SYMBOLS)
    assert vocabulary.outside("<de> neun \u20ac") == ["\u20ac"] and vocabulary.outside("<de>") == []
    assert "<" in vocabulary.outside("< neun")


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters="\u2581"), min_size=1))
def test_what_is_unknown_is_told_or_spelt_in_bytes(vocabulary, text):
    if vocabulary.size > 256:
        assert vocabulary.decode(vocabulary.encode(text, strict=True)) == text
    elif (vocabulary.encode(text) == 1).any():
        with pytest.raises(InputError, match=f"outside the vocabulary of {vocabulary.size} symbols"):
            vocabulary.encode(text, strict=True)
        assert "\ufffd" in vocabulary.decode(vocabulary.encode(text))
    else:
        assert set(text) <= set(TEXT)


def test_a_character_of_several_bytes_is_shown_when_it_is_whole():
    vocabulary = SubwordVocabulary.from_text(TEXT, max_size=320, byte_fallback=True)
    pieces = list(vocabulary.stream(vocabulary.encode("und\u20ac")))
    assert "".join(pieces) == "und\u20ac" and all(piece in ("", "und", "\u20ac") or piece in "und" for piece in pieces)
    broken = vocabulary.encode("\u20ac")[:2].tolist()
    assert vocabulary.decode([*broken, *vocabulary.encode("und")]).endswith("\ufffd und")


def test_positions_name_the_word_of_every_symbol(vocabulary):
    text = "<de> siebzehn tausendund neunzig"
    positions, ids = word_positions(vocabulary, text), vocabulary.encode(text)
    assert len(positions) == len(ids) and positions.dtype == np.int32
    for n, word in enumerate(text.split()):
        assert vocabulary.decode(ids[positions == n]) == word


def test_a_small_text_has_fewer_symbols_than_it_may():
    for kind in ("bpe", "unigram"):
        assert 5 < SubwordVocabulary.from_text("abc abc ab", kind=kind).size < 20


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a", {"kind": "char"}, 'sub-words of kind \'char\' are not known: choose "bpe" or "unigram"'),
        (" \n\t", {}, "the training text is empty"),
        ("<x>", {"symbols": ("<x>",)}, "the training text is empty"),
        ("abc", {"max_size": 7}, "max_size is 7: the text's characters and the special symbols alone are 8"),
        ("abc", {"max_size": 100, "byte_fallback": True}, "the special symbols alone are 264"),
        (
            "abc",
            {"symbols": ("<fr>", "<unk>")},
            "symbol <unk> is reserved by SentencePiece, as are <pad> <unk> <s> </s>",
        ),
        ("caf\udce9", {}, "the text is not UTF-8: '\\udce9' at character 3, in 'caf\\udce9'"),
    ],
)
def test_what_cannot_be_learned_is_refused(text, options, message):
    with pytest.raises(InputError) as error:
        SubwordVocabulary.from_text(text, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_text_to_encode_that_is_not_utf_8_is_refused(vocabulary):
    with pytest.raises(InputError, match=r"the text is not UTF-8: .* at character 8"):
        vocabulary.encode("<de> und\udce9")


def test_the_smallest_size_is_enough():
    for kind in ("bpe", "unigram"):
        assert SubwordVocabulary.from_text("abc", kind=kind, max_size=8).size <= 8


def test_a_model_that_is_not_its_own_is_refused(vocabulary):
    for model in ("@", base64.b64encode(b"no model").decode()):
        with pytest.raises(InputError, match="the sub-word model is damaged"):
            dataclasses.replace(vocabulary, model=model)
    for change in ({"symbols": ("<it>",)}, {"start": 4}):
        with pytest.raises(InputError, match="the sub-word model has other symbols than"):
            dataclasses.replace(vocabulary, **change)


def test_nothing_is_printed_in_training(capfd):
    SubwordVocabulary.from_text(TEXT, max_size=60)
    assert capfd.readouterr() == ("", "")


def test_lines_are_symbols():
    vocabulary = LineVocabulary.from_text("yes\nno \n\nyes\nnever\n", max_size=5)
    assert vocabulary.lines == ("yes", "never") and vocabulary.size == 5
    assert [vocabulary.encode(text).tolist() for text in (" yes", "never", "no", "")] == [[3], [4], [1], [1]]
    assert vocabulary.decode([2, 3, 0]) == "yes" and vocabulary.decode([4, 1]) == "never\n\ufffd"
    assert LineVocabulary.from_text("a\na\nb", min_count=2).lines == ("a",)
    assert serial.from_json(json.loads(json.dumps(serial.to_json(vocabulary)))) == vocabulary
    with pytest.raises(InputError, match="outside the vocabulary of 5 symbols: 'no'"):
        vocabulary.encode("no", strict=True)
    with pytest.raises(InputError, match="line 'a' is twice"):
        LineVocabulary(lines=("a", "a"))


def test_the_rarest_characters_are_unknown_below_a_coverage():
    text = "low lower lowest\n" * 40 + "\u96f7 \u9f20 low\n"
    whole = SubwordVocabulary.from_text(text, max_size=30)
    most = SubwordVocabulary.from_text(text, max_size=20, character_coverage=0.99)
    assert 1 not in whole.encode("\u96f7") and 1 in most.encode("\u96f7") and 1 not in most.encode("lowest")
    with pytest.raises(InputError, match="character_coverage is 0, it must be above 0"):
        SubwordVocabulary.from_text(text, character_coverage=0)
