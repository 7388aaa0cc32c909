"""Figures of a language model on a held-out text, which compare across vocabularies."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from seqjax import metrics
from seqjax.data.text.language import EvaluationBatches, evaluation_batches
from seqjax.data.text.tokens import Tokens, count_symbols
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.data.text.words import WordPunctVocabulary, WordVocabulary

Evaluate = Callable[[EvaluationBatches], float]  # the mean loss over batches


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HeldOut:
    """A held-out split as symbols, with the cost of those that the vocabulary lacks.

    Where the training text has no unknown symbol, the model was never taught one, and its probability would fall as training goes
    on. Then it is a constant, Good and Turing's estimate for symbols that were never seen, and the known symbols divide the rest:

        p(unknown) = n_1 / N;  p(x) = (1 - p(unknown)) softmax(...)_x

    n_1 of the N training symbols occur once; start symbols, which are never predicted, are not among them. Where the training
    text has unknown symbols, they count like any other.

    Args:
        name: the name of the split in figures.
        vocabulary: the vocabulary.
        tokens: the symbols, integer [N].
        characters: the number of characters that they stand for.
        unseen: n_1 / N; None: the training text has unknown symbols, or the vocabulary has no such symbol.
        shape: batch_size and length of the batches.

    Raises:
        InputError: there are fewer than two symbols.
    """

    name: str
    vocabulary: Vocabulary
    tokens: Tokens
    characters: int
    unseen: float | None
    shape: dict[str, int]

    def __post_init__(self):
        self._batches(None)  # refuses a text that is too short

    @cached_property
    def targets(self) -> tuple[int, int]:
        """The numbers of all targets, and of those that are unknown."""
        vocabulary = self.vocabulary
        counts = _predicted(self.tokens, vocabulary)
        if self.tokens[0] != vocabulary.start:
            counts[self.tokens[0]] -= 1  # is read, but not predicted
        return int(counts.sum()), 0 if vocabulary.unknown is None else int(counts[vocabulary.unknown])

    def loss(self, evaluate: Evaluate) -> float:
        """The loss in nats per symbol."""
        targets, unknown = self.targets
        if not unknown or self.unseen is None:
            return evaluate(self._batches(None))
        return self._with_unseen(self.known_loss(evaluate), unknown / targets)

    def known_loss(self, evaluate: Evaluate) -> float | None:
        """The loss over the known symbols alone, in nats per symbol; None if all are unknown."""
        targets, unknown = self.targets
        return evaluate(self._batches(self.vocabulary.unknown)) if unknown < targets else None

    def figures(self, evaluate: Evaluate) -> dict[str, float]:
        """The final figures: the loss in nats, as perplexity (of words) or bits per symbol, in bits per character, the share of
        unknown symbols, and, if there are any, the loss over the others.
        """
        targets, unknown = self.targets
        share = unknown / targets
        known = self.known_loss(evaluate) if unknown else None
        loss = self._with_unseen(known, share) if unknown and self.unseen is not None else self.loss(evaluate)
        is_word = isinstance(self.vocabulary, WordVocabulary | WordPunctVocabulary)
        unit, convert = ("perplexity", metrics.perplexity) if is_word else ("bits", metrics.bits)
        figures: dict[str, Any] = {"loss": loss, unit: convert(loss)}
        figures |= {"bits_per_character": metrics.bits(loss * targets / self.characters), "unknown_share": share}
        figures |= {} if known is None else {"known_loss": known}
        return {f"{self.name}_{figure}": value for figure, value in figures.items()}

    def _with_unseen(self, known: float | None, share: float) -> float:
        unseen = self.unseen or 1.0
        of_known = 0.0 if known is None else (1 - share) * (known - float(np.log1p(-unseen)))
        return of_known - share * float(np.log(unseen))

    def _batches(self, ignored: int | None) -> EvaluationBatches:
        return evaluation_batches(self.tokens, start=self.vocabulary.start, ignored=ignored, **self.shape)


def unknown_symbols(tokens: Tokens, vocabulary: Vocabulary) -> tuple[float, float | None]:
    """The share of the symbols of a training text that are unknown, and the probability of an unknown symbol elsewhere.

    Args:
        tokens: the training text, integer [N].
        vocabulary: its vocabulary.

    Returns:
        (share, n_1 / N as for `HeldOut`, at least 1 / N and at most 1 / 2; None if the share is not 0), without start symbols.

    Example:
        >>> from seqjax.data import CharacterVocabulary
        >>> vocabulary = CharacterVocabulary.from_text("banana")
        >>> unknown_symbols(vocabulary.encode("banana"), vocabulary)
        (0.0, 0.16666666666666666)
    """
    counts = _predicted(tokens, vocabulary)
    if vocabulary.unknown is None:
        return 0.0, None
    share = float(counts[vocabulary.unknown] / counts.sum())
    return share, None if share else float(min(max((counts == 1).sum(), 1) / counts.sum(), 0.5))


def _predicted(tokens: Tokens, vocabulary: Vocabulary) -> np.ndarray:
    """The number of times that each symbol of a text may be predicted, int64 [V]: a start symbol never is."""
    counts = count_symbols(tokens, len(vocabulary))
    if vocabulary.start is not None:
        counts[vocabulary.start] = 0
    return counts
