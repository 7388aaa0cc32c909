"""Documents, the texts that a corpus consists of: in memory, or in files that are read when they are needed."""

from collections.abc import Iterator
from dataclasses import dataclass

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
        return (self.text[begin : begin + PIECE] for begin in range(0, len(self.text), PIECE))

    def cut(self, begin: int, end: int) -> "Document":
        """The document of some of its characters."""
        return Document(self.name, self.text[begin:end])


@dataclass(frozen=True)
class FileDocument:
    """One text of a corpus that stays in its file, so that no text is too long for the memory.

    Args:
        name: its name in the source.
        file: its file.
        begin, end: its first character in the file, and the one after its last.
    """

    name: str
    file: TextFile
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
            InputError: the file has become shorter, or can no longer be read.
        """
        position = 0
        for piece in self.file.pieces():
            part = piece[max(self.begin - position, 0) : max(self.end - position, 0)]
            position += len(piece)
            if part:
                yield part
            if position >= self.end:
                return
        raise InputError(f"{self.file} has become shorter while it was read: start again")

    def cut(self, begin: int, end: int) -> "FileDocument":
        """The document of some of its characters."""
        return FileDocument(self.name, self.file, self.begin + begin, min(self.begin + end, self.end))


AnyDocument = Document | FileDocument


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
    return None if blank else FileDocument(name, file, 0, count)
