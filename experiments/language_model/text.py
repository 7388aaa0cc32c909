"""The text of a config, as the symbols of each split."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.language_model.config import Data
from seqjax.data.text.corpus import SPLITS, load
from seqjax.data.text.encoding import build_vocabulary
from seqjax.data.text.language import TextStream, encode_documents, evaluation_batches
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.probabilistic import ngram

EVALUATION_TOKENS = 2048  # at least this many per batch: batches of one row by 25 steps would take all day


class Text(NamedTuple):
    """A text as symbols.

    Args:
        record: the record of its source, a flat dict.
        vocabulary: the vocabulary, made from the training split.
        tokens: int32 [N] for each split that is not empty, by name.
    """

    record: dict
    vocabulary: Vocabulary
    tokens: dict[str, np.ndarray]

    def stream(self, data: Data, seed: int) -> TextStream:
        """An endless stream of batches of the training split."""
        shape = {"batch_size": data.batch_size, "length": data.length}
        return TextStream(tokens=self.tokens["train"], start=self.vocabulary.start, seed=seed, **shape)

    def summary(self) -> list[str]:
        """A description of the text, in one or more lines."""
        record = self.record
        source = "Python's standard library" if record["source"] == "stdlib" else record["source"]
        size = f"{record['characters']:,} characters in {record['files']:,} {'file' if record['files'] == 1 else 'files'}"
        lines = [f"text: {source}, {size}; {len(self.vocabulary):,} symbols"]
        if "skipped" in record:
            lines.append(f"  {record['skipped']:,} files were left out, such as: {record['first_skipped']}")
        return lines

    def batches(self, split: str, data: Data) -> list[dict]:
        """Batches in which every symbol of a split ("all": of all three in turn) is predicted once.

        Raises:
            InputError: the text has no such split, or it is too short.
        """
        if split != "all" and split not in self.tokens:
            raise InputError(f"{self.record['source']} has no {split} split: it has {', '.join(self.tokens)}")
        tokens = np.concatenate([*self.tokens.values()]) if split == "all" else self.tokens[split]
        length = max(data.length, EVALUATION_TOKENS // data.batch_size)
        return evaluation_batches(tokens, batch_size=data.batch_size, length=length, start=self.vocabulary.start)

    def ngram_losses(self, orders: Sequence[int], limit: int, split: str = "valid") -> dict[str, float]:
        """The losses, in nats per symbol, of count models of the training split over the targets of `batches`, by name.

        It prints their cost, and leaves them out if the training split has more symbols than `limit`.
        """
        vocabulary, tokens, count = self.vocabulary, self.tokens[split], len(self.tokens["train"])
        if not orders:
            return {}
        seconds, gigabytes = ngram.cost(count, max(orders))
        price = f"n-grams of {count:,} symbols, about {max(seconds, 1):.0f} s and {max(gigabytes, 0.1):.1f} GB"
        if count > limit:
            print(f"count models are left out: {price}, are more than --ngram-limit {limit:,}", flush=True)
            return {}
        print(f"counting {price}", flush=True)
        longest = ngram.fit(self.tokens["train"], order=max(orders), vocabulary_size=len(vocabulary), start=vocabulary.start)
        targets = np.arange(len(tokens)) > 0
        return {ngram_name(n): ngram.cross_entropy(ngram.truncate(longest, n), tokens, targets) for n in orders}


def ngram_name(order: int) -> str:
    """The name of a count model in results and tables.

    Example:
        >>> [ngram_name(order) for order in (2, 3, 5)]
        ['bigram', 'trigram', '5gram']
    """
    return {1: "unigram", 2: "bigram", 3: "trigram"}.get(order, f"{order}gram")


def load_text(data: Data, vocabulary: Vocabulary | None = None) -> Text:
    """Reads, splits and encodes a text.

    Args:
        data: the source of the text, its split and its vocabulary.
        vocabulary: the vocabulary of an earlier run; None: made from the training split.

    Returns:
        The text as symbols.

    Raises:
        InputError: the text is missing, empty or not UTF-8, or a split that must have text is empty.
    """
    files: dict[str, Any] = {"include": data.include, "encoding": data.encoding, "unreadable": data.unreadable}
    corpus = load(data.path, data.corpus, data.tfds, data.split, **files)
    if vocabulary is None:
        separator = "\n" if data.vocabulary == "word" else ""  # so that no word spans two documents
        training = separator.join(document.text for document in corpus.train)
        limits = {"min_count": data.min_count, "max_size": data.max_size}
        vocabulary = build_vocabulary(data.vocabulary, training, normalization=data.normalization, **limits)
    splits = {split: getattr(corpus, split) for split in SPLITS}
    tokens = {split: encode_documents(documents, vocabulary) for split, documents in splits.items() if documents}
    return Text(corpus.record, vocabulary, tokens)
