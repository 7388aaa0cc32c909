"""Batches, and the streams that give them: each batch is a function of its position, so that a run can resume anywhere."""

import abc
import sys

import numpy as np

Batch = dict[str, np.ndarray]


class Stream(abc.ABC):
    """An endless stream of training batches; batch i is a pure function of the stream and i.

    A subclass gives `batch`, `identity` and `steps_per_epoch`. The iterator's state is its position, one integer: it can
    be saved as JSON, and is valid for every stream of an equal identity.

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
        """Batches in an epoch."""

    @property
    @abc.abstractmethod
    def identity(self) -> dict:
        """Everything that a batch depends on besides its position, as JSON-able values; data as a SHA-256."""

    @abc.abstractmethod
    def batch(self, index: int) -> Batch:
        """The batch at a position.

        Args:
            index: position since the beginning of the first epoch, at least 0.

        Returns:
            A dict of NumPy arrays, each [B, ...].
        """

    def __iter__(self):
        """A grain iterator over the batches from position 0, with `get_state()` and `set_state({"next_index": position})`."""
        import grain

        # the data is in memory and a batch takes microseconds: no reading threads, as grain advises then
        options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        return iter(grain.MapDataset.range(sys.maxsize).map(self.batch).to_iter_dataset(options))
