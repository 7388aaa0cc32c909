"""Clips found in a file, a folder or a zip, whatever their format."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from seqjax.checks import as_path
from seqjax.data.video.array_clips import open_array
from seqjax.data.video.clips import Clip, UnreadableClip
from seqjax.data.video.image_clips import images_of_zip, is_image, natural_order, open_images
from seqjax.data.video.video_files import open_video
from seqjax.errors import InputError

ARRAYS = frozenset((".npy", ".npz"))
VIDEOS = frozenset(
    (".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg")
) | {".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"}


class Place(NamedTuple):
    """A clip's name, with its folders, and a function that opens it."""

    name: str
    open: Callable[[], Clip]


def open_clip(path) -> Clip:
    """The description of one clip: a video file, a folder or zip of images, an .npy or .npz.

    Args:
        path: of the file or folder.

    Returns:
        A `Clip`; its `read` decodes frames.

    Raises:
        InputError: there is nothing, several clips, or a clip that cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> path = pathlib.Path(tempfile.mkdtemp(), "clip.npy")
        >>> np.save(path, np.arange(96, dtype=np.uint8).reshape(6, 4, 4))
        >>> clip = open_clip(path)
        >>> clip.frames, clip.read(2, 4)[:, 0, 0, 0].tolist()
        (6, [32, 48])
    """
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path} is missing: give a video file, a folder or zip of images, an .npy or .npz")
    places = find_clips(path)
    if len(places) != 1:
        raise InputError(f"{path} holds {len(places)} clips: give one video file, folder or zip of images, .npy or .npz")
    return places[0].open()


def find_clips(root) -> list[Place]:
    """The clips in a folder or zip, in the order of the numbers in their names; none is opened.

    A clip is a video file, an .npy or .npz, a folder of images, or a zip with one such folder; a zip with several folders of
    images holds a clip in each.

    Args:
        root: of the folder or file.

    Returns:
        A list of (name, function that opens the clip); a name is the path in the root.
    """
    root = as_path(root)
    return list(_folder_places(root, "") if root.is_dir() else _file_places(root, root.name))


def _folder_places(folder: Path, prefix: str) -> Iterator[Place]:
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda e: natural_order(e.name))
    images = [entry.name for entry in entries if is_image(entry.name) and entry.is_file()]
    if images or (prefix and not entries):
        yield Place(prefix or folder.name, partial(open_images, folder, images))
    for entry in entries:
        name = f"{prefix}/{entry.name}".lstrip("/")
        if entry.is_dir():
            yield from _folder_places(entry, name)
        else:
            yield from _file_places(entry, name)


def _file_places(path: Path, name: str) -> Iterator[Place]:
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        yield Place(name, partial(open_video, path))
    elif suffix in ARRAYS:
        yield Place(name, partial(open_array, path))
    elif suffix == ".zip":
        try:
            folders = images_of_zip(path)
        except UnreadableClip:
            yield Place(name, partial(_open_zip, path))
            return
        if len(folders) < 2:
            yield Place(name, partial(_open_zip, path))
        for inner in sorted(folders, key=natural_order) if len(folders) > 1 else ():
            outer = name.removesuffix(path.suffix) + "/" if "/" in name or name != path.name else ""
            yield Place(outer + (inner or path.stem), partial(open_images, path, folders[inner]))


def _open_zip(path: Path) -> Clip:
    return open_images(path, next(iter(images_of_zip(path).values()), ()))
