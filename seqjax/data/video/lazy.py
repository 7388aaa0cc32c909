"""Sequences of clips' frames and flow that are read when they are needed, whole or a window at a time."""

import dataclasses
import hashlib
import threading
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from seqjax.data.series import Series
from seqjax.data.series.parts import read_part
from seqjax.data.video.clips import Clip, Size
from seqjax.data.video.flow import optical_flow

KEPT = 2**28  # bytes of clips kept in memory


class LazyClips(Sequence):
    """Clips that are read when they are needed; `read` gives a window of one without the rest.

    Example:
        >>> class Counting(LazyClips):
        ...     lengths, frame_shape, dtype = [3, 5], (1, 1, 1), np.uint8
        ...     def read(self, n, begin, end):
        ...         return np.arange(begin, end, dtype=np.uint8).reshape(-1, 1, 1, 1)
        >>> Counting()[1].ravel().tolist(), Counting().read(1, 2, 4).ravel().tolist()
        ([0, 1, 2, 3, 4], [2, 3])
    """

    lengths: Sequence[int]
    frame_shape: tuple[int, ...]
    dtype: type

    @abstractmethod
    def read(self, n: int, begin: int, end: int) -> np.ndarray:
        """The steps begin to end of item n, [end - begin, *frame_shape]."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, n) -> np.ndarray:
        n = range(len(self.lengths))[n]  # IndexError outside, which ends an iteration
        return self.read(n, 0, int(self.lengths[n]))


class Frames(LazyClips):
    """The frames of clips in one size.

    Args:
        clips: returned by `open_clip`.
        size: (height, width).
        channels: 1 (grey) or 3.
        every: one of so many frames is kept.
    """

    dtype = np.uint8

    def __init__(self, clips: Sequence[Clip], *, size: Size, channels: int, every: int = 1):
        self.clips, self.every = tuple(clips), every
        self.frame_shape = (*size, channels)
        self.lengths = [-(-clip.frames // every) for clip in self.clips]

    def read(self, n: int, begin: int, end: int) -> np.ndarray:
        clip, every = self.clips[n], self.every
        *size, channels = self.frame_shape
        stop = max(begin * every, min((end - 1) * every + 1, clip.frames))
        return clip.read(begin * every, stop, step=every, size=(size[0], size[1]), channels=channels)


class Flow(LazyClips):
    """The optical flow of clips, `optical_flow` of each, computed when it is needed.

    Args:
        frames: the clips, uint8 [T, H, W, 1 or 3] each.
        lengths: their numbers of frames.
        grid: (h, w) that the flow is averaged to; None: one vector a pixel.
    """

    dtype = np.float32

    def __init__(self, frames: Sequence[np.ndarray], lengths: Sequence[int], *, grid: Size | None = None):
        self.frames, self.lengths, self.grid = frames, lengths, grid
        self.frame_shape = (*(grid or read_part(frames, 0, 0, 1).shape[1:3]), 2)

    def read(self, n: int, begin: int, end: int) -> np.ndarray:
        frames = read_part(self.frames, n, begin, min(end + 1, int(self.lengths[n])))
        return optical_flow(frames, grid=self.grid)[: end - begin]


def with_flow(series: Series, grid: Size | None = None, *, keep: int = KEPT) -> Series:
    """Clips with their optical flow beside their frames.

    Args:
        series: with an input `frames`, uint8 [T, H, W, 1 or 3].
        grid: (h, w) that the flow is averaged to; None: one vector a pixel.
        keep: bytes of flow that may stay in memory.

    Returns:
        The series with an input `flow`, float32 [T, h, w, 2], computed when it is needed.
    """
    flow = Kept(Flow(series.inputs["frames"], series.lengths.tolist(), grid=grid), keep)
    digest = hashlib.sha256(f"{series.identity['series']} {grid}".encode()).hexdigest()
    return dataclasses.replace(series, inputs={**series.inputs, "flow": flow}, record=series.record | {"sha256": digest})


class Kept(LazyClips):
    """Lazily read clips of which those read first stay in memory, as many as a number of bytes holds.

    Args:
        clips: the clips.
        limit: the number of bytes.
    """

    def __init__(self, clips: LazyClips, limit: int):
        self.clips, self.limit = clips, limit
        self.lengths, self.frame_shape, self.dtype = clips.lengths, clips.frame_shape, clips.dtype
        self._whole: dict[int, np.ndarray] = {}
        self._used = 0
        self._lock = threading.Lock()

    def read(self, n: int, begin: int, end: int) -> np.ndarray:
        if n in self._whole:
            return self._whole[n][begin:end]
        size = int(self.lengths[n] * np.prod(self.frame_shape) * np.dtype(self.dtype).itemsize)
        if self._used + size > self.limit:
            return self.clips.read(n, begin, end)
        whole = self.clips[n]
        whole.flags.writeable = False
        with self._lock:
            if n not in self._whole and self._used + size <= self.limit:
                self._whole[n] = whole
                self._used += size
        return whole[begin:end]

    def __getstate__(self):
        return {"clips": self.clips, "limit": self.limit}

    def __setstate__(self, state):
        self.__init__(**state)
