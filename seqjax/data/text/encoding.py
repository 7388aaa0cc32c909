"""Vocabularies built from training texts, and pairs of texts encoded as rows of symbols."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax.data.text.characters import ByteVocabulary, CharacterVocabulary
from seqjax.data.text.limits import length_limit
from seqjax.data.text.pairs import Pair
from seqjax.data.text.subwords import SubwordVocabulary
from seqjax.data.text.vocabulary import Vocabulary, normalized
from seqjax.data.text.words import LineVocabulary, WordPunctVocabulary, WordVocabulary
from seqjax.errors import InputError

KINDS = ("bpe", "unigram", "character", "word", "line")
_IDS: dict[str, Any] = {"pad": 0, "unknown": 1, "start": 2, "end": 3}
_SHORTEST_LIMIT = 100  # symbols; of pairs that are all shorter none is over-long


class Encoded(NamedTuple):
    """Encoded pairs: rows of symbols.

    Args:
        source: int32 [S] for each pair.
        target: int32 [T] for each pair, ending with the vocabulary's end symbol if it has one.
        over_long: the number of pairs that were dropped or cut for their length.
        max_length: the length above which a pair counts as over-long; None: no limit.
    """

    source: tuple[np.ndarray, ...]
    target: tuple[np.ndarray, ...]
    over_long: int
    max_length: int | None


def build_vocabulary(
    kind: str, text: str | Iterable[str], *, min_count: int = 1, max_size: int | None = None, normalization: str | None = None
) -> Vocabulary:
    """Builds a vocabulary from a training text.

    Args:
        kind: "character", "byte", "word" (between white space), "word-punct" (words and punctuation marks), or sub-words: "bpe"
            or "unigram". All but "word" keep white space.
        text: the training text, or its pieces; a byte vocabulary does not depend on it.
        min_count, max_size, normalization: as for `CharacterVocabulary.from_text`; bytes are never normalised, and sub-words are
            limited by max_size alone (None: 8,000).

    Returns:
        The vocabulary.

    Raises:
        InputError: the kind is unknown, the text is empty, the limits exclude every symbol, or they do not apply to the kind.

    Example:
        >>> build_vocabulary("word", "to be or not to be").size, build_vocabulary("word-punct", "to be, or not").tokens
        (6, (' be', ' not', ' or', ',', 'to'))
    """
    if kind == "byte":
        return ByteVocabulary()
    if kind in ("bpe", "unigram"):
        if min_count > 1:
            raise InputError(f"min_count is {min_count}: sub-words are limited by max_size alone")
        limits: dict[str, Any] = {"max_size": max_size, "normalization": normalization, "whitespace": "keep"}
        return SubwordVocabulary.from_text(text, kind=kind, **limits)
    kinds = {"character": CharacterVocabulary, "word": WordVocabulary, "word-punct": WordPunctVocabulary}
    if kind not in kinds:
        raise InputError(f"vocabulary {kind!r} is not known: choose one of {', '.join(kinds)}, byte, bpe, unigram")
    return kinds[kind].from_text(text, min_count=min_count, max_size=max_size, normalization=normalization)


def build_pair_vocabularies(
    pairs: Sequence[Pair],
    *,
    kind: str = "bpe",
    target_kind: str | None = None,
    joint: bool = False,
    max_size: int | None = None,
    min_count: int = 1,
    byte_fallback: bool = False,
    symbols: Sequence[str] = (),
    normalization: str | None = None,
    character_coverage: float = 1.0,
) -> tuple[Vocabulary, Vocabulary]:
    """Builds the vocabularies of source and target; in each, pad, unknown, start and end are 0, 1, 2 and 3.

    Args:
        pairs: the training pairs.
        kind: "bpe", "unigram", "character" or "word".
        target_kind: the target's kind; also "line", each target one symbol without an end symbol. None: as `kind`.
        joint: build one vocabulary from the texts of both sides.
        max_size: the maximum size of each; None: no limit (8,000 for sub-words).
        min_count: characters, words and lines that occur less often are unknown.
        byte_fallback: let sub-words spell unknown characters in bytes.
        symbols: texts of the source that are never split, each one symbol ("<fr>").
        normalization: as for `Vocabulary`.
        character_coverage: the share of the characters that sub-words know, as for `SubwordVocabulary.from_text`.

    Returns:
        (source vocabulary, target vocabulary); the same object twice if they are joint.

    Raises:
        InputError: an unknown kind, two kinds for a joint vocabulary, an option that does not apply to the kind, or a text that
            the kind refuses.

    Example:
        >>> pairs = [Pair("<fr> two", "deux"), Pair("<fr> three", "trois")]
        >>> source, target = build_pair_vocabularies(pairs, kind="word", target_kind="character")
        >>> source.encode("<fr> two").tolist(), target.characters
        ([4, 6], 'deiorstux')
    """
    target_kind = target_kind or kind
    for name, side in ((kind, "source"), (target_kind, "target")):
        if name not in KINDS or (name, side) == ("line", "source"):
            kinds = ", ".join(KINDS[:-1] if side == "source" else KINDS)
            raise InputError(f"{side} vocabulary {name!r} is not known: choose one of {kinds}")
    if joint and target_kind != kind:
        raise InputError(f"a joint vocabulary cannot be of kinds {kind} and {target_kind}: give one kind")
    subwords = {"bpe", "unigram"}
    if min_count > 1 and {kind, target_kind} <= subwords:
        raise InputError(f"min_count is {min_count}: sub-words are limited by max_size alone")
    if byte_fallback and subwords.isdisjoint((kind, target_kind)):
        raise InputError(f"byte_fallback is for sub-words, not for {kind} and {target_kind}")
    if character_coverage != 1 and subwords.isdisjoint((kind, target_kind)):
        raise InputError(f"character_coverage is for sub-words, not for {kind} and {target_kind}: limit those by min_count")

    def build(name: str, text: str, symbols: Sequence[str]) -> Vocabulary:
        if name in subwords:
            options: dict[str, Any] = {"symbols": symbols, "normalization": normalization}
            options |= {"byte_fallback": byte_fallback, "character_coverage": character_coverage}
            return SubwordVocabulary.from_text(text, kind=name, max_size=max_size, **options)
        limits: dict[str, Any] = {"min_count": min_count, "max_size": max_size, "normalization": normalization}
        if name == "line":
            return LineVocabulary.from_text(text, **limits)
        if name == "word":
            return WordVocabulary.from_text(text, **limits, **_IDS)
        return CharacterVocabulary.from_text(text.replace("\n", ""), **limits, **_IDS, symbols=symbols)

    sources, targets = ("\n".join(side) for side in zip(*pairs, strict=True)) if pairs else ("", "")
    if joint:
        both = build(kind, f"{sources}\n{targets}", symbols)
        return both, both
    return build(kind, sources, symbols), build(target_kind, targets, ())


def encode_pairs(
    pairs: Iterable[Pair],
    source: Vocabulary,
    target: Vocabulary,
    *,
    max_length: int | None = None,
    share: float | None = None,
    over_long: str = "drop",
) -> Encoded:
    """Encodes pairs of texts as rows of symbols.

    Args:
        pairs: the pairs.
        source, target: the vocabularies of the two sides.
        max_length: the maximum length of either side, the target's end symbol included; for training pairs only, since a
            test figure should leave no pair out. None: no limit, or the one that `share` gives.
        share: in place of max_length: the limit is the length that this share of the pairs keeps within, such as 0.99, or 100
            if that is longer.
        over_long: "drop" leaves out a pair with a longer side, "cut" cuts each side to max_length (the target keeps its end
            symbol).

    Returns:
        The encoded pairs.

    Raises:
        InputError: a symbol is outside a vocabulary that has no unknown symbol, max_length is below 2, share is not
            above 0 and at most 1, both are given, over_long is neither "drop" nor "cut", or no pair is left.

    Example:
        >>> vocabulary = CharacterVocabulary(characters="ab", pad=0, unknown=None, start=1, end=2)
        >>> encode_pairs([Pair("ab", "b"), Pair("bbb", "")], vocabulary, vocabulary, max_length=2)
        Encoded(source=(array([3, 4], dtype=int32),), target=(array([4, 2], dtype=int32),), over_long=1, max_length=2)
    """
    if over_long not in ("drop", "cut"):
        raise InputError(f'over_long is {over_long!r}, it must be "drop" or "cut"')
    if max_length is not None and share is not None:
        raise InputError(f"max_length is {max_length} and share is {share}: give one of the two")
    if max_length is not None and max_length < 2:
        raise InputError(f"max_length is {max_length}, it must be at least 2: a symbol and the end")
    end = np.array([] if target.end is None else [target.end], np.int32)
    rows = [(source.encode(pair.source), target.encode(pair.target)) for pair in pairs]
    longer = np.array([max(read.size, written.size + end.size) for read, written in rows])  # [N], of the longer side
    if share is not None and rows:
        max_length = length_limit(longer, share, shortest=_SHORTEST_LIMIT)
    too_long = 0 if max_length is None else int((longer > max_length).sum())
    if over_long == "drop" and too_long:
        rows = [row for row, length in zip(rows, longer, strict=True) if length <= max_length]
    sources = [read[:max_length] for read, _ in rows]
    most = None if max_length is None else max_length - end.size
    targets = [np.concatenate([written[:most], end]) for _, written in rows]
    if not sources:
        raise InputError(
            f"there is no pair to encode ({too_long} were longer than {max_length}): give more, or a longer max_length"
        )
    return Encoded(tuple(sources), tuple(targets), too_long, max_length)


def unknown_share(rows: Iterable[np.ndarray], vocabulary: Vocabulary) -> float:
    """The share of the symbols that are unknown, of 0 to 1.

    Args:
        rows: int, [T] each.
        vocabulary: the vocabulary that encoded them.

    Example:
        >>> vocabulary = WordVocabulary.from_text("the cat")
        >>> unknown_share([vocabulary.encode("the dog"), vocabulary.encode("the cat")], vocabulary)
        0.25
    """
    symbols = np.concatenate([np.zeros(0, np.int32), *rows])
    return float((symbols == vocabulary.unknown).mean()) if symbols.size and vocabulary.unknown is not None else 0.0


def word_positions(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """The index of the word that each symbol of a text belongs to, for copying the word that a model attends to.

    Args:
        vocabulary: a vocabulary of characters, bytes, words or sub-words.
        text: words separated by white space, with none at the end; white space belongs to the word after it.

    Returns:
        int32 [T], for each symbol of `vocabulary.encode(text)` an index into `text.split()`, both of the normalised text.

    Example:
        >>> vocabulary = CharacterVocabulary.from_text("ab c")
        >>> word_positions(vocabulary, "ab xyz").tolist()
        [0, 0, 1, 1, 1, 1]
    """
    counts = [len(vocabulary.encode(word)) for word in re.findall(r"\s*\S+", normalized(text, vocabulary.normalization))]
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)
