"""Vocabularies of characters and of bytes."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seqjax.data.text.vocabulary import Vocabulary, most_frequent, normalized, refuse_twice, split_at, whole_pieces
from seqjax.serial import register


@register
@dataclass(frozen=True, kw_only=True)
class CharacterVocabulary(Vocabulary):
    """Unicode characters; id 0 begins every document, id 1 stands for characters that are rare in the training text or absent.

    Args:
        characters: the distinct ordinary characters, in the order of their ids.
        symbols: texts that are never split, each one symbol ("<fr>"); their ids come before the characters' ids.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a character or symbol appears twice, or special symbols are invalid.

    Example:
        >>> vocabulary = CharacterVocabulary.from_text("hello")
        >>> vocabulary
        CharacterVocabulary(pad=None, unknown=1, start=0, end=None, characters='ehlo', symbols=())
        >>> vocabulary.encode("hole!").tolist()
        [3, 5, 4, 2, 1]
        >>> vocabulary.decode([0, 3, 2])
        'he'
    """

    unknown: int | None = 1
    start: int | None = 0
    characters: str
    symbols: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        refuse_twice("character", self.characters)
        refuse_twice("symbol", self.symbols)

    @classmethod
    def from_text(
        cls,
        text: str | Iterable[str],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        symbols: Sequence[str] = (),
        normalization: str | None = None,
        **special: int | None,
    ) -> "CharacterVocabulary":
        """The characters of a training text.

        Args:
            text: the training text, or its pieces.
            min_count: characters that occur less often are unknown.
            max_size: the maximum size, special symbols included; the most frequent characters are kept. None: no limit.
            symbols, normalization: as for the class.
            **special: ids of pad, unknown, start or end that differ from the class's defaults.

        Returns:
            The vocabulary; its characters are in the order of their code points.

        Raises:
            InputError: the text is empty, or the limits exclude every character.
        """
        counts = np.zeros(0, np.int64)  # [code points]
        for piece in whole_pieces([text] if isinstance(text, str) else text):
            found = np.bincount(_code_points("".join(split_at(normalized(piece, normalization), symbols)[::2])))
            if found.size > counts.size:
                counts, found = found, counts
            counts[: found.size] += found
        codes = np.flatnonzero(counts).tolist()
        counted = dict(zip(map(chr, codes), counts[codes].tolist(), strict=True))
        characters = most_frequent(counted, min_count, max_size, specials=cls._specials(special) + len(symbols))
        fields: dict[str, Any] = {"symbols": tuple(symbols), "normalization": normalization} | special
        return cls(characters="".join(sorted(characters)), **fields)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return (*self.symbols, *self.characters)

    @cached_property
    def _table(self) -> np.ndarray:
        codes = _code_points(self.characters)
        table = np.full(int(codes.max(initial=0)) + 2, -1, np.int32)  # the last entry stands for all higher code points
        table[codes] = self._ids[len(self.symbols) :]
        return table

    def _look_up(self, text: str):
        parts, table, symbol_ids = split_at(text, self.symbols), self._table, dict(zip(self.symbols, self._ids, strict=False))
        ids = [table[np.minimum(_code_points(part), len(table) - 1)] for part in parts[::2]]
        for n, symbol in enumerate(parts[1::2]):
            ids[n] = np.append(ids[n], symbol_ids[symbol])
        return np.concatenate(ids), lambda missing: sorted(set("".join(parts[::2])) - set(self.characters))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        pieces = [""] * self.size
        for i, symbol in zip(self._ids.tolist(), self._symbols, strict=True):
            pieces[i] = symbol
        if self.unknown is not None:
            pieces[self.unknown] = "\ufffd"
        return (pieces[i] for i in self._checked(ids))


@register
@dataclass(frozen=True, kw_only=True)
class ByteVocabulary(Vocabulary):
    """The 256 bytes, which can spell any text in UTF-8, followed by a start symbol.

    Args:
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: special symbols are invalid.

    Example:
        >>> ByteVocabulary().encode("é").tolist(), ByteVocabulary().decode([256, 195, 169, 195]), len(ByteVocabulary())
        ([195, 169], 'é\ufffd', 257)
    """

    start: int | None = 256

    @property
    def _symbols(self) -> range:
        return range(256)

    def _look_up(self, text: str):
        return self._ids[np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)], None

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        byte = {int(i): bytes([n]) for n, i in enumerate(self._ids)}
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for i in self._checked(ids):
            yield decoder.decode(byte.get(i, b""))
        yield decoder.decode(b"", final=True)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
