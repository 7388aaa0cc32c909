"""Words, and whole lines, as symbols."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from seqjax.data.text.vocabulary import Vocabulary, most_frequent, refuse_twice
from seqjax.serial import register


@register
@dataclass(frozen=True, kw_only=True)
class WordVocabulary(Vocabulary):
    r"""Words between white space; a newline is the end symbol, as in language models of the Penn Treebank.

    The words "<unk>" and "<eos>" of a text stand for the unknown and the end symbol.

    Args:
        words: the distinct ordinary words, in the order of their ids.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a word twice, or wrong special symbols.

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
    def from_text(cls, text: str, *, min_count: int = 1, max_size: int | None = None, **special: int | None) -> "WordVocabulary":
        """The words of a training text.

        Args:
            text: the training text.
            min_count: a word seen less often becomes unknown.
            max_size: the largest size, special symbols included; the most frequent words are kept. None: no limit.
            **special: ids of pad, unknown, start, end, if not those of the class.

        Returns:
            The vocabulary; its words are ordered by falling frequency, then alphabetically.

        Raises:
            InputError: an empty text, or a limit that leaves no word.
        """
        counts = Counter(text.split())
        for literal in ("<unk>", "<eos>"):
            counts.pop(literal, None)
        return cls(words=tuple(most_frequent(counts, min_count, max_size, specials=cls._specials(special))), **special)

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
        before = ""
        for i in self._checked(ids):
            word = words.get(i, "")
            yield before + word if word not in ("", "\n") else word
            before = before if not word else "" if word == "\n" else " "


@register
@dataclass(frozen=True, kw_only=True)
class LineVocabulary(Vocabulary):
    r"""Whole lines: a text is one symbol, so that a model answers by choosing among the answers of the training text.

    Args:
        lines: the distinct ordinary lines, in the order of their ids.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a line twice, or wrong special symbols.

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
    def from_text(cls, text: str, *, min_count: int = 1, max_size: int | None = None) -> "LineVocabulary":
        """The vocabulary of the non-empty lines of a training text.

        Args:
            text: the training text.
            min_count: a line seen less often becomes unknown.
            max_size: the largest size, special symbols included; the most frequent lines are kept. None: no limit.

        Returns:
            The vocabulary; its lines are ordered by falling frequency, then alphabetically.

        Raises:
            InputError: an empty text, or a limit that leaves no line.
        """
        counts = Counter(line.strip() for line in text.split("\n"))
        counts.pop("", None)
        return cls(lines=tuple(most_frequent(counts, min_count, max_size, specials=cls._specials({}))))

    @property
    def _symbols(self) -> tuple[str, ...]:
        return self.lines

    @cached_property
    def _table(self) -> dict[str, int]:
        return dict(zip(self.lines, self._ids.tolist(), strict=True))

    def _look_up(self, text: str):
        return np.array([self._table.get(text.strip(), -1)], np.int32), lambda missing: [text.strip()]

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        lines, before = {i: line for line, i in self._table.items()} | {self.unknown: "\ufffd"}, ""
        for i in self._checked(ids):
            if i in lines:
                yield before + lines[i]
                before = "\n"
