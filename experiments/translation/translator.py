"""Sentences to their translations: encoded, put into batches of few shapes, searched, decoded, put back in order."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.command_line import renamed
from experiments.translation.config import DRAWS, Search
from experiments.translation.scores import similarity
from seqjax import decode
from seqjax.checks import check_weights
from seqjax.contracts import Decoder
from seqjax.data.text.encoding import word_positions
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.noise import key_of
from seqjax.types import Params

ROWS = 64  # sentences of a batch, where there are so many
STEP = 8  # source lengths are rounded up to a multiple: few shapes, few compilations


class Hypothesis(NamedTuple):
    """One translation of a sentence.

    Args:
        text: of the target's symbols.
        score: what the search maximised: log-probability, penalised, in nats; for mbr the expected chrF.
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

    Raises:
        InputError: what the search refuses, before it is given anything to search.
    """

    def __init__(self, model: Decoder, params: Params, vocabularies, search: Search):
        self._model, self._params, (self._source, self._target) = model, params, vocabularies
        self._search = search
        if search.unknown == "copy" and not model.attends:
            raise InputError("search.unknown copy puts the source word there that was attended to: this model has no attention")

    def check(self, *, n_best: int = 1, longest: int = 1):
        """Refuses now what the search would refuse once there is something to search; nothing is compiled.

        Args:
            n_best: translations of each sentence.
            longest: symbols of a sentence.

        Raises:
            InputError: options out of their range, or that do not fit together or the model.
        """
        [(_, batch)] = _batches([np.zeros(longest, np.int32)])
        jax.eval_shape(lambda params: self._found(params, batch, n_best), self._params)

    def __call__(self, sentences: Sequence[str], *, n_best: int = 1, seen: Callable[[int], Any] | None = None):
        """The best translations of each sentence, the best first.

        Args:
            sentences: any number; an empty one has one empty translation.
            n_best: at most so many of each.
            seen: called with the number of sentences done after every batch.

        Returns:
            A list of lists of Hypothesis.
        """
        sentences = [sentence.strip() for sentence in sentences]
        ids = [self._source.encode(sentence) for sentence in sentences]
        found: list[list[Hypothesis]] = [[Hypothesis("", 0.0, ())] for _ in ids]
        done = sum(not len(row) for row in ids)
        for places, batch in _batches(ids):
            rows = self._hypotheses(batch, [sentences[n] for n in places], n_best)
            for place, row in zip(places, rows, strict=True):
                found[place] = row
            done += len(places)
            if seen is not None:
                seen(done)
        return found

    def attention(self, sentence: str, tokens: Sequence[int]) -> tuple[np.ndarray, list[str], list[str]]:
        """Where the model looks as it writes `tokens` (without the end): (weights [T, S], source symbols, target symbols).

        Raises:
            InputError: an empty sentence, or a model without attention.
        """
        ids = self._source.encode(sentence.strip())
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

    def stream(self, sentence: str) -> Iterator[str]:
        """Pieces of one translation, each as soon as it is found: the likeliest symbols, or drawn ones.

        Raises:
            InputError: a search that does not go from symbol to symbol.
        """
        search, end = self._search, self._target.end
        if not (search.method == "sample" or self._is_greedy) or search.unknown == "copy":
            without = "--coverage-penalty, --no-early-stop or --unknown copy"
            raise InputError(f"symbols can be shown as they come with --beam 1 or --method sample, without {without}")
        ids = self._source.encode(sentence.strip())
        if not len(ids):
            return iter(())
        [(_, batch)] = _batches([ids])
        options = self._draw if search.method == "sample" else {"temperature": 0.0}
        keys = jax.random.split(key_of(search.seed), 1)
        columns = decode.stream(self._model, self._params, batch, key=keys[0], **options, **self._limits(batch))
        return self._target.stream(itertools.takewhile(lambda token: token != end, (int(column[0]) for column in columns)))

    def _hypotheses(self, batch: dict, sentences: Sequence[str], n_best: int) -> list[list[Hypothesis]]:
        """What is found for the sentences of a batch, every text once."""
        out = self._found(self._params, batch, n_best)
        tokens, lengths, scores = (np.asarray(a) for a in out)
        looked = np.zeros(tokens.shape, np.int32)  # the place of the source that each symbol was found looking at
        if self._search.unknown == "copy" and (tokens == self._target.unknown).any():
            looked = np.asarray(decode.attention(self._model, self._params, batch, out.tokens, out.lengths)).argmax(axis=-1)
        rows = []
        for row, sentence in enumerate(sentences):
            found = []
            for n in np.flatnonzero(np.isfinite(scores[row])):
                ids = tuple(int(i) for i in tokens[row, n, : lengths[row, n]])
                bare = ids[:-1] if ids[-1:] == (self._target.end,) else ids
                found.append(Hypothesis(self._text(bare, sentence, looked[row, n]), float(scores[row, n]), bare))
            different: dict[str, Hypothesis] = {}  # sub-words spell a text in several ways, and draws come again
            for hypothesis in self._best_first(found):
                different.setdefault(hypothesis.text, hypothesis)
            rows.append([*different.values()][:n_best] or [Hypothesis("", -np.inf, ())])  # or nothing may be written
        return rows

    def _best_first(self, found: list[Hypothesis]) -> list[Hypothesis]:
        if self._search.method == "beam" or not found:
            return found
        if self._search.method == "mbr":
            utilities = decode.minimum_bayes_risk([hypothesis.text for hypothesis in found], similarity).utilities
            found = [hypothesis._replace(score=float(of)) for hypothesis, of in zip(found, utilities, strict=True)]
        return sorted(found, key=lambda hypothesis: -hypothesis.score)

    @property
    def _is_greedy(self) -> bool:
        """Whether the likeliest symbol at every step is all that the search asks for."""
        search = self._search
        return search.method == "beam" and search.beam == search.groups == 1 and not search.coverage_penalty and search.early_stop

    @property
    def _draw(self) -> dict[str, Any]:
        """How a symbol is drawn."""
        return {name: getattr(self._search, name) for name in DRAWS}

    def _limits(self, batch: dict) -> dict[str, Any]:
        """What an output must keep to."""
        search, end = self._search, self._target.end
        length = search.max_length
        if end is None:
            length = 1  # one whole line
        elif length is None:
            length = max(2 * batch["source"].shape[1] + 8, search.min_length)
        given = {name: getattr(search, name) for name in ("min_length", "no_repeat_ngram") if getattr(search, name)}
        return {"max_length": length, "end": end} | given

    def _found(self, params: Params, batch: dict, n_best: int) -> decode.Decoded:
        """What is found for every row, [B, N, ...]."""
        search, limits = self._search, self._limits(batch)
        if search.method != "beam":
            name, draws = ("n_best", n_best) if search.method == "sample" else ("search.samples", search.samples)
            if draws < 1:
                raise InputError(f"{name} is {draws}, it must be at least 1")
            keys = jax.random.split(key_of(search.seed), draws)
            drawn = [decode.sample(self._model, params, batch, key=key, **self._draw, **limits) for key in keys]
            return jax.tree.map(lambda *a: jnp.stack(a, axis=1), *drawn)
        if self._is_greedy and n_best == 1:
            check_weights(length_penalty=search.length_penalty, diversity=search.diversity)
            return jax.tree.map(lambda a: a[:, None], decode.greedy(self._model, params, batch, **limits))
        with renamed(width="beam"):
            return decode.beam(
                self._model,
                params,
                batch,
                width=search.beam,
                n_best=n_best,
                length_penalty=search.length_penalty,
                coverage_penalty=search.coverage_penalty,
                groups=search.groups,
                diversity=search.diversity,
                early_stop=search.early_stop,
                **limits,
            )

    def _text(self, tokens: Sequence[int], sentence: str, looked: np.ndarray) -> str:
        """The text of some symbols, unknown ones as the search has them."""
        unknown = self._target.unknown
        if self._search.unknown == "mark" or unknown not in tokens:
            return self._target.decode(tokens)
        words, places, mark = sentence.split(), word_positions(self._source, sentence), self._target.decode([unknown])
        text, before = "", None
        for token, piece, place in zip(tokens, self._target.stream(tokens), looked, strict=False):
            copied = places[place] if token == unknown else None
            if copied is None:
                text += piece
            elif copied != before:  # a word that is spelt in several unknown symbols is copied once
                text += piece.replace(mark, words[copied])
            before = copied
        return text


def _batches(ids: Sequence[np.ndarray]) -> Iterator[tuple[list[int], dict]]:
    """(places, batch) of sentences that are not empty, sorted by length; a batch has 1 or ROWS rows, so shapes are few.

    The sentences of a batch have one padded length, their own: a limit that goes by it does not depend on the neighbours.
    """
    order = sorted((n for n in range(len(ids)) if len(ids[n])), key=lambda n: len(ids[n]))
    rows = ROWS if len(order) > 1 else 1
    for length, group in itertools.groupby(order, key=lambda n: -(-len(ids[n]) // STEP) * STEP):
        alike = list(group)
        for first in range(0, len(alike), rows):
            places = alike[first : first + rows]
            source = np.zeros((rows, length), np.int32)
            lengths = np.zeros(rows, np.int32)
            for row, n in enumerate(places):
                source[row, : len(ids[n])] = ids[n]
                lengths[row] = len(ids[n])
            yield places, {"source": source, "source_lengths": lengths}


def _shown(vocabulary: Vocabulary, i: int) -> str:
    return vocabulary.decode([i])
