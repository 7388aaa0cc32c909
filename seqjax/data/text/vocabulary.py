"""The base class of vocabularies, which turn text into symbols and back, and what their files share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from seqjax.checks import as_integer, shown
from seqjax.errors import InputError

_SPECIAL = ("pad", "unknown", "start", "end")
FORMS = ("NFC", "NFKC", "NFD", "NFKD")  # Unicode's normalization forms


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Base class of vocabularies: the special symbols, and the order of the ids.

    The ordinary symbols take, in order, the ids that no special symbol has. A special symbol that is None does not exist.
    Vocabularies are values: they compare by content, and `seqjax.to_json` and `from_json` write and read them.

    Args:
        pad: id of the symbol that pads short rows, or None.
        unknown: id that stands for every symbol outside the vocabulary; None: such a symbol is an error.
        start: id of the symbol that begins every document and is never predicted, or None.
        end: id of the symbol that ends a sequence (for words, a line), or None.
        normalization: the form that every text is brought to before it is encoded, "NFC", "NFKC", "NFD" or "NFKD"; None: none.

    Raises:
        InputError: two special symbols share an id, one is not an id of the vocabulary, or the form is unknown.
    """

    pad: int | None = None
    unknown: int | None = None
    start: int | None = None
    end: int | None = None
    normalization: str | None = field(default=None, repr=False)

    def __post_init__(self):
        normalized("", self.normalization)
        specials = [f"{name} {getattr(self, name)}" for name in _SPECIAL if getattr(self, name) is not None]
        if len(self._special_ids) < len(specials):
            raise InputError(f"special symbols share an id ({', '.join(specials)}): give each another id")
        if any(not 0 <= i < self.size for i in self._special_ids):
            raise InputError(f"a special symbol is outside the vocabulary ({', '.join(specials)}): ids are 0 to {self.size - 1}")

    def __len__(self) -> int:
        return self.size

    @property
    def size(self) -> int:
        """The number of symbols V, special symbols included."""
        return len(self._symbols) + len(self._special_ids)

    @property
    def _symbols(self):
        """The ordinary symbols, in the order of their ids."""
        raise NotImplementedError

    @classmethod
    def _specials(cls, ids: dict[str, int | None]) -> int:
        """The number of special symbols, with the class's defaults for those not in `ids`."""
        return sum(ids.get(name, getattr(cls, name)) is not None for name in _SPECIAL)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(getattr(self, name) for name in _SPECIAL) - {None}

    @cached_property
    def _ids(self) -> np.ndarray:
        """The ids of the ordinary symbols, int32, in their order."""
        return np.setdiff1d(np.arange(self.size, dtype=np.int32), np.array([*self._special_ids], np.int32))

    def encode(self, text: str, *, strict: bool = False) -> np.ndarray:
        """The ids of a text, without a start or end symbol added (a word vocabulary reads newlines as end symbols).

        Args:
            text: any string.
            strict: refuse symbols outside the vocabulary even if there is an unknown symbol, e.g. in prompts.

        Returns:
            int32, [T].

        Raises:
            InputError: symbols outside the vocabulary, which the message names, under strict or without an unknown symbol.
        """
        ids, symbols = self._look_up(normalized(text, self.normalization))
        missing = ids < 0
        if missing.any():
            if strict or self.unknown is None:
                outside = [repr(s) for s in symbols(missing)]
                more = f" and {len(outside) - 10} more" if len(outside) > 10 else ""
                raise InputError(f"outside the vocabulary of {self.size} symbols: {' '.join(outside[:10])}{more}; leave them out")
            ids[missing] = self.unknown
        return ids

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        """The ids of a text that comes in pieces of any size, in memory for a few pieces only.

        Args:
            pieces: texts; the text is their concatenation.

        Returns:
            An iterator over int32 [T]. Their concatenation is what `encode` returns for the whole text (for sub-words: another
            spelling, if the text has lines of millions of characters).

        Raises:
            InputError: as `encode`.
        """
        return (self.encode(piece) for piece in whole_pieces(pieces))

    def outside(self, text: str) -> list[str]:
        """The different symbols of a text that the vocabulary lacks."""
        ids, symbols = self._look_up(normalized(text, self.normalization))
        return symbols(ids < 0) if (ids < 0).any() else []

    def _look_up(self, text: str):
        """A new array of ids, int32 [T], -1 outside the vocabulary; and a function from a mask [T] to the symbols it selects."""
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, without pad and start symbols; an unknown symbol is shown by a mark.

        Args:
            ids: integers, [T].

        Returns:
            The text.

        Raises:
            InputError: an id is outside the vocabulary.
        """
        return "".join(self.stream(ids))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Decodes incrementally: an iterator that gives the text of each id as soon as the id is read.

        Args:
            ids: integers; may be endless.

        Returns:
            An iterator over texts; their concatenation is the text returned by `decode`.

        Raises:
            InputError: an id is outside the vocabulary.
        """
        raise NotImplementedError

    def _checked(self, ids: Iterable[int]) -> Iterator[int]:
        given: Any = getattr(ids, "tolist", lambda: ids)()
        if not isinstance(given, Iterable):
            raise InputError(f"the ids are {shown(ids)}, they must be integers in one row")
        for each in given:
            i = each if type(each) is int else as_integer(each)
            if i is None:
                raise InputError(f"an id is {shown(each)}, it must be an integer")
            if not 0 <= i < self.size:
                raise InputError(f"id {i} is outside the vocabulary: its {self.size} symbols have ids 0 to {self.size - 1}")
            yield i


