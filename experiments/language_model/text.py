"""The text of a config, as the symbols of each split."""

from typing import Any, NamedTuple

from experiments.command_line import renamed
from experiments.language_model.config import Data
from experiments.lines import counter
from experiments.text_figures import HeldOut, unknown_symbols
from experiments.vocabularies import unknown_report
from seqjax.data.text.corpus import load
from seqjax.data.text.encoded import EncodedCorpus, VocabularySettings, encode_corpus
from seqjax.data.text.language import TextStream
from seqjax.data.text.tokens import Tokens
from seqjax.data.text.vocabulary import Vocabulary, whole_pieces
from seqjax.errors import InputError

EVALUATION_TOKENS = 2048  # at least this many per batch: batches of one row by 25 steps would take all day


class Text(NamedTuple):
    """A text as symbols.

    Args:
        record: the record of its source, a flat dict.
        encoded: the vocabulary and the symbols of each split that is not empty.
        report: lines about the vocabulary, for the summary.
        unseen: the probability of an unknown symbol, see `HeldOut`.
    """

    record: dict
    encoded: EncodedCorpus
    report: tuple[str, ...]
    unseen: float | None

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary."""
        return self.encoded.vocabulary

    def tokens(self, split: str) -> Tokens:
        """The symbols of a split ("all": of all three in turn), integer [N].

        Raises:
            InputError: the text has no such split.
        """
        if split != "all" and split not in self.encoded.tokens:
            raise InputError(f"{self.record['source']} has no {split} split: it has {', '.join(self.encoded.tokens)}")
        return self.encoded.everything if split == "all" else self.encoded.tokens[split]

    def stream(self, data: Data, seed: int) -> TextStream:
        """An endless stream of batches of the training split."""
        shape = {"batch_size": data.batch_size, "length": data.length}
        return TextStream(tokens=self.tokens("train"), start=self.vocabulary.start, seed=seed, **shape)

    def summary(self) -> list[str]:
        """A description of the text, in one or more lines."""
        record = self.record
        source = "Python's standard library" if record["source"] == "stdlib" else record["source"]
        size = f"{record['characters']:,} characters in {record['files']:,} {'file' if record['files'] == 1 else 'files'}"
        lines = [f"text: {source}, {size}; {len(self.vocabulary):,} symbols", *self.report]
        if "skipped" in record:
            lines.append(f"  {record['skipped']:,} files were left out, such as: {record['first_skipped']}")
        return lines

    def held_out(self, split: str, data: Data) -> HeldOut:
        """A split ("all": all three in turn) that is measured.

        Raises:
            InputError: the text has no such split, or it is too short.
        """
        record, length = self.record, max(data.length, EVALUATION_TOKENS // data.batch_size)
        return HeldOut(
            name="validation" if split == "valid" else split,
            vocabulary=self.vocabulary,
            tokens=self.tokens(split),
            characters=record["characters" if split == "all" else f"{split}_characters"],
            unseen=self.unseen,
            shape={"batch_size": data.batch_size, "length": length},
        )


def load_text(data: Data, vocabulary: Vocabulary | None = None, *, trained: dict | None = None) -> Text:
    """Reads, splits and encodes a text.

    Args:
        data: the source of the text, its split and its vocabulary.
        vocabulary: the vocabulary of an earlier run; None: made from the training split.
        trained: the record of the text that the model was trained on; None: this text.

    Returns:
        The text as symbols.

    Raises:
        InputError: the text is missing, empty or not in its encoding, a split that must have text is empty, or most of the text
            is outside the vocabulary.
    """
    files: dict[str, Any] = {"include": data.include, "encoding": data.encoding, "unreadable": data.unreadable}
    with renamed(**{name: f"data.{name}" for name in ("corpus", "tfds", "min_count", "max_size")}):
        corpus = load(data.path, data.corpus, data.tfds, data.split, **files)
        settings = VocabularySettings(data.vocabulary, data.min_count, data.max_size, data.normalization)
        encoded = encode_corpus(corpus, vocabulary or settings, notice=show)
    vocabulary, record, report = encoded.vocabulary, dict(corpus.record), ()
    if trained is not None:
        return Text(record, encoded, report, trained.get("unseen_probability"))
    share, unseen = unknown_symbols(encoded.tokens["train"], vocabulary)
    record |= {"train_unknown_share": share} | ({} if unseen is None else {"unseen_probability": unseen})
    if share:
        pieces = (piece for document in corpus.train for piece in whole_pieces(document.pieces()))
        report = (unknown_report(share, pieces, vocabulary, data.vocabulary_from),)
    return Text(record, encoded, report, unseen)


def show(phase: str, done: int, total: int):
    """Shows how far a long text has been read."""
    if total > 10_000_000:
        counter(total, f"characters: {phase}")(done)
