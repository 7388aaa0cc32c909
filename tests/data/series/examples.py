"""Small series whose numbers say which item and step they are."""

import numpy as np

from seqjax.data.labels import Labels
from seqjax.data.series import Series

CLASSES = Labels(names=("rest", "walk", "run"))


class Lazy:
    """Items that are given when they are asked for; `asked` keeps what was read."""

    def __init__(self, items, parts=False):
        self.items, self.asked = items, []
        if parts:
            self.read = self.read_part

    def __len__(self):
        return len(self.items)

    def __getitem__(self, n):
        self.asked.append(n)
        return self.items[n]

    def read_part(self, n, begin, end):
        self.asked.append((n, begin, end))
        return self.items[n][begin:end]


def make(lengths=(5, 9, 3, 7), *, lazy=None, targets=True, **options):
    """Step t of item n is (t + 100 n, 101 n)."""
    items = [np.stack([np.arange(n), np.full(n, k)], 1).astype(np.float32) + 100 * k for k, n in enumerate(lengths)]
    generator = np.random.default_rng(0)
    fields = {
        "inputs": {"features": items if lazy is None else lazy(items)},
        "lengths": np.array(lengths),
        "classes": CLASSES,
        "names": tuple("abcdefghijklmnopqrstuvwxyz"[: len(lengths)]),
        "labels": np.arange(len(lengths)) % 3,
        "targets": tuple(np.repeat(generator.integers(-1, 3, n), 2)[:n] for n in lengths) if targets is True else targets or None,
        "record": {"sha256": "0"},
    }
    fields |= {"groups": tuple(f"person {n // 2}" for n in range(len(lengths)))}
    return Series(**fields | options)
