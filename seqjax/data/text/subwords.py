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

from seqjax.data.text.vocabulary import Vocabulary, normalized, split_at
from seqjax.errors import InputError
from seqjax.extras import from_extra
from seqjax.serial import register

SPACE = "\u2581"  # the first character of a sub-word that begins a word
_SPECIAL = {"pad": 0, "unknown": 1, "start": 2, "end": 3}
RESERVED = ("<pad>", "<unk>", "<s>", "</s>")  # SentencePiece's names of the special symbols


@register
@dataclass(frozen=True, kw_only=True)
class SubwordVocabulary(Vocabulary):
    """Sub-words that SentencePiece learns from a training text (extra `text`).

    Runs of white space are read as one space, and white space at the ends is dropped; nothing else is normalised without
    `normalization`. No sub-word spans two words.

    Args:
        model: the trained SentencePiece model, in base64.
        symbols: texts that are never split, each one symbol ("<fr>"); the model must have been trained with them.
        pad, unknown, start, end: their ids in the model: 0, 1, 2, 3.

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

    def __post_init__(self):
        super().__post_init__()
        processor = self._processor
        ids = {
            name: getattr(processor, f"{short}_id")() for name, short in zip(_SPECIAL, ("pad", "unk", "bos", "eos"), strict=True)
        }
        expected = {name: getattr(self, name) for name in ids}
        if ids != expected or any(processor.is_unknown(processor.piece_to_id(symbol)) for symbol in self.symbols):
            raise InputError(f"the sub-word model has other symbols than {expected} and {self.symbols}: give those of the model")

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        kind: str = "bpe",
        max_size: int | None = None,
        byte_fallback: bool = False,
        symbols: Sequence[str] = (),
        normalization: str | None = None,
        character_coverage: float = 1.0,
    ) -> "SubwordVocabulary":
        """Learns the sub-words of a training text; the same text always gives the same sub-words.

        Args:
            text: the training text, e.g. one sentence on each line.
            kind: "bpe" (merges the most frequent pair of neighbours repeatedly) or "unigram" (starts with many candidates and
                keeps those whose removal would lower the text's likelihood most).
            max_size: the maximum size, special symbols included; None: 8,000. A small text may give fewer symbols.
            byte_fallback: spell unknown characters in bytes (256 more symbols), so that no text is unknown.
            symbols, normalization: as for the class.
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
        _refuse_surrogates(text)
        text = normalized(text, normalization)
        parts = (" ".join(part.split()) for line in text.splitlines() for part in split_at(line, symbols)[::2])
        lines = [part for part in parts if part]
        if not lines:
            raise InputError("the training text is empty: a vocabulary needs at least one symbol")
        size = 8000 if max_size is None else max_size
        known = _covered(lines, character_coverage)
        needed = known + len(_SPECIAL) + len(symbols) + 256 * byte_fallback
        if size < needed:
            remedy = "" if known < 100 else "; a character_coverage such as 0.9995 would leave out the rarest"
            raise InputError(f"max_size is {size}: the text's characters and the special symbols alone are {needed}{remedy}")
        trained = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            model_type=kind,
            vocab_size=size,
            hard_vocab_limit=False,  # a small text may have fewer sub-words
            byte_fallback=byte_fallback,
            user_defined_symbols=list(symbols),
            pad_id=_SPECIAL["pad"],
            unk_id=_SPECIAL["unknown"],
            bos_id=_SPECIAL["start"],
            eos_id=_SPECIAL["end"],
            normalization_rule_name="identity",
            character_coverage=character_coverage,
            max_sentence_length=2**30,  # so high that no line is left out
            num_threads=1,  # with several, a unigram model would depend on their timing
            minloglevel=2,
        )
        model = base64.b64encode(trained.getvalue()).decode()
        return cls(model=model, symbols=tuple(symbols), normalization=normalization)

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
        processor, ids, pieces = self._processor, [], []
        for n, part in enumerate(split_at(text, self.symbols)):
            part = part if n % 2 else " ".join(part.split())
            ids += [processor.piece_to_id(part)] if n % 2 else processor.encode(part, out_type=int)
            pieces += [part] if n % 2 else processor.encode(part, out_type=str)
        symbols = np.array(ids, np.int32)
        symbols[symbols == self.unknown] = -1
        return symbols, lambda missing: sorted({pieces[t] for t in np.flatnonzero(missing)})

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        processor, silent = self._processor, {self.pad, self.start, self.end}
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        began = False
        for i in self._checked(ids):
            if i in silent:
                continue
            piece = processor.id_to_piece(i)
            if processor.is_byte(i):
                text = decoder.decode(bytes([int(piece[3:5], 16)]))
            else:
                text = decoder.decode(b"", final=True)
                text += "\ufffd" if i == self.unknown else f" {piece}" if piece in self.symbols else piece.replace(SPACE, " ")
            yield text if began else text.lstrip(" ")
            began = began or bool(text.strip(" "))
        yield decoder.decode(b"", final=True)


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
