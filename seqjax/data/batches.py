"""Batches and streams of batches. Each batch is a function of its position, so that a run can resume at any step."""

import abc
import sys

import numpy as np

Batch = dict[str, np.ndarray]


class Stream(abc.ABC):
    """An endless stream of training batches; batch i is a pure function of the stream and i.

    A subclass defines `batch`, `identity` and `steps_per_epoch`. The state of an iterator is its position, one integer,
    which can be saved as JSON and is valid in every stream of equal identity.

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
        """

    def __iter__(self):
        """A grain iterator over the batches from position 0, with `get_state()` and `set_state({"next_index": position})`."""
        import grain

        # The data is in memory and a batch takes microseconds; for this case grain advises against threads.
        options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        return iter(grain.MapDataset.range(sys.maxsize).map(self.batch).to_iter_dataset(options))
