"""Parts of sequences that are read when they are needed."""

from collections.abc import Sequence
from typing import overload

import numpy as np


class Parts(Sequence[np.ndarray]):
    """Some items of a lazily read sequence, whole or cut.

    Args:
        whole: the sequence; if it has a method `read(n, begin, end)`, a part is read without the rest of its item.
        indices: the item of `whole` that each part is taken from, [N].
        begins, ends: the part's place in that item, [N]; None: every item is whole.

    Example:
        >>> parts = Parts([np.arange(5), np.arange(9)], [1, 0], [2, 0], [6, 3])
        >>> parts[0].tolist(), parts.read(1, 1, 3).tolist()
        ([2, 3, 4, 5], [1, 2])
    """

    def __init__(self, whole: Sequence[np.ndarray], indices, begins=None, ends=None):
        self._whole, self._indices, self._begins, self._ends = whole, indices, begins, ends

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Parts": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            cut = [None if side is None else side[index] for side in (self._begins, self._ends)]
            return Parts(self._whole, self._indices[index], *cut)
        item = int(self._indices[index])
        if self._begins is None or self._ends is None:
            return self._whole[item]
        return read_part(self._whole, item, int(self._begins[index]), int(self._ends[index]))

    def read(self, index: int, begin: int, end: int) -> np.ndarray:
        """The steps from `begin` to before `end` of a part, [end - begin, ...]."""
        offset = 0 if self._begins is None else int(self._begins[index])
        return read_part(self._whole, int(self._indices[index]), offset + begin, offset + end)


class Thinned(Sequence[np.ndarray]):
    """Every so many-th step of the items of a lazily read sequence.

    Args:
        whole: the sequence.
        lengths: of its items, int [N].
        every: at least 1.

    Example:
        >>> Thinned([np.arange(6)], np.array([6]), 2)[0].tolist()
        [0, 2, 4]
    """

    def __init__(self, whole: Sequence[np.ndarray], lengths: np.ndarray, every: int):
        self._whole, self._lengths, self._every = whole, lengths, every

    def __len__(self) -> int:
        return len(self._whole)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Thinned": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return Thinned(self._whole[index], self._lengths[index], self._every)
        return self.read(index, 0, -(-int(self._lengths[index]) // self._every))

    def read(self, index: int, begin: int, end: int) -> np.ndarray:
        """The steps from `begin` to before `end` that are left of an item, [end - begin, ...]."""
        last = min((end - 1) * self._every + 1, int(self._lengths[index]))
        return read_part(self._whole, index, begin * self._every, max(last, begin * self._every))[:: self._every]


def read_part(sequence: Sequence[np.ndarray], index: int, begin: int, end: int) -> np.ndarray:
    """The steps from `begin` to before `end` of an item, by the sequence's own `read` if it has one.

    Args:
        sequence: items [T_n, ...].
        index: the item.
        begin, end: 0 <= begin <= end <= T_n.

    Returns:
        [end - begin, ...].

    Example:
        >>> read_part([np.arange(5)], 0, 1, 3).tolist()
        [1, 2]
    """
    read = getattr(sequence, "read", None)
    return np.asarray(read(index, begin, end) if read is not None else sequence[index][begin:end])
