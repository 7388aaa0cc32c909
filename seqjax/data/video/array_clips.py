"""Clips stored as NumPy arrays, in .npy or .npz; a window is read without the rest."""

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from seqjax.data.array_files import DAMAGES
from seqjax.data.video.clips import Clip, UnreadableClip, file_digest
from seqjax.errors import InputError

FRAMES = "frames"  # the array's name in an .npz that holds several


@dataclass(frozen=True, kw_only=True)
class ArrayClip(Clip):
    """An array of frames; opened by `open_array`."""

    def decode(self, begin: int, end: int) -> Iterator[np.ndarray]:
        with _array_file(self.path) as file:
            shape, fortran, dtype = _header(file)
            if fortran:
                raise UnreadableClip(f"{self.path} is in Fortran order: save np.ascontiguousarray(frames)")
            size = int(np.prod(shape[1:])) * dtype.itemsize
            _skip(file, begin * size)
            for _ in range(begin, end):
                data = file.read(size)
                if len(data) < size:
                    return
                frame = np.frombuffer(data, dtype).reshape(self.height, self.width, -1)
                yield _as_bytes(frame, self.path)[..., :3]


def open_array(path) -> ArrayClip:
    """The description of an .npy or .npz of frames; only the header is read.

    The array is [T, H, W], [T, H, W, 1] or [T, H, W, 3] (RGB): uint8, bool (a silhouette: True is 255), or floats from 0 to 1.
    An .npz holds it alone or under the name "frames", and its rate, if it has one, under "rate".

    Args:
        path: of the file.

    Returns:
        An `ArrayClip`.

    Raises:
        UnreadableClip: no array can be read, it has no frame, or another shape or dtype.
    """
    try:
        with _array_file(path) as file:
            shape, _, dtype = _header(file)
        rate = _rate(path)
    except DAMAGES as error:
        reason = str(error) if isinstance(error, InputError) else f"{path} cannot be read as an array of frames"
        raise UnreadableClip(reason) from None
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or channels not in (1, 3) or not (dtype in (np.uint8, np.bool_) or dtype.kind == "f"):
        raise UnreadableClip(
            f"{path} holds {dtype} {list(shape)}: it must be uint8, bool or floats, [T, H, W] or [T, H, W, 1 or 3]"
        )
    if 0 in shape:
        raise UnreadableClip(f"{path} holds no frame: its array is {list(shape)}")
    return ArrayClip(
        path=str(path),
        frames=shape[0],
        height=shape[1],
        width=shape[2],
        channels=channels,
        rate=rate,
        digest=hashlib.sha256(f"{shape}{dtype}{file_digest(path)}".encode()).hexdigest(),
    )


def _as_bytes(frame: np.ndarray, path) -> np.ndarray:
    if frame.dtype == np.uint8:
        return frame
    values = frame.astype(np.float32)
    if not (np.min(values) >= 0 and np.max(values) <= 1):  # False for NaN too
        raise InputError(f"{path} holds floats outside 0 to 1: scale them, or save uint8")
    return np.rint(values * 255).astype(np.uint8)


@contextlib.contextmanager
def _array_file(path) -> Iterator[IO[bytes]]:
    """The bytes of the array in a file, in the .npy format."""
    if Path(path).suffix.lower() == ".npy":
        with Path(path).open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name != "rate.npy"]
            name = f"{FRAMES}.npy" if len(names) != 1 else names[0]
            if name not in names:
                raise InputError(f"{path} holds {', '.join(names) or 'nothing'}: name the array of frames {FRAMES!r}")
            with archive.open(name) as file:
                yield file
    except InputError:
        raise
    except DAMAGES:
        raise UnreadableClip(f"{path} cannot be unpacked") from None


def _skip(file: IO[bytes], count: int):
    """Moves on by some bytes, in small pieces where they must be decompressed."""
    if not isinstance(file, zipfile.ZipExtFile):
        file.seek(count, 1)
        return
    while count > 0 and (piece := file.read(min(count, 2**18))):
        count -= len(piece)


def _header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}.get(version[0])
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    return read(file)


def _rate(path) -> float | None:
    if Path(path).suffix.lower() == ".npy":
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return float(arrays["rate"]) if "rate" in arrays else None
