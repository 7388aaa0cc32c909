"""Limits of length from the lengths of training texts: of the texts themselves, and of outputs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqjax.errors import InputError

MARGIN, MORE = 1.5, 8  # beyond what training pairs need: a factor, and a number of symbols
_WORDS = ("longest_source", "longest_target", "largest_ratio")  # of a record, for the three fields


def length_limit(lengths: Sequence[int] | np.ndarray, share: float = 0.99, *, shortest: int = 0) -> int:
    """The length that a share of the training texts keeps within.

    Args:
        lengths: the texts' numbers of symbols, int [N].
        share: above 0, at most 1.
        shortest: the smallest limit.

    Returns:
        One of the lengths, within which at least this share of the texts keeps, or `shortest` if that is longer.

    Raises:
        InputError: the share is outside its range, or there is no length.

    Example:
        >>> length_limit([3, 1, 2, 90], share=0.6), length_limit([3, 1, 2, 90], share=0.6, shortest=50)
        (3, 50)
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}, it must be above 0 and at most 1")
    if not len(lengths):
        raise InputError("there is no text: a limit of length needs at least one")
    return max(int(np.quantile(lengths, share, method="higher")), shortest)


@dataclass(frozen=True)
class OutputLimit:
    """The most symbols that an output may have, as a function of the number of symbols of its source.

        limit(S) = 1.5 min(r S, T max(1, S / S_max)) + 8

    S_max and T are the longest source and target of the training pairs, and r is the largest ratio of a target to its source:
    every training target is within the limit, and so is one half as long again.

    Args:
        source: S_max.
        target: T, the end symbol counted.
        ratio: r.

    Raises:
        InputError: a number is not above 0.

    Example:
        >>> limit = OutputLimit.of([np.arange(2), np.arange(4)], [np.arange(10), np.arange(12)])
        >>> limit
        OutputLimit(source=4, target=12, ratio=5.0)
        >>> [limit(symbols) for symbols in (1, 2, 4, 8)]
        [16, 23, 26, 44]
    """

    source: int
    target: int
    ratio: float

    def __post_init__(self):
        if not min(self.source, self.target, self.ratio) > 0:
            raise InputError(f"source, target and ratio are {self.source}, {self.target} and {self.ratio}: they must be above 0")

    def __call__(self, symbols: int) -> int:
        """The limit for a source of so many symbols."""
        longest = self.target * max(1.0, symbols / self.source)
        return math.ceil(MARGIN * min(self.ratio * max(symbols, 1), longest)) + MORE

    @classmethod
    def of(cls, source: Iterable[np.ndarray], target: Iterable[np.ndarray]) -> "OutputLimit":
        """The limit that encoded training pairs call for.

        Args:
            source: rows of symbols, [S] for each pair.
            target: rows of symbols, [T] for each pair, with the end symbol.

        Raises:
            InputError: there is no pair.
        """
        lengths = np.array([(max(len(a), 1), max(len(b), 1)) for a, b in zip(source, target, strict=True)])  # [N, 2]
        if not len(lengths):
            raise InputError("there is no pair: a limit of length needs at least one")
        read, written = lengths.T
        return cls(int(read.max()), int(written.max()), float((written / read).max()))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "OutputLimit | None":
        """The limit that the record of a run's data holds, `load_run(DIR).data`; None if it holds none."""
        return cls(*(record[word] for word in _WORDS)) if set(_WORDS) <= set(record) else None

    @property
    def record(self) -> dict[str, float]:
        """The entries of a record from which `from_record` makes an equal limit."""
        return dict(zip(_WORDS, (self.source, self.target, self.ratio), strict=True))
