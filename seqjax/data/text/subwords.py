"""Vocabularies of sub-words, learned by byte-pair encoding or a unigram model."""

import base64
import codecs
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from seqjax.data.text.vocabulary import Vocabulary, normalized, split_at, whole_pieces
from seqjax.errors import InputError
from seqjax.extras import from_extra
from seqjax.serial import register

SPACE = "\u2581"  # the first character of a sub-word that begins a word
_SPECIAL: dict[str, dict[str, Any]] = {
    "collapse": {"pad": 0, "unknown": 1, "start": 2, "end": 3},
    "keep": {"pad": None, "unknown": 1, "start": 0, "end": None},
}
_SHORT = {"pad": "pad", "unknown": "unk", "start": "bos", "end": "eos"}  # SentencePiece's names
_CONTROLS = "\n\r\t"  # are kept as symbols of their own, since SentencePiece's trainer gives them another meaning
_LONGEST_LINE = 4096  # characters of a line that is learned from at once
_SAMPLE = 4_000_000  # the most characters that are learned from if white space is kept
RESERVED = ("<pad>", "<unk>", "<s>", "</s>")  # SentencePiece's names of the special symbols


@register
@dataclass(frozen=True, kw_only=True)
class SubwordVocabulary(Vocabulary):
    """Sub-words that SentencePiece learns from a training text (extra `text`).

    Runs of white space are read as one space, and white space at the ends is dropped, unless `whitespace` is "keep"; nothing else
    is normalised without `normalization`. No sub-word spans two words.

    Args:
        model: the trained SentencePiece model, in base64.
        whitespace: "collapse", as above; or "keep": it is kept, a newline is a symbol, and decoding restores every known text
            (but for the character U+2581, which is read as a blank).
        symbols: texts that are never split, each one symbol ("<fr>"); the model must have been trained with them.
        pad, unknown, start, end: their ids in the model: 0, 1, 2, 3; if white space is kept, None, 1, 0, None.

    Raises:
        InputError: the model is damaged, or has other special symbols.

    Example:
        >>> vocabulary = SubwordVocabulary.from_text("low lower lowest\\n" * 9, max_size=20)
        >>> vocabulary
        SubwordVocabulary(pad=0, unknown=1, start=2, end=3, symbols=())
        >>> ids = vocabulary.encode("slower  low")
        >>> [vocabulary.decode([i]) for i in ids], vocabulary.decode(ids)
        (['', 's', 'low', 'er', 'low'], 'slower low')

    Papers: Sennrich, Haddow and Birch 2016 (bpe); Kudo 2018 (unigram); Kudo and Richardson 2018.
    """

    pad: int | None = 0
    unknown: int | None = 1
    start: int | None = 2
    end: int | None = 3
    model: str = field(repr=False)
    symbols: tuple[str, ...] = ()
    whitespace: str = field(default="collapse", repr=False)

    def __post_init__(self):
        super().__post_init__()
        processor = self._processor
        ids = {name: getattr(processor, f"{short}_id")() for name, short in _SHORT.items()}
        ids = {name: None if i < 0 else i for name, i in ids.items()}
        expected = {name: getattr(self, name) for name in ids}
        if ids != expected or any(processor.is_unknown(processor.piece_to_id(symbol)) for symbol in self.symbols):
            raise InputError(f"the sub-word model has other symbols than {expected} and {self.symbols}: give those of the model")

    @classmethod
    def from_text(
        cls,
        text: str | Iterable[str],
        *,
        kind: str = "bpe",
        max_size: int | None = None,
        byte_fallback: bool = False,
        symbols: Sequence[str] = (),
        normalization: str | None = None,
        character_coverage: float = 1.0,
        whitespace: str = "collapse",
    ) -> "SubwordVocabulary":
        """Learns the sub-words of a training text; the same text always gives the same sub-words.

        Args:
            text: the training text, e.g. one sentence on each line; or its pieces. If white space is kept, at most about four
                million characters are learned from: of a longer text, lines at equal distances.
            kind: "bpe" (merges the most frequent pair of neighbours repeatedly) or "unigram" (starts with many candidates and
                keeps those whose removal would lower the text's likelihood most).
            max_size: the maximum size, special symbols included; None: 8,000. A small text may give fewer symbols.
            byte_fallback: spell unknown characters in bytes (256 more symbols), so that no text is unknown.
            symbols, normalization, whitespace: as for the class.
            character_coverage: the share of the text's characters that must be known, above 0 and at most 1; the rarest others
                are unknown (0.9995 for Chinese or Japanese).

        Returns:
            The vocabulary.

        Raises:
            InputError: an unknown kind, a text that is empty or not UTF-8, a max_size below the number of distinct characters
                that are known, a coverage out of its range, or a symbol with a name that SentencePiece reserves.
        """
        with from_extra("text"):
            import sentencepiece

        if not 0 < character_coverage <= 1:
            raise InputError(f"character_coverage is {character_coverage}, it must be above 0 and at most 1")
        if kind not in ("bpe", "unigram"):
            raise InputError(f'sub-words of kind {kind!r} are not known: choose "bpe" or "unigram"')
        reserved = [symbol for symbol in symbols if symbol in RESERVED]
        if reserved:
            raise InputError(f"symbol {reserved[0]} is reserved by SentencePiece, as are {' '.join(RESERVED)}: leave it out")
        if whitespace not in _SPECIAL:
            raise InputError(f'whitespace is {whitespace!r}, it must be "collapse" or "keep"')
        special, keep = _SPECIAL[whitespace], whitespace == "keep"
        lines = _training_lines(text, symbols, normalization, keep=keep)
        if not lines:
            raise InputError("the training text is empty: a vocabulary needs at least one symbol")
        size = 8000 if max_size is None else max_size
        known = _covered(lines, character_coverage)
        needed = known + sum(i is not None for i in special.values()) + len(symbols) + len(_CONTROLS) * keep + 256 * byte_fallback
        if size < needed:
            remedy = "" if known < 100 else "; a character_coverage such as 0.9995 would leave out the rarest"
            raise InputError(f"max_size is {size}: the text's characters and the special symbols alone are {needed}{remedy}")
        trained = io.BytesIO()
        ids: dict[str, Any] = {f"{_SHORT[name]}_id": -1 if i is None else i for name, i in special.items()}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            model_type=kind,
            vocab_size=size,
            hard_vocab_limit=False,  # a small text may have fewer sub-words
            byte_fallback=byte_fallback,
            user_defined_symbols=[*symbols, *(_CONTROLS if keep else "")],
            **ids,
            add_dummy_prefix=not keep,
            remove_extra_whitespaces=not keep,
            allow_whitespace_only_pieces=keep,
            normalization_rule_name="identity",
            character_coverage=character_coverage,
            max_sentence_length=2**30,  # so high that no line is left out
            num_threads=1,  # with several, a unigram model would depend on their timing
            minloglevel=2,
        )
        model = base64.b64encode(trained.getvalue()).decode()
        return cls(model=model, symbols=tuple(symbols), normalization=normalization, whitespace=whitespace, **special)

    @cached_property
    def _processor(self) -> Any:
        with from_extra("text"):
            import sentencepiece

        try:
            return sentencepiece.SentencePieceProcessor(model_proto=base64.b64decode(self.model, validate=True))
        except (RuntimeError, ValueError):
            raise InputError("the sub-word model is damaged: SentencePiece cannot read it") from None

    @property
    def size(self) -> int:
        return self._processor.vocab_size()

    def _look_up(self, text: str):
        _refuse_surrogates(text)
        processor = self._processor
        if self.whitespace == "keep":
            newline, ids = processor.piece_to_id("\n"), []
            for line in processor.encode(text.split("\n"), out_type=int):
                ids += [*line, newline]
            symbols = np.array(ids[:-1], np.int32)
        else:
            parts = [" ".join(part.split()) if n % 2 == 0 else part for n, part in enumerate(split_at(text, self.symbols))]
            ids = [
                [processor.piece_to_id(part)] if n % 2 else processor.encode(part, out_type=int) for n, part in enumerate(parts)
            ]
            symbols = np.array([i for part in ids for i in part], np.int32)
        symbols[symbols == self.unknown] = -1
        return symbols, lambda missing: sorted(c for c in set("".join(split_at(text, self.symbols)[::2])) if self._lacks(c))

    def _lacks(self, character: str) -> bool:
        piece = SPACE if character.isspace() and (self.whitespace == "collapse" or character == " ") else character
        return self._processor.piece_to_id(piece) == self.unknown

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        processor, silent = self._processor, {self.pad, self.start, self.end}
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        began = keep = self.whitespace == "keep"
        for i in self._checked(ids):
            if i in silent:
                continue
            piece = processor.id_to_piece(i)
            if processor.is_byte(i):
                text = decoder.decode(bytes([int(piece[3:5], 16)]))
            else:
                text = decoder.decode(b"", final=True)
                is_symbol = piece in self.symbols
                word = (piece if keep else f" {piece}") if is_symbol else piece.replace(SPACE, " ")
                text += "\ufffd" if i == self.unknown else word
            yield text if began else text.lstrip(" ")
            began = began or bool(text.strip(" "))
        yield decoder.decode(b"", final=True)


