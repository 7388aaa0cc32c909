"""Corpora as symbols: in memory or in files, in pieces or at once, always the same; and files that are damaged or cannot be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import writing
from seqjax.data import Document, TextStream, VocabularySettings, encode_corpus, evaluation_batches, from_path
from seqjax.data.text import encoded as kept
from seqjax.data.text.encoding import build_vocabulary
from seqjax.data.text.tokens import count_symbols
from seqjax.data.text.vocabulary import normalized, whole_pieces
from seqjax.errors import InputError
from seqjax.serial import from_json, to_json

LINE = "The caf\u00e9, no. {}: it's  {}\n\tend \u4e2d.\r\n"
TEXT = "".join(LINE.format(n % 97, "x" * (n % 5)) for n in range(300))
KINDS = {"character": None, "byte": None, "word": None, "word-punct": None, "bpe": 80, "unigram": 80}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "text.txt"
    path.write_text(TEXT, newline="")
    return from_path(path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def vocabularies():
    return {kind: build_vocabulary(kind, TEXT, max_size=size, normalization="NFC") for kind, size in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_symbols_in_files_are_those_in_memory(kind, corpus, cache, vocabularies):
    settings, phases = VocabularySettings(kind, max_size=KINDS[kind]), []
    held = encode_corpus(corpus, settings)
    filed = encode_corpus(corpus, settings, in_memory=0, notice=lambda *phase: phases.append(phase))
    assert filed.vocabulary == held.vocabulary
    for split, tokens in held.tokens.items():
        np.testing.assert_array_equal(filed.tokens[split][:], tokens)
        assert filed.tokens[split].dtype == tokens.dtype == (np.uint16 if kind == "byte" else np.uint8)
    np.testing.assert_array_equal(filed.everything[:], held.everything)
    assert phases[-1] == ("test split", corpus.record["test_characters"], corpus.record["test_characters"])
    phases.clear()
    again = encode_corpus(corpus, filed.vocabulary, in_memory=0, notice=lambda *phase: phases.append(phase))
    assert not phases and again.vocabulary == filed.vocabulary  # nothing is read again
    if kind != "word":
        np.testing.assert_array_equal(held.vocabulary.encode(corpus.valid[0].text), held.tokens["valid"][1:])
    stream, other = (
        TextStream(tokens=each.tokens["train"], batch_size=2, length=7, start=held.vocabulary.start, seed=1)
        for each in (held, filed)
    )
    assert stream.identity == other.identity
    np.testing.assert_equal(stream.batch(stream.steps_per_epoch + 1), other.batch(stream.steps_per_epoch + 1))
    first, second = (evaluation_batches(each.everything, batch_size=2, length=9, start=None, ignored=5) for each in (held, filed))
    np.testing.assert_equal(first[-1], second[-1])
    assert not (first[1]["target"][first[1]["target_mask"]] == 5).any()


ALPHABET = st.sampled_from([*"ab \n\t\r.,_\u00e9\u00a0\u2003e\u0301"])


@settings(deadline=None, max_examples=60)
@given(st.text(ALPHABET, max_size=60), st.integers(1, 9))
def test_texts_come_back_and_pieces_are_no_difference(vocabularies, text, size):
    assert "".join(whole_pieces([text[n : n + size] for n in range(0, len(text), size)], size)) == text
    for kind, vocabulary in vocabularies.items():
        pieces = [vocabulary.encode(piece) for piece in whole_pieces([text], size)]
        together = vocabulary.encode(text)
        if kind not in ("bpe", "unigram"):  # these may spell runs of blanks otherwise
            np.testing.assert_array_equal(np.concatenate([*pieces, together[:0]]), together)
        if not vocabulary.outside(text) and kind != "word":
            decoded = "".join(vocabulary.decode(piece) for piece in pieces)
            assert (
                vocabulary.decode(together) == decoded == normalized(text, vocabulary.normalization if kind != "byte" else None)
            )
        assert from_json(to_json(vocabulary)) == vocabulary


def test_a_line_without_white_space_is_cut_where_nothing_composes():
    text = "e\u0301" * 60 + "\u1112\u1161\u11ab" * 40
    pieces = list(whole_pieces([text[n : n + 5] for n in range(0, len(text), 5)], size=4))
    assert "".join(pieces) == text and len(pieces) > 2 and max(map(len, pieces)) < 100
    assert "".join(normalized(piece, "NFC") for piece in pieces) == normalized(text, "NFC")


def test_kept_files_are_made_whole_or_not_at_all(corpus, cache, monkeypatch):
    settings = VocabularySettings("character")

    def encode():
        return encode_corpus(corpus, settings, in_memory=0)

    class Stop(BaseException):
        pass

    def stop(*phase):
        raise Stop

    with pytest.raises(Stop):
        encode_corpus(corpus, settings, in_memory=0, notice=stop)
    assert not list(cache.glob("text-*/tokens")) and not list(cache.glob("*.part/*"))
    expected = encode().everything[:]
    [tokens] = cache.glob("text-*/tokens")
    content = tokens.read_bytes()
    for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:], b""):
        held = encode()
        tokens.write_bytes(damaged)
        del held
        np.testing.assert_array_equal(encode().everything[:], expected)
        assert tokens.read_bytes() == content
    for name in ("about.json", "tokens"):
        (tokens.parent / name).unlink()
        np.testing.assert_array_equal(encode().everything[:], expected)
    for path in cache.glob("*.json"):
        path.write_text("{")
    np.testing.assert_array_equal(encode().everything[:], expected)

    monkeypatch.setenv("SEQJAX_CACHE", str(tokens))  # a file
    with pytest.raises(InputError, match=r"cannot keep the symbols of the text .* SEQJAX_CACHE") as caught:
        encode()
    assert "\n" not in str(caught.value)


def test_symbols_are_kept_where_files_cannot_be_locked(corpus, cache, monkeypatch):
    monkeypatch.setattr(writing, "fcntl", None)
    kept_tokens = encode_corpus(corpus, VocabularySettings("byte"), in_memory=0).everything
    np.testing.assert_array_equal(kept_tokens[:], encode_corpus(corpus, VocabularySettings("byte")).everything)


def test_the_cache_s_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SEQJAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept.cache_folder() == tmp_path / "seqjax"


def test_sub_words_refuse_a_minimum_of_occurrences():
    with pytest.raises(InputError, match="min_count is 2: sub-words are limited by max_size alone"):
        build_vocabulary("bpe", "text", min_count=2)
    with pytest.raises(InputError, match=r"max_size is 5: the text's characters and the special symbols alone are \d+"):
        build_vocabulary("unigram", "text", max_size=5)


def test_symbols_are_counted():
    assert count_symbols(np.array([1, 1, 3], np.uint8), 5).tolist() == [0, 2, 0, 1, 0]
    assert Document("x", "abc").cut(1, 9).characters == 2
