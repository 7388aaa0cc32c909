"""Symbols that must be kept for a long time, and then written."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least
from seqjax.serial import register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy(Task):
    """The copy problem: `length` symbols, blanks, a sign, and then the symbols are to be written; before, blanks.

    A sequence has `delay` + 2 `length` steps. A network without memory has a loss of length log(alphabet) / steps.

    Args:
        delay: steps between the last symbol and the first to be written, the sign among them.
        length: the number of symbols to keep.
        alphabet: the number of symbols, apart from the blank and the sign.

    Raises:
        InputError: a number below 1.

    Example:
        >>> batch = Copy(delay=1, length=2, alphabet=2).draw(np.random.default_rng(1), 1)
        >>> batch["tokens"].tolist(), batch["target"].tolist()
        ([[0, 1, 3, 2, 2]], [[2, 2, 2, 0, 1]])

    Hochreiter, Schmidhuber 1997; Arjovsky, Shah, Bengio 2016.
    """

    delay: int = 200
    length: int = 10
    alphabet: int = 8

    def __post_init__(self):
        check_at_least(self, delay=1, length=1, alphabet=1)

    @property
    def names(self) -> tuple[str, ...]:
        return (*(str(n + 1) for n in range(self.alphabet)), "-")

    @property
    def symbols(self) -> tuple[str, ...]:
        return (*self.names, "?")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        steps = self.delay + 2 * self.length
        kept = rng.integers(0, self.alphabet, (rows, self.length))
        tokens, target = np.full((2, rows, steps), self.alphabet)  # blanks, [B, T] each
        tokens[:, : self.length] = kept
        tokens[:, self.length + self.delay - 1] = self.alphabet + 1
        target[:, -self.length :] = kept
        return as_batch("tokens", tokens, np.full(rows, steps), target, np.ones(tokens.shape, np.bool_))
