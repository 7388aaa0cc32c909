"""Extraction of the year from a sentence, wherever it stands."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least
from seqjax.errors import InputError
from seqjax.serial import register

_PEOPLE = ("I", "we", "they", "you")
_VERBS = ("went", "moved", "travelled", "flew", "came", "returned")
_PLACES = ("Nepal", "Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Canada")
_ADVERBS = ("again", "alone", "together", "quickly", "later", "once")
_YEARS = tuple(map(str, range(1920, 2020)))
_WORDS = ("in", "to", *_PEOPLE, *_VERBS, *_PLACES, *_ADVERBS, *_YEARS)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class YearExtraction(Task):
    """The year that a sentence names, at one of some positions: the target of the last step.

        in 2009 I went to Nepal;    I went to Nepal in 2009 again;    once later in 2009 I went to Nepal

    Up to the fifth word the year stands before the clause, after as many adverbs as are needed, from the sixth on behind it.

    Args:
        positions: of the year, counted from 1, each at least 2.
        adverbs: the largest number of adverbs at the end of a sentence.

    Raises:
        InputError: no position, one below 2, or a negative number of adverbs.

    Example:
        >>> task = YearExtraction()
        >>> batch = task.draw(np.random.default_rng(0), 1)
        >>> length = batch["tokens_lengths"][0]
        >>> " ".join(task.symbols[n] for n in batch["tokens"][0, :length]), task.names[batch["target"][0, length - 1]]
        ('they moved to Kenya in 2005', '2005')

    Goodfellow, Bengio, Courville, Deep Learning, 2016, chapter 10.
    """

    symbols = _WORDS  # pyright: ignore[reportAssignmentType]
    names = _YEARS  # pyright: ignore[reportAssignmentType]

    positions: tuple[int, ...] = (2, 6)
    adverbs: int = 2

    def __post_init__(self):
        check_at_least(self, adverbs=0)
        if not self.positions or min(self.positions) < 2:
            raise InputError(f"YearExtraction has positions={self.positions}, it must have some, each at least 2")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        longest = max(place + 4 * (place < 6) for place in self.positions) + self.adverbs
        adverbs = [_WORDS.index(word) for word in _ADVERBS]
        tokens, lengths = np.zeros((rows, longest), np.int64), np.zeros(rows, np.int64)  # [B, T], [B]
        year = rng.integers(0, len(_YEARS), rows)  # [B]
        for row in range(rows):
            place = int(rng.choice(self.positions))
            clause = [_WORDS.index(rng.choice(kind)) for kind in (_PEOPLE, _VERBS, ("to",), _PLACES)]
            when = [_WORDS.index("in"), _WORDS.index(_YEARS[0]) + int(year[row])]
            before = rng.choice(adverbs, place - (2 if place < 6 else 6)).tolist()
            words = [*before, *when, *clause] if place < 6 else [*clause, *before, *when]
            words += rng.choice(adverbs, rng.integers(0, self.adverbs, endpoint=True)).tolist()
            tokens[row, : len(words)], lengths[row] = words, len(words)
        mask = np.arange(longest) == lengths[:, None] - 1
        return as_batch("tokens", tokens, lengths, np.broadcast_to(year[:, None], tokens.shape), mask)
