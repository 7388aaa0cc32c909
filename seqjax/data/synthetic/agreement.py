"""A word at the end of a text that depends on one at its beginning."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch
from seqjax.data.synthetic.tasks import Task, as_batch, check_at_least, check_range
from seqjax.errors import InputError
from seqjax.serial import register

_COUNTRIES = ("France", "Spain", "Italy", "Germany", "Japan", "China", "Russia", "Poland", "Greece", "Turkey")
_LANGUAGES = ("French", "Spanish", "Italian", "German", "Japanese", "Chinese", "Russian", "Polish", "Greek", "Turkish")
_FILLERS = (
    *("the", "a", "my", "house", "garden", "river", "school", "friend", "winter", "music", "we", "then", "often"),
    *("walked", "read", "played", "liked", "and", ".", ","),
)
_BEGIN, _END = ("I", "grew", "up", "in"), ("I", "speak", "fluent")
_WORDS = tuple(dict.fromkeys((*_BEGIN, *_END, "visited", *_FILLERS, *_COUNTRIES)))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement(Task):
    """Long-range agreement: I grew up in France ... I speak fluent French.

    Between the country and the end stand `shortest` to `longest` words at random; now and then another country is visited
    among them. The last step's target is the language.

    Args:
        longest: the largest number of words between.
        shortest: the smallest.
        visits: the probability that a word between is another country's, after "visited".

    Raises:
        InputError: a negative number, shortest above longest, or a probability outside 0 to 1.

    Example:
        >>> task = Agreement(longest=4, shortest=4)
        >>> batch = task.draw(np.random.default_rng(0), 1)
        >>> " ".join(task.symbols[n] for n in batch["tokens"][0]), task.names[batch["target"][0, -1]]
        ('I grew up in Russia visited China we river I speak fluent', 'Russian')

    Olah, Understanding LSTM networks, 2015.
    """

    symbols = _WORDS  # pyright: ignore[reportAssignmentType]
    names = _LANGUAGES  # pyright: ignore[reportAssignmentType]

    longest: int = 30
    shortest: int = 0
    visits: float = 0.1

    def __post_init__(self):
        check_at_least(self, longest=0, shortest=0, visits=0)
        check_range(self, "shortest", "longest")
        if self.visits > 1:
            raise InputError(f"Agreement has visits={self.visits}, it must be a probability")

    def draw(self, rng: np.random.Generator, rows: int) -> Batch:
        word = np.array([_WORDS.index(name) for name in _FILLERS])
        country = np.array([_WORDS.index(name) for name in _COUNTRIES])
        counts = rng.integers(self.shortest, self.longest, rows, endpoint=True)  # [B]
        between = rng.choice(word, (rows, self.longest))  # [B, longest]
        visited = rng.random(between.shape) < self.visits
        visited[:, :1] = False
        visited[:, 1:] &= ~visited[:, :-1]  # no two in a row
        between[visited] = rng.choice(country, int(visited.sum()))
        between[:, :-1][visited[:, 1:]] = _WORDS.index("visited")
        origin = rng.integers(0, len(_COUNTRIES), rows)  # [B]
        begin, end = ([_WORDS.index(name) for name in part] for part in (_BEGIN, _END))
        lengths = counts + len(begin) + 1 + len(end)
        tokens = np.zeros((rows, self.longest + len(begin) + 1 + len(end)), np.int64)  # [B, T]
        tokens[:, : len(begin)] = begin
        tokens[:, len(begin)] = country[origin]
        tokens[:, len(begin) + 1 : len(begin) + 1 + self.longest] = between
        places = (lengths - len(end))[:, None] + np.arange(len(end))  # [B, 3]
        np.put_along_axis(tokens, places, np.broadcast_to(end, places.shape), axis=1)
        mask = np.arange(tokens.shape[1]) == lengths[:, None] - 1
        return as_batch("tokens", tokens, lengths, np.broadcast_to(origin[:, None], tokens.shape), mask)
