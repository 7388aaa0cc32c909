"""Text to symbols and back: character, byte and word vocabularies, as plain values."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from seqjax.errors import InputError
from seqjax.serial import register

_SPECIAL = ("pad", "unknown", "start", "end")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the vocabularies share: the special symbols, and the order of the ids.

    The ordinary symbols take, in order, the ids that the special ones leave free. A special symbol that is
    None does not exist. Equal vocabularies are equal values; `seqjax.to_json` and `from_json` write and read them.

    Args:
        pad: id of the symbol that fills up short rows, or None.
        unknown: id that stands for every symbol outside the vocabulary, or None: then such a symbol is an error.
        start: id of the symbol that opens every document and is never predicted, or None.
        end: id of the symbol that closes a sequence (for words, a line), or None.

    Raises:
        InputError: two special symbols share an id, or one is not an id of the vocabulary.
    """

    pad: int | None = None
    unknown: int | None = None
    start: int | None = None
    end: int | None = None

    def __post_init__(self):
        given = [f"{name} {getattr(self, name)}" for name in _SPECIAL if getattr(self, name) is not None]
        if len(self._special_ids) < len(given):
            raise InputError(f"special symbols share an id ({', '.join(given)}): give each its own")
        if any(not 0 <= i < self.size for i in self._special_ids):
            raise InputError(f"a special symbol is outside the vocabulary ({', '.join(given)}): ids are 0 to {self.size - 1}")

    def __len__(self) -> int:
        return self.size

    @property
    def size(self) -> int:
        """V, special symbols included."""
        return len(self._symbols) + len(self._special_ids)

    @property
    def _symbols(self):
        """The ordinary symbols, in the order of their ids."""
        raise NotImplementedError

    @classmethod
    def _specials(cls, given: dict[str, int | None]) -> int:
        """How many special symbols there are where some ids are given and the others are the class's own."""
        return sum(given.get(name, getattr(cls, name)) is not None for name in _SPECIAL)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(getattr(self, name) for name in _SPECIAL) - {None}

    @cached_property
    def _ids(self) -> np.ndarray:
        """The ids of the ordinary symbols, int32, in their order."""
        return np.array([i for i in range(self.size) if i not in self._special_ids], np.int32)

    def encode(self, text: str, *, strict: bool = False) -> np.ndarray:
        """The ids of a text; neither start nor (but for a word vocabulary's newlines) end is added.

        Args:
            text: any string.
            strict: refuse symbols outside the vocabulary even where there is an unknown symbol (for prompts).

        Returns:
            int32, [T].

        Raises:
            InputError: symbols outside the vocabulary, by name, where there is no unknown symbol or under strict.
        """
        ids, symbols = self._look_up(text)
        missing = ids < 0
        if missing.any():
            if strict or self.unknown is None:
                outside = [repr(s) for s in symbols(missing)]
                more = f" and {len(outside) - 10} more" if len(outside) > 10 else ""
                raise InputError(f"outside the vocabulary of {self.size} symbols: {' '.join(outside[:10])}{more}; leave them out")
            ids[missing] = self.unknown
        return ids

    def _look_up(self, text: str):
        """Fresh int32 ids [T], -1 outside the vocabulary; and what names the distinct symbols at a mask [T]."""
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; pad and start leave no trace, unknown is shown as such.

        Args:
            ids: integers, [T].

        Returns:
            The text.

        Raises:
            InputError: an id that the vocabulary does not have.
        """
        return "".join(self.stream(ids))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """`decode` as an iterator: a piece of text as soon as its id has come; the pieces joined are `decode`'s text.

        Args:
            ids: integers, one after another; may be endless.

        Returns:
            An iterator over pieces of text.

        Raises:
            InputError: an id that the vocabulary does not have.
        """
        raise NotImplementedError

    def _checked(self, ids: Iterable[int]) -> Iterator[int]:
        for i in ids.tolist() if isinstance(ids, np.ndarray) else map(int, ids):
            if not 0 <= i < self.size:
                raise InputError(f"id {i} is outside the vocabulary: its {self.size} symbols have ids 0 to {self.size - 1}")
            yield i


@register
@dataclass(frozen=True, kw_only=True)
class CharacterVocabulary(Vocabulary):
    """Unicode characters; id 0 starts every document, and id 1 stands for what the training text had too rarely.

    Args:
        characters: the distinct ordinary characters, in the order of their ids.
        symbols: texts that stay whole, each one symbol ("<fr>"); their ids come before the characters'.
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: a character twice, or wrong special symbols.

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
        text: str,
        *,
        min_count: int = 1,
        max_size: int | None = None,
        symbols: Sequence[str] = (),
        **special: int | None,
    ) -> "CharacterVocabulary":
        """The characters of a training text.

        Args:
            text: the training text.
            min_count: a character seen less often becomes unknown.
            max_size: most symbols, special ones included; the most frequent characters stay. None: no limit.
            symbols: as for the class.
            **special: ids of pad, unknown, start, end where they are not to be the class's own.

        Returns:
            The vocabulary; its characters are in the order of their code points.

        Raises:
            InputError: an empty text, or a limit that leaves no character.
        """
        codes, counts = np.unique(_code_points("".join(split_at(text, symbols)[::2])), return_counts=True)
        counted = dict(zip(map(chr, codes.tolist()), counts.tolist(), strict=True))
        kept = most_frequent(counted, min_count, max_size, specials=cls._specials(special) + len(symbols))
        return cls(characters="".join(sorted(kept)), symbols=tuple(symbols), **special)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return (*self.symbols, *self.characters)

    @cached_property
    def _table(self) -> np.ndarray:
        codes = _code_points(self.characters)
        table = np.full(int(codes.max(initial=0)) + 2, -1, np.int32)  # the last entry is for every code point above
        table[codes] = self._ids[len(self.symbols) :]
        return table

    def _look_up(self, text: str):
        parts, table, own = split_at(text, self.symbols), self._table, dict(zip(self.symbols, self._ids, strict=False))
        ids = [table[np.minimum(_code_points(part), len(table) - 1)] for part in parts[::2]]
        for n, symbol in enumerate(parts[1::2]):
            ids[n] = np.append(ids[n], own[symbol])
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
    """The 256 bytes of UTF-8, which know every text, and a start symbol behind them.

    Args:
        pad, unknown, start, end: as for `Vocabulary`.

    Raises:
        InputError: wrong special symbols.

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


@register
@dataclass(frozen=True, kw_only=True)
class WordVocabulary(Vocabulary):
    r"""Words between white space; a newline is the end symbol, as Penn Treebank's language models have it.

    The literals "<unk>" and "<eos>" of a text are the unknown and the end symbol themselves.

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
            max_size: most symbols, special ones included; the most frequent words stay. None: no limit.
            **special: ids of pad, unknown, start, end where they are not to be the class's own.

        Returns:
            The vocabulary; its words are in the order of their frequency, then of the alphabet.

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


