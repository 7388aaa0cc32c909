"""Nested brackets of several kinds."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least, check_range
from seqjax.errors import InputError
from seqjax.serial import register

_PAIRS = ("()", "[]", "{}", "<>")


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dyck(Task):
    """The Dyck language: after every symbol, the set of those that may follow.

    An opening bracket may follow where the depth is below `depth`, the bracket that closes the last open one where one is open,
    and the end where none is.

    Args:
        kinds: kinds of brackets, 1 to 4.
        pairs: the largest number of pairs in a word.
        shortest: the smallest.
        depth: the largest number of brackets that are open at once.

    Raises:
        InputError: a number below 1, shortest above pairs, or more than four kinds.

    Example:
        >>> task = Dyck(pairs=2, shortest=2)
        >>> batch = task.draw(np.random.default_rng(1), 1)
        >>> "".join(task.symbols[n] for n in batch["tokens"][0])
        '()[]'
        >>> ["".join(np.array(task.names)[may]) for may in batch["target"][0]]
        ['()[', '([.', '([]', '([.']

    Chomsky, Schuetzenberger 1963; Gers, Schmidhuber 2001; Suzgun et al. 2019.
    """

    answers = "flags"

    kinds: int = 2
    pairs: int = 25
    shortest: int = 1
    depth: int = 10

    def __post_init__(self):
        check_at_least(self, kinds=1, pairs=1, shortest=1, depth=1)
        check_range(self, "shortest", "pairs")
        if self.kinds > len(_PAIRS):
            raise InputError(f"Dyck has kinds={self.kinds}, it must be at most {len(_PAIRS)}")

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple("".join(_PAIRS[: self.kinds]))

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.symbols, ".")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        steps = 2 * self.pairs
        tokens, target = np.zeros((rows, steps), np.int64), np.zeros((rows, steps, len(self.names)), np.bool_)
        counts = rng.integers(self.shortest, self.pairs, rows, endpoint=True)  # [B]
        kinds, opens = rng.integers(0, self.kinds, (rows, steps)), rng.random((rows, steps)) < 0.5
        for row in range(rows):
            stack: list[int] = []
            left = int(counts[row])
            for t in range(2 * left):
                if left and len(stack) < self.depth and (opens[row, t] or not stack):
                    stack.append(int(kinds[row, t]))
                    tokens[row, t], left = 2 * stack[-1], left - 1
                else:
                    tokens[row, t] = 2 * stack.pop() + 1
                target[row, t, :-1:2] = len(stack) < self.depth
                target[row, t, 2 * stack[-1] + 1 if stack else -1] = True
        return as_batch("tokens", tokens, 2 * counts, target, np.ones((rows, steps), np.bool_))
