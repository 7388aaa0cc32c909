"""Vocabularies of words and of whole lines."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from seqjax.data.text.vocabulary import Vocabulary, most_frequent, normalized, refuse_twice, whole_pieces
from seqjax.serial import register

_TOKEN = re.compile(r" ?\w+| ?[^\w\s]|\s")


@register
@dataclass(frozen=True, kw_only=True)
class WordVocabulary(Vocabulary):
    r"""Words separated by white space; a newline is the end symbol, as in language models of the Penn Treebank.

    The words "<unk>" and "<eos>" in a text are read as the unknown and the end symbol.

    Args:
        words: the distinct ordinary words, in the order of their ids.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a word appears twice, or special symbols are invalid.

    Example:
        >>> vocabulary = WordVocabulary.from_text("the cat\nthe <unk>\n")
        >>> vocabulary.words, vocabulary.unknown, vocabulary.end
        (('the', 'cat'), 1, 0)
        >>> vocabulary.encode("the dog\ncat").tolist()
        [2, 1, 0, 3]
        >>> vocabulary.decode([2, 1, 0, 3])
        'the <unk>\ncat'
    """

    unknown: int | None = 1
    end: int | None = 0
    words: tuple[str, ...] = field(repr=False)

    def __post_init__(self):
        super().__post_init__()
        refuse_twice("word", self.words)

    @classmethod
    def from_text(
        cls,
        text: str | Iterable[str],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        normalization: str | None = None,
        **special: int | None,
    ) -> "WordVocabulary":
        """The words of a training text.

        Args:
            text: the training text, or its pieces.
            min_count: words that occur less often are unknown.
            max_size: the maximum size, special symbols included; the most frequent words are kept. None: no limit.
            normalization: as for `Vocabulary`.
            **special: ids of pad, unknown, start or end that differ from the class's defaults.

        Returns:
            The vocabulary; its words are in order of decreasing frequency, then alphabetical.

        Raises:
            InputError: the text is empty, or the limits exclude every word.
        """
        counts = Counter[str]()
        for piece in whole_pieces([text] if isinstance(text, str) else text):
            counts.update(normalized(piece, normalization).split())
        for literal in ("<unk>", "<eos>"):
            counts.pop(literal, None)
        words = tuple(most_frequent(counts, min_count, max_size, specials=cls._specials(special)))
        return cls(words=words, normalization=normalization, **special)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return self.words

    @cached_property
    def _table(self) -> dict[str, int]:
        special = {"<unk>": self.unknown, "<eos>": self.end, "\n": self.end}
        return dict(zip(self.words, self._ids.tolist(), strict=True)) | {k: i for k, i in special.items() if i is not None}

    def _look_up(self, text: str):
        words = text.split() if self.end is None else re.findall(r"\n|\S+", text)
        table = self._table
        ids = np.array([table.get(word, -1) for word in words], np.int32)
        return ids, lambda missing: sorted({words[t] for t in np.flatnonzero(missing)})

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        words = {i: word for word, i in self._table.items()}
        separator = ""
        for i in self._checked(ids):
            word = words.get(i, "")
            yield separator + word if word not in ("", "\n") else word
            separator = separator if not word else "" if word == "\n" else " "


@register
@dataclass(frozen=True, kw_only=True)
class WordPunctVocabulary(Vocabulary):
    r"""Words and punctuation marks, each with the blank before it: unless a word is unknown, decoding restores every character.

        a token is  " "? word  |  " "? mark  |  white space

    A word is letters, digits and underscores; a mark is a single other character. Id 0 begins every document.

    Args:
        tokens: the distinct ordinary tokens, in the order of their ids.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a token appears twice, or special symbols are invalid.

    Example:
        >>> vocabulary = WordPunctVocabulary.from_text("The cat, the dog.\n")
        >>> vocabulary.tokens
        ('\n', ' cat', ' dog', ' the', ',', '.', 'The')
        >>> vocabulary.decode(vocabulary.encode("The cat, the cat.")), vocabulary.encode("The cow").tolist()
        ('The cat, the cat.', [8, 1])
    """

    unknown: int | None = 1
    start: int | None = 0
    tokens: tuple[str, ...] = field(repr=False)

    def __post_init__(self):
        super().__post_init__()
        refuse_twice("token", self.tokens)

    @classmethod
    def from_text(
        cls,
        text: str | Iterable[str],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        normalization: str | None = None,
        **special: int | None,
    ) -> "WordPunctVocabulary":
        """The tokens of a training text.

        Args:
            text: the training text, or its pieces.
            min_count: tokens that occur less often are unknown.
            max_size: the maximum size, special symbols included; the most frequent tokens are kept. None: no limit.
            normalization: as for `Vocabulary`.
            **special: ids of pad, unknown, start or end that differ from the class's defaults.

        Returns:
            The vocabulary; its tokens are in order of decreasing frequency, then alphabetical.

        Raises:
            InputError: the text is empty, or the limits exclude every token.
        """
        counts = Counter[str]()
        for piece in whole_pieces([text] if isinstance(text, str) else text):
            counts.update(_TOKEN.findall(normalized(piece, normalization)))
        tokens = tuple(most_frequent(counts, min_count, max_size, specials=cls._specials(special)))
        return cls(tokens=tokens, normalization=normalization, **special)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return self.tokens

    @cached_property
    def _table(self) -> dict[str, int]:
        return dict(zip(self.tokens, self._ids.tolist(), strict=True))

    def _look_up(self, text: str):
        tokens, table = _TOKEN.findall(text), self._table
        ids = np.array([table.get(token, -1) for token in tokens], np.int32)
        return ids, lambda missing: sorted({tokens[t] for t in np.flatnonzero(missing)})

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        tokens = {i: token for token, i in self._table.items()} | {self.unknown: "\ufffd"}
        return (tokens.get(i, "") for i in self._checked(ids))


@register
@dataclass(frozen=True, kw_only=True)
class LineVocabulary(Vocabulary):
    r"""Whole lines: each text is one symbol, so that a model answers by choosing one of the training answers.

    Args:
        lines: the distinct ordinary lines, in the order of their ids.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a line appears twice, or special symbols are invalid.

    Example:
        >>> vocabulary = LineVocabulary.from_text("Thank you!\nI agree.\nThank you!")
        >>> vocabulary.encode("I agree.").tolist(), vocabulary.encode("No.").tolist(), vocabulary.decode([3])
        ([4], [1], 'Thank you!')
    """

    pad: int | None = 0
    unknown: int | None = 1
    start: int | None = 2
    lines: tuple[str, ...] = field(repr=False)

    def __post_init__(self):
        super().__post_init__()
        refuse_twice("line", self.lines)

    @classmethod
    def from_text(
        cls, text: str, *, min_count: int = 1, max_size: int | None = None, normalization: str | None = None
    ) -> "LineVocabulary":
        """The vocabulary of the non-empty lines of a training text.

        Args:
            text: the training text.
            min_count: lines that occur less often are unknown.
            max_size: the maximum size, special symbols included; the most frequent lines are kept. None: no limit.
            normalization: as for `Vocabulary`.

        Returns:
            The vocabulary; its lines are in order of decreasing frequency, then alphabetical.

        Raises:
            InputError: the text is empty, or the limits exclude every line.
        """
        counts = Counter(line.strip() for line in normalized(text, normalization).split("\n"))
        counts.pop("", None)
        lines = tuple(most_frequent(counts, min_count, max_size, specials=cls._specials({})))
        return cls(lines=lines, normalization=normalization)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return self.lines

    @cached_property
    def _table(self) -> dict[str, int]:
        return dict(zip(self.lines, self._ids.tolist(), strict=True))

    def _look_up(self, text: str):
        return np.array([self._table.get(text.strip(), -1)], np.int32), lambda missing: [text.strip()]

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        lines, separator = {i: line for line, i in self._table.items()} | {self.unknown: "\ufffd"}, ""
        for i in self._checked(ids):
            if i in lines:
                yield separator + lines[i]
                separator = "\n"