def build_vocabulary(kind: str, text: str, *, min_count: int = 1, max_size: int | None = None) -> Vocabulary:
    """The vocabulary of a kind for a training text.

    Args:
        kind: "character", "byte" or "word".
        text: the training text (a byte vocabulary is the same for all).
        min_count, max_size: as for `CharacterVocabulary.from_text`.

    Returns:
        The vocabulary.

    Raises:
        InputError: an unknown kind, an empty text, or a limit that leaves nothing.

    Example:
        >>> build_vocabulary("word", "to be or not to be").size
        6
    """
    if kind == "byte":
        return ByteVocabulary()
    kinds = {"character": CharacterVocabulary, "word": WordVocabulary}
    if kind not in kinds:
        raise InputError(f"vocabulary {kind!r} is not known: choose one of character, byte, word")
    return kinds[kind].from_text(text, min_count=min_count, max_size=max_size)


def split_at(text: str, symbols: Sequence[str]) -> list[str]:
    """A text cut at symbols that stay whole.

    Args:
        text: any string.
        symbols: texts; where several fit, the longest does.

    Returns:
        Text and symbol by turns; the first and the last is text, maybe empty.

    Example:
        >>> split_at("<fr> two", ("<fr>",))
        ['', '<fr>', ' two']
    """
    return re.split(f"({'|'.join(map(re.escape, sorted(symbols, key=len, reverse=True)))})", text) if symbols else [text]


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def refuse_twice(what: str, symbols: Iterable[str]) -> None:
    """Raises InputError where a symbol stands twice.

    Args:
        what: what the symbols are, for the message.
        symbols: strings.
    """
    twice = [s for s, count in Counter(symbols).items() if count > 1]
    if twice:
        raise InputError(f"{what} {twice[0]!r} stands twice in the vocabulary: each may stand once")


def most_frequent(counts: dict[str, int], min_count: int, max_size: int | None, *, specials: int) -> list[str]:
    """The symbols that a vocabulary keeps, the most frequent first, ties in the order of the alphabet.

    Args:
        counts: how often each stands in the training text.
        min_count: the rarest that stays.
        max_size: most symbols, `specials` included; None: no limit.
        specials: how many there are besides.

    Returns:
        Symbols.

    Raises:
        InputError: there is none, or none stays.
    """
    if not counts:
        raise InputError("the training text is empty: a vocabulary needs at least one symbol")
    kept = sorted((s for s, n in counts.items() if n >= min_count), key=lambda s: (-counts[s], s))
    if max_size is not None:
        kept = kept[: max(max_size - specials, 0)]
    if not kept:
        limits = f"min_count {min_count}, max_size {max_size} with {specials} special symbols"
        raise InputError(f"the vocabulary's limits ({limits}) leave none of the text's {len(counts)} symbols: loosen them")
    return kept
