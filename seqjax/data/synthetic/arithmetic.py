"""Sums and differences, read and written one character at a time, with letters that mean nothing between them."""

import dataclasses
import string

import numpy as np

from seqjax.checks import check_rules
from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least
from seqjax.serial import register

_CHARACTERS = tuple(string.digits + "+-=." + string.ascii_lowercase)
_TOKENS = {character: token for token, character in enumerate(_CHARACTERS)}


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Arithmetic(Task):
    """The digits of a sum or a difference: 3e36d9-h1h39f94eeh43keg3c=-13991064. (the point is the end).

    The network reads the exercise, then the right answer, and predicts every character of the answer from those before it. The
    first number may be negative; between two characters of the exercise stand 0 to `distractors` letters.

    Args:
        digits: the largest number of digits of a number.
        distractors: the largest number of letters between two characters.

    Raises:
        InputError: no digit or more than 18, or a negative number of letters.

    Example:
        >>> task = Arithmetic(digits=2, distractors=1)
        >>> batch = task.draw(np.random.default_rng(5), 1)
        >>> length, mask = batch["tokens_lengths"][0], batch["target_mask"][0]
        >>> "".join(task.symbols[n] for n in batch["tokens"][0, :length])
        '2o-80=-78'
        >>> "".join(task.names[n] for n in batch["target"][0][mask])
        '-78.'

    Jozefowicz, Zaremba, Sutskever 2015.
    """

    symbols = _CHARACTERS  # pyright: ignore[reportAssignmentType]
    names = _CHARACTERS  # pyright: ignore[reportAssignmentType]

    digits: int = 8
    distractors: int = 2

    def __post_init__(self):
        check_at_least(self, digits=1, distractors=0)
        check_rules(self, digits=(self.digits <= 18, "at most 18: a number is drawn as an int64"))

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        question = (2 * self.digits + 2) * (1 + self.distractors)  # most characters before the sign of equality
        tokens = np.zeros((rows, question + 1 + self.digits + 2), np.int64)  # [B, T]
        target, mask, lengths = tokens.copy(), np.zeros(tokens.shape, np.bool_), np.zeros(rows, np.int64)
        for row in range(rows):
            one, two = (int(rng.integers(10 ** int(count))) for count in rng.integers(1, self.digits, 2, endpoint=True))
            negative, minus = (rng.random(2) < 0.5).tolist()
            answer = (-one if negative else one) + (-two if minus else two)
            asked = self._distracted(f"{'-' * negative}{one}{'-' if minus else '+'}{two}", rng)
            text = [*asked, *_tokens(f"={answer}.")]
            end = len(text) - 1
            tokens[row, :end], target[row, :end] = text[:-1], text[1:]
            mask[row, len(asked) : end], lengths[row] = True, end
        return as_batch("tokens", tokens, lengths, target, mask)

    def _distracted(self, text: str, rng: np.random.Generator) -> np.ndarray:
        """The tokens of a text, each followed by letters drawn at random."""
        counts = rng.integers(0, self.distractors, len(text), endpoint=True)
        tokens = np.empty(len(text) + counts.sum(), np.int64)
        letter = np.ones(len(tokens), np.bool_)
        letter[np.arange(len(text)) + np.cumsum(counts) - counts] = False
        tokens[~letter] = _tokens(text)
        tokens[letter] = _TOKENS["a"] + rng.integers(len(string.ascii_lowercase), size=counts.sum())
        return tokens


def _tokens(text: str) -> list[int]:
    return [_TOKENS[character] for character in text]
