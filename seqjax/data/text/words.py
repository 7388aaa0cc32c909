"""Vocabularies of words and of whole lines."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from seqjax.data.text.vocabulary import Vocabulary, most_frequent, normalized, refuse_twice, whole_pieces
from seqjax.serial import register

_TOKEN = re.compile(r" ?\w+| ?[^\w\s]|\s")


@dataclass(frozen=True, kw_only=True)
class _Listed(Vocabulary):
    """Base class of vocabularies whose ordinary symbols are texts, listed in one field."""

    LIST: ClassVar[str]  # the field
    LEFT_OUT: ClassVar[tuple[str, ...]] = ()  # texts that are no ordinary symbols

    def __post_init__(self):
        super().__post_init__()
        refuse_twice(self.LIST[:-1], self._symbols)

    @classmethod
    def from_text(
        cls,
        text: str | Iterable[str],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        normalization: str | None = None,
        **special: int | None,
    ) -> Self:
        """The vocabulary of a training text: its words, its words and punctuation marks, or its lines that are not blank.

        Args:
            text: the training text, or its pieces.
            min_count: symbols that occur less often are unknown.
            max_size: the maximum size, special symbols included; the most frequent symbols are kept. None: no limit.
            normalization: as for `Vocabulary`.
            **special: ids of pad, unknown, start or end that differ from the class's defaults.

        Returns:
            The vocabulary; its symbols are in order of decreasing frequency, then alphabetical.

        Raises:
            InputError: the text is empty, or the limits exclude every symbol.
        """
        counts = Counter[str]()
        for piece in whole_pieces([text] if isinstance(text, str) else text):
            counts.update(cls._parts(normalized(piece, normalization)))
        for symbol in cls.LEFT_OUT:
            counts.pop(symbol, None)
        symbols = tuple(most_frequent(counts, min_count, max_size, specials=cls._specials(special)))
        return cls(normalization=normalization, **{cls.LIST: symbols}, **special)

    @classmethod
    def _parts(cls, text: str) -> list[str]:
        """The symbols of a training text, with those in `LEFT_OUT`."""
        raise NotImplementedError

    def _read(self, text: str) -> list[str]:
        """The symbols of a text that is encoded, in order; the table lacks the unknown ones."""
        return self._parts(text)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return getattr(self, self.LIST)

    @cached_property
    def _table(self) -> dict[str, int]:
        """The id of every text that is a symbol."""
        return dict(zip(self._symbols, self._ids.tolist(), strict=True))

    def _look_up(self, text: str):
        symbols, table = self._read(text), self._table
        ids = np.array([table.get(symbol, -1) for symbol in symbols], np.int32)
        return ids, lambda missing: sorted({symbols[t] for t in np.flatnonzero(missing)})


@register
@dataclass(frozen=True, kw_only=True)
class WordVocabulary(_Listed):
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

    LIST, LEFT_OUT = "words", ("<unk>", "<eos>")
    unknown: int | None = 1
    end: int | None = 0
    words: tuple[str, ...] = field(repr=False)

    @classmethod
    def _parts(cls, text: str) -> list[str]:
        return text.split()

    def _read(self, text: str) -> list[str]:
        return text.split() if self.end is None else re.findall(r"\n|\S+", text)

    @cached_property
    def _table(self) -> dict[str, int]:
        special = {"<unk>": self.unknown, "<eos>": self.end, "\n": self.end}
        return super()._table | {k: i for k, i in special.items() if i is not None}

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        words = {i: word for word, i in self._table.items()}
        separator = ""
        for i in self._checked(ids):
            word = words.get(i, "")
            yield separator + word if word not in ("", "\n") else word
            separator = separator if not word else "" if word == "\n" else " "


@register
@dataclass(frozen=True, kw_only=True)
class WordPunctVocabulary(_Listed):
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

    LIST = "tokens"
    unknown: int | None = 1
    start: int | None = 0
    tokens: tuple[str, ...] = field(repr=False)

    @classmethod
    def _parts(cls, text: str) -> list[str]:
        return _TOKEN.findall(text)

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        tokens = {i: token for token, i in self._table.items()} | {self.unknown: "\ufffd"}
        return (tokens.get(i, "") for i in self._checked(ids))


@register
@dataclass(frozen=True, kw_only=True)
class LineVocabulary(_Listed):
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

    LIST, LEFT_OUT = "lines", ("",)
    pad: int | None = 0
    unknown: int | None = 1
    start: int | None = 2
    lines: tuple[str, ...] = field(repr=False)

    @classmethod
    def _parts(cls, text: str) -> list[str]:
        return [line.strip() for line in text.split("\n")]

    def _read(self, text: str) -> list[str]:
        return [text.strip()]

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        lines, separator = {i: line for line, i in self._table.items()} | {self.unknown: "\ufffd"}, ""
        for i in self._checked(ids):
            if i in lines:
                yield separator + lines[i]
                separator = "\n"
