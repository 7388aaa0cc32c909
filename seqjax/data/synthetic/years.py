"""Extraction of the year from a sentence in which it may stand at either of two places."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch
from seqjax.serial import register

_PEOPLE = ("I", "we", "they", "you")
_VERBS = ("went", "moved", "travelled", "flew", "came", "returned")
_PLACES = ("Nepal", "Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Canada")
_YEARS = tuple(map(str, range(1920, 2020)))
_WORDS = ("in", "to", *_PEOPLE, *_VERBS, *_PLACES, *_YEARS)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class YearExtraction(Task):
    """The year that a sentence of six words names, at its second or its sixth: the target of the last step.

        in 2009 I went to Nepal;    I went to Nepal in 2009

    Of a hundred years, half occur in training at both positions, a quarter at the second alone and a quarter at the sixth
    alone. The unseen sentences have the years of these quarters at the other position: a network that shares its weights over
    positions has learned to read them, one with weights of its own for each position has not.

    Args:
        unseen: draw years at the position at which training does not have them.

    Example:
        >>> task = YearExtraction()
        >>> batch = task.draw(np.random.default_rng(1), 1)
        >>> " ".join(task.symbols[n] for n in batch["tokens"][0]), task.names[batch["target"][0, -1]]
        ('I went to Egypt in 1969', '1969')

    Goodfellow, Bengio, Courville, Deep Learning, 2016, chapter 10.
    """

    symbols = _WORDS  # pyright: ignore[reportAssignmentType]
    names = _YEARS  # pyright: ignore[reportAssignmentType]

    unseen: bool = False

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        quarter = rng.integers(0, 2 if self.unseen else 4, rows)  # [B]: 0 and 1 have the years of one position alone
        year = 4 * rng.integers(0, len(_YEARS) // 4, rows) + quarter
        early = np.where(quarter > 1, rng.random(rows) < 0.5, (quarter == 0) ^ self.unseen)
        word = _WORDS.index
        rest = [rng.integers(word(names[0]), word(names[0]) + len(names), rows) for names in (_PEOPLE, _VERBS, _PLACES)]
        clause = np.stack([*rest[:2], np.full(rows, word("to")), rest[2]], axis=1)  # [B, 4]
        when = np.stack([np.full(rows, word("in")), word(_YEARS[0]) + year], axis=1)  # [B, 2]
        tokens = np.where(early[:, None], np.hstack([when, clause]), np.hstack([clause, when]))  # [B, 6]
        mask = np.broadcast_to(np.arange(6) == 5, tokens.shape)
        return as_batch("tokens", tokens, np.full(rows, 6), np.broadcast_to(year[:, None], tokens.shape), mask)
