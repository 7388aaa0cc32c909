"""Addition of binary numbers, column by column."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least, check_range
from seqjax.serial import register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class BinaryAddition(Task):
    """The sum of two binary numbers, from the lowest digit on: two input units, one output unit.

        s_t = a_t + b_t + c_{t-1};   target_{t + delay} = s_t mod 2;   c_t = 1 if s_t > 1, else 0

    A step reads a digit of each number; the digit of the sum is the target `delay` steps later. Numbers have from `shortest`
    to `bits` digits, and the sum one more.

    Args:
        bits: the largest number of digits.
        shortest: the smallest number of digits.
        delay: steps from the digits to that of their sum.

    Raises:
        InputError: a number of digits below 1, a negative delay, or shortest above bits.

    Example:
        >>> batch = BinaryAddition(bits=3, shortest=3, delay=0).draw(np.random.default_rng(3), 1)
        >>> batch["features"][0].T.astype(int).tolist(), batch["target"][0, :, 0].astype(int).tolist()
        ([[1, 0, 0, 0], [0, 0, 1, 0]], [1, 0, 1, 0])

    Hinton, Neural Networks for Machine Learning, lecture 7.
    """

    answers = "flags"
    features = 2  # pyright: ignore[reportAssignmentType]
    names = ("digit",)  # pyright: ignore[reportAssignmentType]

    bits: int = 8
    shortest: int = 1
    delay: int = 2

    def __post_init__(self):
        check_at_least(self, bits=1, shortest=1, delay=0)
        check_range(self, "shortest", "bits")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        counts = rng.integers(self.shortest, self.bits, rows, endpoint=True)  # [B]
        digits = rng.integers(0, 2, (rows, self.bits + 1 + self.delay, 2))  # [B, T, 2]
        digits[np.arange(digits.shape[1]) >= counts[:, None]] = 0
        target = np.zeros((*digits.shape[:2], 1), np.bool_)  # [B, T, 1]
        carry = np.zeros(rows, np.int64)
        for t in range(self.bits + 1):
            total = digits[:, t].sum(axis=1) + carry
            target[:, t + self.delay, 0], carry = total % 2, total // 2
        mask = np.broadcast_to(np.arange(digits.shape[1]) >= self.delay, digits.shape[:2])
        return as_batch("features", digits, counts + 1 + self.delay, target, mask)
