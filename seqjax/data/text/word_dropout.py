"""Word dropout: training texts in which some words are unknown."""

from dataclasses import dataclass

import numpy as np

from seqjax.errors import InputError


@dataclass(frozen=True, kw_only=True)
class WordDropout:
    """Replaces each symbol of a text by the unknown symbol with some probability, an `augment` of a SeriesStream.

    A model trained so does not rest on single words, and learns what an unknown word is although the training text has none.

    Args:
        rate: the probability, at least 0 and below 1.
        unknown: the id of the unknown symbol.
        name: the key of the batch that holds the symbols.

    Raises:
        InputError: the rate is out of range.

    Example:
        >>> dropout = WordDropout(rate=0.5, unknown=1)
        >>> dropout({"tokens": np.arange(5, 13)}, np.random.default_rng(0))["tokens"].tolist()
        [5, 1, 1, 1, 9, 10, 11, 12]

    Iyyer et al. 2015 (Deep Averaging Networks); Dai, Le 2015.
    """

    rate: float
    unknown: int
    name: str = "tokens"

    def __post_init__(self):
        if not 0 <= self.rate < 1:
            raise InputError(f"the rate of word dropout is {self.rate}, it must be at least 0 and below 1")

    def __call__(self, inputs: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, np.ndarray]:
        tokens = inputs[self.name]
        return inputs | {self.name: np.where(generator.random(len(tokens)) < self.rate, self.unknown, tokens)}
