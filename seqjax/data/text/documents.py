"""Documents, the texts that a corpus consists of: in memory, or stored elsewhere and read when they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np

from seqjax.data.text.files import PIECE, TextFile
from seqjax.errors import InputError


@dataclass(frozen=True)
class Document:
    """One text of a corpus, modelled as a separate sequence.

    Args:
        name: its name in the source, such as a path or a topic.
        text: its text.
    """

    name: str
    text: str

    @property
    def characters(self) -> int:
        """The number of its characters."""
        return len(self.text)

    def pieces(self) -> Iterator[str]:
        """Its text in pieces of at most a million characters."""
        return _pieces(self.text)

    def cut(self, begin: int, end: int) -> "Document":
        """The document of some of its characters."""
        return Document(self.name, self.text[begin:end])


class Stored(Protocol):
    """A text that is read whenever it is needed, such as `TextFile`; its str names it in messages."""

    def pieces(self) -> Iterator[str]:
        """The text, in pieces of at most a million characters."""
        ...


@dataclass(frozen=True)
class StoredDocument:
    """One text of a corpus that stays where it is stored, so that no text is too long for the memory.

    Args:
        name: its name in the source.
        stored: the text that it is a part of.
        begin, end: its first character in that text, and the one after its last.
    """

    name: str
    stored: Stored
    begin: int
    end: int

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces())

    @property
    def characters(self) -> int:
        """The number of its characters."""
        return self.end - self.begin

    def pieces(self) -> Iterator[str]:
        """Its text in pieces of at most a million characters.

        Raises:
            InputError: the stored text has become shorter, or can no longer be read.
        """
        position = 0
        for piece in self.stored.pieces():
            part = piece[max(self.begin - position, 0) : max(self.end - position, 0)]
            position += len(piece)
            if part:
                yield part
            if position >= self.end:
                return
        raise InputError(f"{self.stored} has become shorter while it was read: start again")

    def cut(self, begin: int, end: int) -> "StoredDocument":
        """The document of some of its characters."""
        return StoredDocument(self.name, self.stored, self.begin + begin, min(self.begin + end, self.end))


AnyDocument = Document | StoredDocument


def open_document(name: str, file: TextFile) -> AnyDocument | None:
    """The document of a file, which is read once; None if it has no text.

    Args:
        name: the document's name.
        file: the file; the text of a pipe or a device is kept, any other is read again when it is needed.

    Raises:
        InputError: the file cannot be read.
    """
    if not file.path.is_file() and file.path.exists():  # a pipe can be read only once
        text = "".join(file.pieces())
        return Document(name, text) if text.strip() else None
    count, blank = 0, True
    for piece in file.pieces():
        count, blank = count + len(piece), blank and not piece.strip()
    return None if blank else StoredDocument(name, file, 0, count)


class ExampleDocuments(Sequence[StoredDocument]):
    """A document for each example of tfds that has text; the memory holds two numbers for each, and no text.

    Args:
        split: the name of the split, for the documents' names.
        examples: the examples, each of one text; they are read once here.
    """

    def __init__(self, split: str, examples: Sequence[tuple[str, ...]]):
        sizes = np.fromiter((len(text) if text.strip() else 0 for (text,) in examples), np.int64)
        self._split, self._examples, self._with_text = split, examples, np.flatnonzero(sizes)
        self._characters = sizes[self._with_text]

    def __len__(self) -> int:
        return len(self._with_text)

    def __getitem__(self, index):
        n = range(len(self))[index]
        if isinstance(n, range):
            return [self[i] for i in n]
        place = int(self._with_text[n])
        name = f"{self._split}/{place}"
        return StoredDocument(name, _Example(name, self._examples, place), 0, int(self._characters[n]))


@dataclass(frozen=True)
class _Example:
    """The text of an example of tfds."""

    name: str
    examples: Sequence[tuple[str, ...]]
    place: int

    def __str__(self) -> str:
        return f"example {self.name}"

    def pieces(self) -> Iterator[str]:
        return _pieces(self.examples[self.place][0])


def cut_in_shares(documents: Sequence[AnyDocument], shares: Sequence[float]) -> list[Sequence[AnyDocument]]:
    """Cuts documents, in order, into shares of their characters; a document that straddles an edge is cut in two.

    Args:
        documents: the documents; those that stay elsewhere are not read.
        shares: numbers of sum 1.

    Returns:
        For each share, its documents.

    Example:
        >>> parts = cut_in_shares([Document("a", "abc"), Document("b", "defgh")], (0.5, 0.5))
        >>> [[document.text for document in part] for part in parts]
        [['abc', 'd'], ['efgh']]
    """
    ends = np.cumsum(np.fromiter((document.characters for document in documents), np.int64))
    total = int(ends[-1]) if len(ends) else 0
    edges = [round(total * share) for share in accumulate(shares, initial=0.0)]
    return [_Part(documents, ends, *places) for places in pairwise(edges)]


class _Part(Sequence[AnyDocument]):
    """The documents of the characters from one place up to another, all documents put together."""

    def __init__(self, documents: Sequence[AnyDocument], ends: np.ndarray, begin: int, end: int):
        self._documents, self._ends, self._begin, self._end = documents, ends, begin, end
        first, last = int(np.searchsorted(ends, begin, side="right")), int(np.searchsorted(ends, end))
        self._numbers = range(first, last + 1) if begin < end else range(0)  # of the documents that reach into the part

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):
        n = self._numbers[index]
        if isinstance(n, range):
            return [self[i] for i in range(len(self))[index]]
        document = self._documents[n]
        start = int(self._ends[n]) - document.characters
        return document.cut(max(self._begin - start, 0), self._end - start)


def _pieces(text: str) -> Iterator[str]:
    return (text[begin : begin + PIECE] for begin in range(0, len(text), PIECE))
