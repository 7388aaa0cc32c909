"""Sentences to their translations: encoded, put into batches of few shapes, searched, decoded, put back in order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.translation.config import Search
from seqjax import decode
from seqjax.contracts import Model
from seqjax.data.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.types import Params

ROWS = 64  # sentences of a batch, where there are so many
STEP = 8  # source lengths are rounded up to a multiple: few shapes, few compilations
SHOWN = "⁇"  # what stands for an unknown symbol


class Hypothesis(NamedTuple):
    """One translation of a sentence.

    Args:
        text: of the target's symbols.
        score: what the search maximised: log-probability, penalised; nats.
        tokens: the symbols, the end symbol not among them.
    """

    text: str
    score: float
    tokens: tuple[int, ...]


class Translator:
    """A model with its vocabularies.

    Args:
        model: a decoder that reads {"source", "source_lengths"}, e.g. a Seq2Seq, or an Ensemble with a tuple of params.
        params: its parameters.
        vocabularies: of source and target.
        search: how to look for an output.
        unknown: what becomes of an unknown symbol in an output: "mark" shows it, "copy" puts the source symbol there that
            was attended to most (Luong et al. 2015).

    Raises:
        InputError: search options that do not fit together, or "copy" for a model without attention.
    """

    def __init__(self, model: Model, params: Params, vocabularies, search: Search, *, unknown: str = "mark", seed: int = 0):
        self._model, self._params, (self._source, self._target) = model, params, vocabularies
        self._search, self._unknown, self._seed = search, unknown, seed
        if unknown == "copy" and not getattr(model, "attends", False):
            raise InputError("--unknown copy puts the source word there that was attended to, and this model has no attention")
        if search.method == "beam" and search.beam < 1:
            raise InputError(f"search.beam is {search.beam}, it must be at least 1 (1: greedy)")

    def __call__(self, sentences: Sequence[str], *, n_best: int = 1, seen: Callable[[int], Any] | None = None):
        """The best translations of each sentence, the best first.

        Args:
            sentences: any number; an empty one has one empty translation.
            n_best: at most so many of each.
            seen: called with the number of sentences done after every batch.

        Returns:
            A list of lists of Hypothesis.
        """
        ids = [self._source.encode(sentence) for sentence in sentences]
        found: list[list[Hypothesis]] = [[Hypothesis("", 0.0, ())] for _ in ids]
        done = sum(not len(row) for row in ids)
        for places, batch in _batches(ids):
            rows = self._decode(batch, n_best)
            for place, row in zip(places, rows, strict=False):
                found[place] = [self._hypothesis(tokens, score, ids[place]) for tokens, score in row]
            done += len(places)
            if seen is not None:
                seen(done)
        return found

    def attention(self, sentence: str, tokens: Sequence[int]) -> tuple[np.ndarray, list[str], list[str]]:
        """Where the model looks as it writes `tokens` (without the end): (weights [T, S], source symbols, target symbols).

        Raises:
            InputError: an empty sentence, or a model without attention.
        """
        ids = self._source.encode(sentence)
        if not len(ids):
            raise InputError("the source is empty: there is nothing to look at")
        [(_, batch)] = _batches([ids])
        written = [*tokens, *([] if self._target.end is None else [self._target.end])]
        weights = decode.attention(
            self._model, self._params, batch, jnp.array([written], jnp.int32), jnp.array([len(written)], jnp.int32)
        )
        end = [] if self._target.end is None else ["end"]
        symbols = [_shown(self._source, i) for i in ids], [_shown(self._target, i) for i in tokens] + end
        return np.asarray(weights)[0, : len(written), : len(ids)], *symbols

    def _decode(self, batch: dict, n_best: int) -> list[list[tuple[tuple[int, ...], float]]]:
        search, end = self._search, self._target.end
        length = 1 if end is None else search.max_length or 2 * batch["source"].shape[1] + 8  # without an end: one whole line
        limits: dict[str, Any] = {"max_length": length, "end": end}
        if search.min_length:
            limits["min_length"] = search.min_length
        if search.no_repeat_ngram:
            limits["no_repeat_ngram"] = search.no_repeat_ngram
        if search.beam == 1 and n_best == 1:
            out = decode.greedy(self._model, self._params, batch, **limits)
            out = jax.tree.map(lambda a: np.asarray(a)[:, None], out)
        else:
            out = decode.beam(
                self._model,
                self._params,
                batch,
                width=search.beam,
                n_best=n_best,
                length_penalty=search.length_penalty,
                coverage_penalty=search.coverage_penalty,
                groups=search.groups,
                diversity=search.diversity if search.groups > 1 else 0.0,
                early_stop=search.early_stop,
                **limits,
            )
        tokens, lengths, scores = (np.asarray(a) for a in out)
        rows = []
        for row in range(len(tokens)):
            kept = [n for n in range(tokens.shape[1]) if np.isfinite(scores[row, n])]
            cut = [tuple(int(i) for i in tokens[row, n, : lengths[row, n]]) for n in kept]
            bare = (ids[:-1] if ids[-1:] == (end,) else ids for ids in cut)
            rows.append([(ids, float(scores[row, n])) for n, ids in zip(kept, bare, strict=True)])
        return rows

    def _hypothesis(self, tokens: tuple[int, ...], score: float, source: np.ndarray) -> Hypothesis:
        return Hypothesis(self._target.decode(tokens), score, tokens)


def _batches(ids: Sequence[np.ndarray]) -> Iterator[tuple[list[int], dict]]:
    """(places, batch) of sentences that are not empty, sorted by length; a batch has 1 or ROWS rows, so shapes are few."""
    order = sorted((n for n in range(len(ids)) if len(ids[n])), key=lambda n: len(ids[n]))
    rows = ROWS if len(order) > 1 else 1
    for first in range(0, len(order), rows):
        places = order[first : first + rows]
        longest = max(len(ids[n]) for n in places)
        source = np.zeros((rows, -(-longest // STEP) * STEP), np.int32)
        lengths = np.zeros(rows, np.int32)
        for row, n in enumerate(places):
            source[row, : len(ids[n])] = ids[n]
            lengths[row] = len(ids[n])
        yield places, {"source": source, "source_lengths": lengths}


def _shown(vocabulary: Vocabulary, i: int) -> str:
    return vocabulary.decode([i])
