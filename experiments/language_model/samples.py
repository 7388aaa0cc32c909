"""Samples of a language model."""

from collections.abc import Iterator

import numpy as np

from experiments.language_model.config import Sampling
from seqjax.contracts import Decoder
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.types import Params


def prompt_batch(vocabulary: Vocabulary, prompt: str) -> dict:
    """A prompt as a batch of one row, for the model's `start`.

    Raises:
        InputError: the prompt has symbols outside the vocabulary, or is empty although no symbol begins or ends a document.
    """
    ids = vocabulary.encode(prompt, strict=True)
    if not len(ids) and vocabulary.start is None:
        if vocabulary.end is None:
            raise InputError("the prompt is empty and the vocabulary has no start symbol: give --prompt TEXT")
        ids = np.array([vocabulary.end], np.int32)  # a document begins after the end of the one before
    return {"tokens": ids[None], "tokens_lengths": np.array([len(ids)], np.int32)}


def draw(model: Decoder, vocabulary: Vocabulary, params: Params, config: Sampling) -> Iterator[str]:
    """Draws a sample: an iterator over its text, symbol by symbol, the prompt first.

    Raises:
        InputError: immediately, if the prompt is outside the vocabulary or temperature, top_k, top_p or length is invalid.
    """
    symbols = config.stream(model, params, prompt_batch(vocabulary, config.prompt))
    ids = vocabulary.encode(config.prompt).tolist()

    def every_id():
        yield from ids
        yield from (int(symbol[0]) for symbol in symbols)

    return vocabulary.stream(every_id())
