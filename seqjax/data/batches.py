"""Batches and streams of batches. Each batch is a function of its position, so that a run can resume at any step."""

import abc
import sys
from collections.abc import Callable

import numpy as np

from seqjax.checks import as_integer, shown
from seqjax.errors import InputError

Batch = dict[str, np.ndarray]


class Stream(abc.ABC):
    """An endless stream of training batches; batch i is a pure function of the stream and i.

    A subclass defines `batch`, `identity` and `steps_per_epoch`. The state of an iterator is its position, one integer,
    which can be saved as JSON and is valid in every stream of equal identity. Where `threads` is above 0, that many threads make
    batches ahead of the one that is asked for; the batches and their order stay the same.

    Example:
        >>> class Counting(Stream):
        ...     steps_per_epoch = 3
        ...     identity = {"begins": 0}
        ...     def batch(self, index):
        ...         return {"tokens": np.array([[index]])}
        >>> iterator = iter(Counting())
        >>> iterator.set_state({"next_index": 2})
        >>> next(iterator)["tokens"].tolist(), iterator.get_state()
        ([[2]], {'next_index': 3})
    """

    @property
    @abc.abstractmethod
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch."""

    @property
    @abc.abstractmethod
    def identity(self) -> dict:
        """Everything besides its position that a batch depends on, as JSON-able values; data by their SHA-256."""

    @abc.abstractmethod
    def batch(self, index: int) -> Batch:
        """The batch at a position.

        Args:
            index: the position, counted from the beginning of the first epoch, at least 0.

        Returns:
            A dict of NumPy arrays, each [B, ...].

        Raises:
            InputError: the position is not an integer of at least 0.
        """

    @property
    def threads(self) -> int:
        """The number of threads that make batches ahead; 0 where the data are in memory and a batch takes microseconds."""
        return 0

    def __iter__(self):
        """A grain iterator over the batches from position 0, with `get_state()` and `set_state({"next_index": position})`."""
        return ahead(self.batch, sys.maxsize, self.threads)


def as_position(index) -> int:
    """The position of a batch as an int; refuses anything but an integer of at least 0."""
    position = as_integer(index)
    if position is None or position < 0:
        raise InputError(f"the position of a batch is {shown(index)}, it must be an integer of at least 0")
    return position


def ahead(batch: Callable[[int], Batch], count: int, threads: int):
    """A grain iterator over batches, made in threads ahead of the one that is asked for.

    Args:
        batch: a function from a position to a batch; several threads may call it at once.
        count: the number of positions.
        threads: the number of threads, each with one more batch waiting; 0: every batch is made when it is asked for.

    Returns:
        The iterator, with `get_state()` and `set_state({"next_index": position})`.

    Example:
        >>> [batch["tokens"].tolist() for batch in ahead(lambda n: {"tokens": np.full(2, n)}, 2, 1)]
        [[0, 0], [1, 1]]
    """
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(grain.MapDataset.range(count).map(batch).to_iter_dataset(options))