def _training_lines(text: str | Iterable[str], symbols: Sequence[str], normalization: str | None, *, keep: bool) -> list[str]:
    """The lines that sub-words are learned from, without the symbols."""
    lines: list[str] = []
    count = size = 0
    stride = 1
    for piece in whole_pieces([text] if isinstance(text, str) else text):
        _refuse_surrogates(piece)
        piece = normalized(piece, normalization)
        for line in piece.split("\n") if keep else piece.splitlines():
            for part in split_at(line, symbols)[::2]:
                if not keep:
                    part = " ".join(part.split())
                if not part.strip():
                    continue
                count += 1
                if count % stride == 0:
                    cuts = range(0, len(part), _LONGEST_LINE if keep else len(part))
                    lines += [part[cut : cut + cuts.step] for cut in cuts]
                    size += len(part)
                if keep and size > _SAMPLE:
                    lines, stride = lines[::2], 2 * stride
                    size = sum(map(len, lines))
    return lines


def _covered(lines: Sequence[str], coverage: float) -> int:
    """The number of distinct characters, the most frequent first, that make up a share of a text."""
    counts = Counter("".join(lines))
    counts[SPACE] = counts.pop(" ", 0) + len(lines)  # every word begins with one
    shares = np.cumsum(sorted(counts.values(), reverse=True)) / sum(counts.values())  # [characters]
    return min(int(np.searchsorted(shares, coverage - 1e-12)) + 1, len(counts))


def _refuse_surrogates(text: str):
    """Raises InputError if UTF-8 cannot encode the text: a command-line argument may have bytes of another encoding."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        near = text[max(error.start - 20, 0) : error.start + 20]
        raise InputError(f"the text is not UTF-8: {text[error.start]!a} at character {error.start}, in {near!a}") from None
