"""Texts in, texts out: inputs encoded, put into batches of few shapes, searched, decoded and put back in order."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.annotations import public
from seqjax.checks import shown
from seqjax.contracts import Decoder
from seqjax.data.text.encoding import word_positions
from seqjax.data.text.vocabulary import Vocabulary, normalized
from seqjax.data.text.words import LineVocabulary
from seqjax.decode.decoder import Decoded, attending
from seqjax.decode.rerank import minimum_bayes_risk
from seqjax.decode.scoring import attention
from seqjax.decode.search import Search
from seqjax.errors import InputError
from seqjax.metrics.text import sentence_chrf
from seqjax.types import Params

Limit = Callable[[int], int]
Vocabularies = tuple[Vocabulary, Vocabulary] | Vocabulary
_ROWS = 64  # rows of a batch
_STEP = 8  # padded lengths are multiples of it: few shapes, few compilations


class Hypothesis(NamedTuple):
    """One output for an input.

    Args:
        text: the decoded symbols.
        score: the value that the search maximised: log-probability, penalised, in nats; for mbr the expected utility.
        tokens: the symbols without the end symbol.
        cut: True if the output has as many symbols as it may have, and no end.
    """

    text: str
    score: float
    tokens: tuple[int, ...]
    cut: bool = False


class AttentionMap(NamedTuple):
    """Attention weights of one output.

    Args:
        weights: floating, [T, S].
        inputs: S texts, one for each symbol of the input.
        outputs: T texts, one for each symbol of the output, the last "end" where the vocabulary has an end symbol.
    """

    weights: np.ndarray
    inputs: list[str]
    outputs: list[str]


@public
def texts(
    model: Decoder,
    params: Params,
    inputs: Sequence[str] | Mapping[str, Any],
    vocabularies: Vocabularies,
    *,
    search: Search | None = None,
    n_best: int = 1,
    progress: Callable[[int], Any] | None = None,
    limit: Limit | None = None,
) -> list[list[Hypothesis]]:
    """The best output texts for each input: translations of sources, continuations of prompts.

    Args:
        model: a decoder, or an `Ensemble` with a tuple of params.
        params: the model's parameters.
        inputs: texts; or, for a decoder that does not read texts, one batch for the model's `start`.
        vocabularies: (of the source, of the target), for a model that reads {"source", "source_lengths"}; one vocabulary for
            a language model, which reads {"tokens", "tokens_lengths"}, and for a batch.
        search: a method with its options; None: `Search()`, beam search of width 5.
        n_best: the greatest number of different texts for each input, best first.
        progress: called after every batch with the number of inputs done.
        limit: as for `TextSearch`.

    Returns:
        A list of Hypothesis for each input. An empty source has one empty output.

    Raises:
        InputError: options that are out of their range or do not fit the model, or symbols outside a vocabulary.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.data.text.characters import CharacterVocabulary
        >>> from seqjax.models.language_model import LanguageModel
        >>> vocabulary = CharacterVocabulary.from_text("to be or not to be")
        >>> model = LanguageModel(vocabulary_size=len(vocabulary), cell=GRU(input_size=len(vocabulary), hidden_size=8),
        ...                       start_symbol=vocabulary.start)
        >>> params = model.init(jax.random.key(0))
        >>> [[best], _] = texts(model, params, ["to be ", ""], vocabulary, search=Search(method="sample", max_length=12))
        >>> len(best.text), len(best.tokens)
        (12, 12)
    """
    return TextSearch(model, params, vocabularies, search, limit=limit)(inputs, n_best=n_best, progress=progress)


class TextSearch:
    """A model, its vocabularies and a search: `texts` for repeated use, with streaming and attention maps.

    Args:
        model: a decoder, or an `Ensemble` with a tuple of params.
        params: the model's parameters.
        vocabularies: (of the source, of the target), or one vocabulary for a language model, as for `texts`.
        search: a method with its options; None: `Search()`.
        limit: the most symbols of an output if the search has no max_length: a function of the (padded) number of symbols of its
            input, such as the `seqjax.data.OutputLimit` of the training pairs, `OutputLimit.from_record(load_run(DIR).data)`;
            None: twice that number plus 8. An output that reaches it without an end is marked as `cut`.
        notice: a function called with each batch before it is searched, e.g. to say that its shape is compiled.

    Raises:
        InputError: unknown="copy" with a model that has no attention or no source.
    """

    def __init__(
        self,
        model: Decoder,
        params: Params,
        vocabularies: Vocabularies,
        search: Search | None = None,
        *,
        limit: Limit | None = None,
        notice: Callable[[dict[str, Any]], Any] | None = None,
    ):
        if not isinstance(search, Search | None):
            raise InputError(f"search is {shown(search)}, it must be a Search, such as Search(beam=4)")
        if not (limit is None or callable(limit)):
            right = "a function of the number of symbols; for one number give Search(max_length=...)"
            raise InputError(f"limit is {shown(limit)}, it must be {right}")
        self._model, self._params = model, params
        self._limit, self._notice = limit or _twice, notice
        _check_vocabularies(model, vocabularies)
        self._has_source = isinstance(vocabularies, tuple)
        pair = vocabularies if isinstance(vocabularies, tuple) else (vocabularies, vocabularies)
        self._input_vocabulary, self._output_vocabulary = pair
        self._search = search or Search()
        if isinstance(self._output_vocabulary, LineVocabulary):  # one symbol is a whole output
            self._search = dataclasses.replace(self._search, max_length=1)
        if self._search.unknown == "copy" and not (self._has_source and getattr(model, "attends", False)):
            lacks = "attention" if self._has_source else "source"
            raise InputError(f"unknown is copy, which takes the source word with the most attention: this model has no {lacks}")

    def check(self, *, n_best: int = 1, longest: int = 1) -> None:
        """Raise now any error that a search would raise later, without compiling or computing anything.

        Args:
            n_best: as for a call.
            longest: the number of symbols of the longest input.

        Raises:
            InputError: any error of a call.
        """
        [(_, batch)] = self._batches([np.zeros(longest, np.int32)])
        jax.eval_shape(lambda params: self._decode(params, batch, n_best), self._params)

    @public
    def __call__(
        self,
        inputs: Sequence[str] | Mapping[str, Any],
        *,
        n_best: int = 1,
        progress: Callable[[int], Any] | None = None,
    ) -> list[list[Hypothesis]]:
        """The best output texts for each input; arguments, results and errors as for `texts`."""
        if isinstance(inputs, str):
            raise InputError("inputs is one text: give a list of texts")
        if isinstance(inputs, Mapping):
            if self._search.unknown == "copy":
                raise InputError("unknown is copy, which needs the words of a source: give texts as inputs, or unknown mark")
            outputs = self._hypotheses(dict(inputs), None, n_best)
            if progress is not None:
                progress(len(outputs))
            return outputs
        if not isinstance(inputs, Iterable):
            raise InputError(f"inputs is {shown(inputs)}, it must be a list of texts")
        inputs = [*inputs]
        for i, text in enumerate(inputs):
            if not isinstance(text, str):
                raise InputError(f"inputs[{i}] is {shown(text)}, it must be a text")
        inputs = [self._stripped(text) for text in inputs]
        ids = [self._input_vocabulary.encode(text) for text in inputs]
        outputs = [[Hypothesis("", 0.0, ())] for _ in ids]  # of an empty source; the others are replaced
        done = sum(map(self._is_empty, ids))
        for indices, batch in self._batches(ids):
            for n, row in zip(indices, self._hypotheses(batch, [inputs[n] for n in indices], n_best), strict=True):
                outputs[n] = row
            done += len(indices)
            if progress is not None:
                progress(done)
        return outputs

    @public
    def stream(self, text: str) -> Iterator[str]:
        """Pieces of the output for one input, each as soon as its symbol is chosen; joined, they are the text of a call.

        Args:
            text: a source or a prompt.

        Returns:
            An iterator of strings.

        Raises:
            InputError: a search that does not choose one symbol after another, or any error of a call.
        """
        self._search.check_streams()
        if self._search.unknown == "copy":
            raise InputError("unknown is copy, which a stream cannot show: give unknown mark")
        ids, end = self._input_vocabulary.encode(self._stripped(text)), self._output_vocabulary.end
        if self._is_empty(ids):
            return iter(())
        [(_, batch)] = self._batches([ids])
        limits: dict[str, Any] = {"max_length": self._longest(batch), "end": end} | self._bias
        columns = self._search.stream(self._model, self._params, batch, **limits)
        symbols = (int(column[0]) for column in columns)
        return self._output_vocabulary.stream(itertools.takewhile(lambda symbol: symbol != end, symbols))

    @public
    def attention(self, text: str, tokens: Sequence[int]) -> AttentionMap:
        """The attention weights of the steps that write an output.

        Args:
            text: the source.
            tokens: T symbols of the output, the end symbol left out.

        Returns:
            AttentionMap.

        Raises:
            InputError: an empty source, or a model without attention.
        """
        ids, end = self._input_vocabulary.encode(self._stripped(text)), self._output_vocabulary.end
        if not len(ids):
            raise InputError("the source is empty: there is nothing to attend to")
        [(_, batch)] = self._batches([ids])
        symbols = [*tokens, *([] if end is None else [end])]
        lengths = jnp.array([len(symbols)], jnp.int32)
        model = attending(self._model, "an attention map")
        weights = attention(model, self._params, batch, jnp.array([symbols], jnp.int32), lengths)
        return AttentionMap(
            weights=np.asarray(weights)[0, : len(symbols), : len(ids)],
            inputs=[self._input_vocabulary.decode([i]) for i in ids],
            outputs=[self._output_vocabulary.decode([i]) for i in tokens] + ["end"] * (end is not None),
        )

    def _stripped(self, text: str) -> str:
        """A source without white space around it; a prompt as it is, since its last space is a symbol."""
        return text.strip() if self._has_source else text

    def _is_empty(self, ids: np.ndarray) -> bool:
        """True for an empty source, which needs no search; an empty prompt is searched."""
        return self._has_source and not len(ids)

    def _batches(self, ids: Sequence[np.ndarray]) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """(indices, batch) of the inputs that are searched, sorted by length; 1 or _ROWS rows, so that shapes are few.

        All inputs of a batch have the same padded length, so that a limit derived from it does not depend on the other rows.
        A batch is filled up with copies of its first row.
        """
        order = sorted((n for n in range(len(ids)) if not self._is_empty(ids[n])), key=lambda n: len(ids[n]))
        rows = _ROWS if len(order) > 1 else 1
        tokens_key, lengths_key = ("source", "source_lengths") if self._has_source else ("tokens", "tokens_lengths")
        for width, group in itertools.groupby(order, key=lambda n: max(1, -(-len(ids[n]) // _STEP)) * _STEP):
            same_width = list(group)
            for first in range(0, len(same_width), rows):
                indices = same_width[first : first + rows]
                tokens, lengths = np.zeros((rows, width), np.int32), np.zeros(rows, np.int32)
                for row, n in enumerate(indices + indices[:1] * (rows - len(indices))):
                    tokens[row, : len(ids[n])] = ids[n]
                    lengths[row] = len(ids[n])
                yield indices, {tokens_key: tokens, lengths_key: lengths}

    def _longest(self, batch: Mapping[str, Any]) -> int | None:
        """The limit of an output's length if the search has none, from the padded input's.

        For a batch that is not text, None unless a limit was given and the batch has lengths.
        """
        words = ("source" if self._has_source else "tokens",)
        if self._limit is not _twice:
            words += tuple(word for word in batch if f"{word}_lengths" in batch)
        inputs = next((batch[word] for word in words if word in batch), None)
        return None if inputs is None else max(self._limit(inputs.shape[1]), self._search.min_length)

    def _decode(self, params: Params, batch: dict[str, Any], n_best: int) -> Decoded:
        """The search's outputs, [B, N, ...]."""
        limits: dict[str, Any] = {"max_length": self._longest(batch), "end": self._output_vocabulary.end} | self._bias
        return self._search(self._model, params, batch, n_best=n_best, **limits)

    @property
    def _bias(self) -> dict[str, Any]:
        """The penalty on the unknown symbol, as a constraint."""
        unknown, penalty = self._output_vocabulary.unknown, self._search.unknown_penalty
        return {} if unknown is None or not penalty else {"bias": {unknown: -penalty}}

    def _hypotheses(self, batch: dict[str, Any], inputs: Sequence[str] | None, n_best: int) -> list[list[Hypothesis]]:
        """The outputs for the first rows of a batch, one list for each input (None: for every row), without equal texts."""
        if self._notice is not None:
            self._notice(batch)
        decoded = self._decode(self._params, batch, n_best)
        tokens, lengths, scores = (np.asarray(leaf) for leaf in decoded)  # [B, N, L], [B, N], [B, N]
        attended = np.zeros(tokens.shape, np.int32)  # the position of the source that each symbol attends to most
        if self._search.unknown == "copy" and (tokens == self._output_vocabulary.unknown).any():
            model = attending(self._model, "unknown copy")
            weights = attention(model, self._params, batch, decoded.tokens, decoded.lengths)
            attended = np.asarray(weights).argmax(axis=-1)
        outputs = []
        for row in range(len(tokens) if inputs is None else len(inputs)):
            hypotheses = []
            for n in np.flatnonzero(np.isfinite(scores[row])):
                symbols, end = tuple(int(i) for i in tokens[row, n, : lengths[row, n]]), self._output_vocabulary.end
                ended = symbols[-1:] == (end,)
                symbols = symbols[:-1] if ended else symbols
                text = self._text(symbols, "" if inputs is None else inputs[row], attended[row, n])
                cut = end is not None and not ended and len(symbols) == tokens.shape[-1]
                hypotheses.append(Hypothesis(text, float(scores[row, n]), symbols, cut))
            by_text: dict[str, Hypothesis] = {}  # sub-words spell a text in several ways, and draws repeat
            for hypothesis in self._ranked(hypotheses):
                by_text.setdefault(hypothesis.text, hypothesis)
            outputs.append([*by_text.values()][:n_best] or [Hypothesis("", -np.inf, ())])  # where no symbol was allowed
        return outputs

    def _ranked(self, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        """Hypotheses, best first: draws by log-probability, those of mbr by expected chrF; others in the search's order."""
        if self._search.method not in ("sample", "mbr") or not hypotheses:
            return hypotheses
        if self._search.method == "mbr":
            utilities = minimum_bayes_risk([hypothesis.text for hypothesis in hypotheses], sentence_chrf).utilities
            pairs = zip(hypotheses, utilities, strict=True)
            hypotheses = [hypothesis._replace(score=float(utility)) for hypothesis, utility in pairs]
        return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)

    def _text(self, symbols: Sequence[int], source: str, attended: np.ndarray) -> str:
        """The text of an output; an unknown symbol becomes a mark, or the word of the source at its position in `attended`."""
        unknown = self._output_vocabulary.unknown
        if unknown is None or self._search.unknown == "mark" or unknown not in symbols:
            return self._output_vocabulary.decode(symbols)
        words = normalized(source, self._input_vocabulary.normalization).split()
        positions = word_positions(self._input_vocabulary, source)
        mark = self._output_vocabulary.decode([unknown])
        text, before = "", None
        for symbol, piece, position in zip(symbols, self._output_vocabulary.stream(symbols), attended, strict=False):
            copied = positions[position] if symbol == unknown else None
            if copied is None:
                text += piece
            elif copied != before:  # a word spelt in several unknown symbols is copied once
                text += piece.replace(mark, words[copied])
            before = copied
        return text


def _twice(symbols: int) -> int:
    """The limit of an output's length, from the length of its input, where nothing is known of the lengths of outputs."""
    return 2 * symbols + 8


def _check_vocabularies(model: Decoder, vocabularies: Any):
    """Raise InputError unless these are vocabularies, of the sizes that the model has."""
    several = isinstance(vocabularies, tuple)
    pair = vocabularies if several else (vocabularies,)
    if len(pair) != 1 + several or not all(hasattr(each, "encode") and hasattr(each, "decode") for each in pair):
        right = "a vocabulary, or a pair (of the source, of the target)"
        raise InputError(f"vocabularies is {shown(vocabularies)}, it must be {right}")
    sizes = getattr(model, "vocabulary_sizes", None)
    if isinstance(sizes, tuple) and len(sizes) >= len(pair):
        given = [len(each) for each in pair]
        if given != [*sizes[-len(pair) :]]:
            raise InputError(
                f"the vocabularies have {given} symbols, the model has {[*sizes[-len(pair) :]]}: give those of its run"
            )
