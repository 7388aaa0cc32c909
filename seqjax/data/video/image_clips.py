"""Clips whose frames are image files, in a folder or in a zip."""

import functools
import hashlib
import io
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from seqjax.data.array_files import DAMAGES
from seqjax.data.video.clips import Clip, UnreadableClip, file_digest, opencv
from seqjax.errors import InputError
from seqjax.extras import from_extra

IMAGES = frozenset((".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
GREY = ("1", "L", "I;16", "I")  # modes of Pillow


def natural_order(name: str) -> list:
    """A key for sorting names by the numbers in them.

    Example:
        >>> sorted(["f10.png", "f9.png"], key=natural_order)
        ['f9.png', 'f10.png']
    """
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def is_image(name: str) -> bool:
    """True for a name with the suffix of an image, unless it is hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def decode_image(data: bytes, *, grey: bool = False) -> np.ndarray | None:
    """An encoded image (JPEG, PNG, ...) as an array.

    Args:
        data: the bytes of the file.
        grey: True: one channel.

    Returns:
        uint8 [H, W, 3], RGB, or [H, W, 1]; None if it cannot be decoded.

    Example:
        >>> decode_image(b"no image") is None
        True
    """
    with opencv() as cv2:
        flags = (cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
        except cv2.error:
            image = None
    if image is None:
        return None
    return image[..., None] if grey else image[..., ::-1]


@dataclass(frozen=True, kw_only=True)
class ImageClip(Clip):
    """Images in the order of the numbers in their names; opened by `open_images`.

    Args:
        names: of the images in the folder or zip `path`.
    """

    names: tuple[str, ...] = ()

    def decode(self, begin: int, end: int) -> Iterator[np.ndarray]:
        for name in self.names[begin:end]:
            image = decode_image(_bytes_of(self.path, name), grey=self.channels == 1)
            if image is None:
                raise UnreadableClip(f"{self.path}: frame {name} cannot be decoded")
            if image.shape[:2] != (self.height, self.width):
                raise InputError(_other_size(self.path, name, image.shape[:2], self.names[0], (self.height, self.width)))
            yield image


def open_images(path, names: Sequence[str]) -> ImageClip:
    """The description of a clip of images; only their headers are read.

    Args:
        path: of a folder or a zip.
        names: the images' names in it, in any order.

    Returns:
        An `ImageClip` without a rate.

    Raises:
        UnreadableClip: there is no image, or the header of one cannot be read (named).
        InputError: an image has another size than the first (named).
    """
    with from_extra("vision"):
        from PIL import Image

    names = sorted(names, key=natural_order)
    if not names:
        raise UnreadableClip(f"{path} holds no image")
    size, channels, digest = None, 1, hashlib.sha256()
    for name in names:
        try:
            with _opened(path, name) as file, Image.open(file) as image:
                found, mode = (image.height, image.width), image.mode
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise UnreadableClip(f"{path}: frame {name} cannot be read as an image") from None
        size = size or found
        if found != size:
            raise InputError(_other_size(path, name, found, names[0], size))
        channels = channels if mode in GREY else 3
        digest.update(f"{name}:{_digest_of(path, name)}\n".encode())
    assert size is not None
    return ImageClip(
        path=str(path),
        frames=len(names),
        height=size[0],
        width=size[1],
        channels=channels,
        digest=digest.hexdigest(),
        names=tuple(names),
    )


def images_of_zip(path) -> dict[str, list[str]]:
    """The images in a zip, by the folder that they lie in.

    Args:
        path: of the zip.

    Returns:
        {folder: names of its images}; the folder is "" at the zip's top.

    Raises:
        UnreadableClip: the file is not a zip.
    """
    folders: dict[str, list[str]] = {}
    for name in filter(is_image, _archive(path).namelist()):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return folders


def _other_size(path, name, size, first, first_size) -> str:
    sizes = f"{size[0]}x{size[1]}", f"{first_size[0]}x{first_size[1]}"
    return f"{path}: frame {name} is {sizes[0]}, {first} is {sizes[1]}: all frames of a clip must have one size"


def _archive(path) -> zipfile.ZipFile:
    return _open_archive(str(path), os.stat(path).st_mtime_ns, os.getpid())


@functools.lru_cache(maxsize=32)
def _open_archive(path: str, changed: int, process: int) -> zipfile.ZipFile:
    """An open zip, for all threads of one process; a zip that has changed since is opened anew."""
    try:
        return zipfile.ZipFile(path)
    except DAMAGES:
        raise UnreadableClip(f"{path} is not a zip") from None


def _opened(path, name: str):
    if os.path.isdir(path):
        return Path(path, name).open("rb")
    return io.BytesIO(_bytes_of(path, name))


def _bytes_of(path, name: str) -> bytes:
    if os.path.isdir(path):
        return Path(path, name).read_bytes()
    archive = _archive(path)
    try:
        return archive.read(name)
    except DAMAGES:
        raise UnreadableClip(f"{path}: frame {name} cannot be unpacked") from None


def _digest_of(path, name: str) -> str:
    if os.path.isdir(path):
        return file_digest(Path(path, name))
    info = _archive(path).getinfo(name)
    return f"{info.file_size} {info.CRC:08x}"
