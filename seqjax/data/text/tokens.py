"""Texts as symbols, in memory or in a file that is larger than the memory."""

import mmap
import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.data.text.documents import Stored
from seqjax.data.text.vocabulary import Vocabulary

CHUNK = 1 << 22  # symbols that are read at a time
REMAPPED = 1 << 22  # bytes after which a file is mapped anew


class TokenFile:
    """Symbols in a file, read where they are asked for: like an array [N], but the file need not fit into the memory.

    The file is mapped anew after a few megabytes, so that its pages do not stay in the process; it may be deleted meanwhile.

    Args:
        path: a file of symbols, one after another.
        dtype: their dtype in the file.
        begin, end: the first symbol, and the one after the last; None: the end of the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "tokens")
        >>> _ = path.write_bytes(np.arange(9, dtype=np.uint16).tobytes())
        >>> tokens = TokenFile(path, np.uint16, 2, 8)
        >>> len(tokens), tokens[np.array([[0, 5]])].tolist(), tokens[1:3].tolist()
        (6, [[2, 7]], [3, 4])
    """

    ndim = 1

    def __init__(self, path: Path, dtype: Any, begin: int = 0, end: int | None = None):
        self.dtype, self._begin = np.dtype(dtype), begin
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._pages: mmap.mmap | None = None
        self._read = 0  # bytes since the file was mapped
        count = path.stat().st_size // self.dtype.itemsize
        self.size = (count if end is None else end) - begin

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index) -> np.ndarray:
        if self._pages is None or self._read > REMAPPED:
            self._pages, self._read = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ), 0  # the last array closes the old one
        symbols = np.frombuffer(self._pages, self.dtype, self.size, self._begin * self.dtype.itemsize)  # [N]
        result = np.array(symbols[index])
        self._read += result.nbytes
        return result


Tokens = np.ndarray | TokenFile


def chunks(tokens: Tokens) -> Iterator[np.ndarray]:
    """Symbols in arrays of at most a few million."""
    return (tokens[begin : begin + CHUNK] for begin in range(0, tokens.size, CHUNK))


def token_dtype(size: int) -> np.dtype:
    """The smallest dtype for the symbols of a vocabulary.

    Example:
        >>> [str(token_dtype(size)) for size in (256, 257, 100_000)]
        ['uint8', 'uint16', 'int32']
    """
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.int32)


def token_pieces(documents: Iterable[Stored], vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    """The symbols of documents in pieces, int32 [T]; each document begins with the vocabulary's start symbol, if it has one."""
    opening = np.array([] if vocabulary.start is None else [vocabulary.start], np.int32)
    for document in documents:
        yield opening
        yield from vocabulary.encode_pieces(document.pieces())


def count_symbols(tokens: Tokens, size: int) -> np.ndarray:
    """The number of times that each symbol of a vocabulary occurs, int64 [V].

    Args:
        tokens: integer, [N].
        size: V.

    Example:
        >>> count_symbols(np.array([2, 0, 2]), 4).tolist()
        [1, 0, 2, 0]
    """
    counts = np.zeros(size, np.int64)
    for chunk in chunks(tokens):
        counts += np.bincount(chunk, minlength=size)
    return counts
