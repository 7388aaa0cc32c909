"""The letters of a word, each predicted from those before it."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch
from seqjax.errors import InputError
from seqjax.serial import register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Spelling(Task):
    """The next letter of a word: after the first l of hello comes an l, after the second an o.

    Args:
        word: the word; the alphabet is its letters, in the order in which they occur.

    Raises:
        InputError: a word of fewer than two letters.

    Example:
        >>> task = Spelling()
        >>> batch = task.draw(np.random.default_rng(0), 1)
        >>> task.symbols, batch["tokens"].tolist(), batch["target"].tolist()
        (('h', 'e', 'l', 'o'), [[0, 1, 2, 2]], [[1, 2, 2, 3]])

    Karpathy, The unreasonable effectiveness of recurrent neural networks, 2015.
    """

    word: str = "hello"

    def __post_init__(self):
        if len(self.word) < 2:
            raise InputError(f"Spelling has word={self.word!r}, it must have at least two letters")

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.word))

    names = symbols

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        letters = np.array([[self.symbols.index(letter) for letter in self.word]])
        tokens, target = (np.broadcast_to(part, (rows, len(self.word) - 1)) for part in (letters[:, :-1], letters[:, 1:]))
        return as_batch("tokens", tokens, np.full(rows, len(self.word) - 1), target, np.ones(tokens.shape, np.bool_))
