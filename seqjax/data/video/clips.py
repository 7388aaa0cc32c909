"""Clips: video files, folders and zips of images, and arrays; described without decoding, read a window at a time."""

import abc
import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seqjax.errors import InputError
from seqjax.extras import from_extra

Size = tuple[int, int]  # (height, width)


class UnreadableClip(InputError):
    """A clip that cannot be decoded, or that has no frame.

    Example:
        >>> issubclass(UnreadableClip, InputError)
        True
    """


@dataclass(frozen=True, kw_only=True)
class Clip(abc.ABC):
    """A clip whose frames are decoded when they are read.

    Args:
        path: of the file or folder, for messages.
        frames: the number of frames, at least 1.
        height, width: of a frame, in pixels.
        channels: 1 (grey) or 3 (RGB).
        rate: frames a second; None if the file states none.
        digest: SHA-256 of the file's name, size, beginning and end, or of what its container says of it.
    """

    path: str
    frames: int
    height: int
    width: int
    channels: int
    rate: float | None = None
    digest: str = ""
    states_rate: ClassVar[bool] = False  # True for formats that have a place for the rate

    @abc.abstractmethod
    def decode(self, begin: int, end: int) -> Iterator[np.ndarray]:
        """The frames from begin to end, one at a time: uint8 [height, width, channels], fewer if the file ends early."""

    def read(
        self, begin: int = 0, end: int | None = None, *, step: int = 1, size: Size | None = None, channels: int | None = None
    ) -> np.ndarray:
        """The frames begin, begin + step, ... below end; nothing else is kept in memory.

        Args:
            begin, end: frame numbers, 0 <= begin <= end <= frames; None: the clip's end.
            step: at least 1.
            size: (height, width) to resize to; None: the clip's own.
            channels: 1 (grey) or 3 (RGB); None: the clip's own.

        Returns:
            uint8 [n, height, width, channels].

        Raises:
            InputError: a range outside the clip.
            UnreadableClip: the file ends before its header says.
        """
        end = self.frames if end is None else end
        if not (0 <= begin <= end <= self.frames and step >= 1):
            raise InputError(f"{self.path}: frames {begin} to {end} by {step} do not lie in its {self.frames}")
        height, width = size or (self.height, self.width)
        count = -(-(end - begin) // step)
        channels = channels or self.channels
        frames = np.empty((count, height, width, channels), np.uint8)
        position = -1
        for position, frame in enumerate(self.decode(begin, end)):
            if position % step == 0:
                frames[position // step] = convert(frame, size=(height, width), channels=channels)
        if position + 1 < end - begin:
            raise UnreadableClip(
                f"{self.path} ends after frame {begin + position}, its header promises {self.frames} frames: write it anew"
            )
        return frames


class _Quiet:
    """The log level of OpenCV, which all threads share: silent while one of them is in the context."""

    def __init__(self):
        self.lock, self.inside, self.level = threading.Lock(), 0, 0

    def enter(self, logging):
        with self.lock:
            if self.inside == 0:
                self.level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
            self.inside += 1

    def leave(self, logging):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                logging.setLogLevel(self.level)


_QUIET = _Quiet()


@contextlib.contextmanager
def opencv() -> Iterator[Any]:
    """A context that gives OpenCV's module and keeps it from writing to stderr; errors name the file in one line instead."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with from_extra("vision"):
        import cv2
    module: Any = cv2
    _QUIET.enter(module.utils.logging)
    try:
        yield module
    finally:
        _QUIET.leave(module.utils.logging)


def convert(frame: np.ndarray, *, size: Size | None = None, channels: int | None = None) -> np.ndarray:
    """A frame in another size, or with another number of channels.

    Args:
        frame: uint8 [h, w, 1 or 3], RGB.
        size: (height, width), averaged over areas where it shrinks; None: as it is.
        channels: 1: grey, by luminance; 3: RGB; None: as it is.

    Returns:
        uint8 [height, width, 1 or 3].

    Example:
        >>> convert(np.full((4, 4, 3), 7, np.uint8), size=(2, 2), channels=1)[..., 0].tolist()
        [[7, 7], [7, 7]]
    """
    with from_extra("vision"):
        import cv2

    if channels == 1 and frame.shape[-1] == 3:
        frame = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    if size is not None and size != frame.shape[:2]:
        shrinks = size[0] <= frame.shape[0] and size[1] <= frame.shape[1]
        frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    frame = frame.reshape(*frame.shape[:2], -1)
    return np.repeat(frame, 3, -1) if channels == 3 and frame.shape[-1] == 1 else frame


def file_digest(path, extent: int = 2**16) -> str:
    """SHA-256 of a file's size, its beginning and its end, so that a large file need not be read.

    Args:
        path: of the file.
        extent: the number of bytes read at either end.

    Returns:
        Hexadecimal digits.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.bin")
        >>> _ = path.write_bytes(b"abc")
        >>> file_digest(path)[:8]
        '7b0393be'
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(extent)
        file.seek(max(extent, size - extent))
        return hashlib.sha256(str(size).encode() + head + file.read(extent)).hexdigest()