def normalized(text: str, form: str | None) -> str:
    """A text in one of Unicode's normalization forms.

    Args:
        text: any string.
        form: "NFC", "NFKC", "NFD" or "NFKD"; None: the text as it is.

    Raises:
        InputError: the form is unknown, or the text is none.

    Example:
        >>> len("e\u0301"), len(normalized("e\u0301", "NFC"))
        (2, 1)
    """
    if not isinstance(text, str):
        raise InputError(f"the text is {shown(text)}, it must be a text: a str")
    if form is None:
        return text
    if form not in FORMS:
        raise InputError(f"normalization is {form!r}, it must be one of {', '.join(FORMS)}, or None")
    return unicodedata.normalize(form, text)


def whole_pieces(pieces: Iterable[str], size: int = 1 << 20) -> Iterator[str]:
    """Cuts a text that comes in pieces before white space, so that no word, mark or composed character is divided.

    Args:
        pieces: texts of any size.
        size: the least number of characters of all pieces returned but the last.

    Returns:
        An iterator over texts with the same concatenation. A text without white space is cut before a character that does not
        compose with the one before it, once it is 16 times as long as `size`.

    Example:
        >>> list(whole_pieces(["to be or n", "ot to", " be"], size=4))
        ['to be or', ' not', ' to', ' be']
    """
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            text = "".join(held)
            cut = _last_space(text) or (_last_starter(text) if length >= 16 * size else 0)
            if cut:
                yield text[:cut]
            held, length = [text[cut:]], len(text) - cut
    if any(held):
        yield "".join(held)


def _last_space(text: str) -> int:
    """The place of the last newline, or else of the last white space that follows another character; 0: there is none."""
    line = text.rfind("\n")
    if line > 0:
        return line
    space = max(text.rfind(" "), text.rfind("\t"), 0)
    return len(text[:space].rstrip())


def _last_starter(text: str) -> int:
    """The place of a last character that does not compose with the one before it; the end if there is none."""
    for place in range(len(text) - 1, max(len(text) - 1000, 0), -1):
        if not unicodedata.category(text[place]).startswith("M") and not "\u1160" <= text[place] <= "\u11ff":
            return place
    return len(text)


def split_at(text: str, symbols: Sequence[str]) -> list[str]:
    """Splits a text at some symbols, which stay whole.

    Args:
        text: any string.
        symbols: the texts to split at; of several that match, the longest is taken.

    Returns:
        Texts and symbols alternating; the first and the last are texts, which may be empty.

    Example:
        >>> split_at("<fr> two", ("<fr>",))
        ['', '<fr>', ' two']
    """
    return re.split(f"({'|'.join(map(re.escape, sorted(symbols, key=len, reverse=True)))})", text) if symbols else [text]


def refuse_twice(what: str, symbols: Iterable[str]) -> None:
    """Raises InputError if a symbol occurs twice.

    Args:
        what: the name of a symbol, for the message.
        symbols: strings.
    """
    twice = [s for s, count in Counter(symbols).items() if count > 1]
    if twice:
        raise InputError(f"{what} {twice[0]!r} is twice in the vocabulary: give it once")


def most_frequent(counts: dict[str, int], min_count: int, max_size: int | None, *, specials: int) -> list[str]:
    """The symbols that a vocabulary keeps, in order of decreasing frequency; ties in alphabetical order.

    Args:
        counts: the frequency of each symbol in the training text.
        min_count: the lowest frequency of a symbol that is kept.
        max_size: the maximum number of symbols, `specials` included; None: no limit.
        specials: the number of special symbols.

    Returns:
        The symbols.

    Raises:
        InputError: `counts` is empty, or no symbol is kept.
    """
    if not counts:
        raise InputError("the training text is empty: a vocabulary needs at least one symbol")
    ranked = sorted((s for s, n in counts.items() if n >= min_count), key=lambda s: (-counts[s], s))
    if max_size is not None:
        ranked = ranked[: max(max_size - specials, 0)]
    if not ranked:
        limits = f"min_count {min_count}, max_size {max_size} with {specials} special symbols"
        raise InputError(f"the vocabulary's limits ({limits}) exclude all of the text's {len(counts)} symbols: loosen them")
    return ranked
