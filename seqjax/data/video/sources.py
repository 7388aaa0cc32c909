"""Sources of frames that arrive one at a time: a clip, a folder that fills while it is watched, standard input."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, NamedTuple

import numpy as np

from seqjax.checks import as_path
from seqjax.data.video.clips import Size, convert
from seqjax.data.video.flow import optical_flow
from seqjax.data.video.image_clips import decode_image, is_image, natural_order
from seqjax.data.video.places import open_clip
from seqjax.errors import InputError

CHUNK = 2**16  # bytes read at once


class TimedFrame(NamedTuple):
    """A frame, or a vector of numbers, with its time in seconds from the first.

    Example:
        >>> TimedFrame(0.5, np.zeros(3)).seconds
        0.5
    """

    seconds: float
    values: np.ndarray


def clip_frames(path, *, size: Size | None = None, grey: bool = False, rate: float | None = None) -> Iterator[TimedFrame]:
    """The frames of a clip, one at a time.

    Args:
        path: of a video file, a folder or zip of images, an .npy or .npz.
        size: (height, width) to resize to; None: the clip's own.
        grey: True: one channel, else three.
        rate: frames a second of a clip that states none.

    Yields:
        `TimedFrame`: uint8 [H, W, 3 or 1].

    Raises:
        InputError: the clip cannot be read, or states no rate and none is given.
    """
    clip = open_clip(path)
    rate = clip.rate or rate
    if rate is None:
        raise InputError(f"{path} states no frame rate: give one (rate=25)")
    for n, frame in enumerate(clip.decode(0, clip.frames)):
        yield TimedFrame(n / rate, convert(frame, size=size, channels=1 if grey else 3))


def folder_frames(
    folder,
    *,
    size: Size | None = None,
    grey: bool = False,
    rate: float | None = None,
    patience: float = math.inf,
    poll: float = 0.05,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[TimedFrame]:
    """The images in a folder in the order of the numbers in their names, and those that are written there meanwhile.

    An image that is still being written is waited for. One that comes late, with a name before the last one yielded, is left out.

    Args:
        folder: the folder.
        size: (height, width) to resize to; None: the first image's size.
        grey: True: one channel, else three.
        rate: frames a second; None: an image's time is that of its arrival.
        patience: the seconds without a further image after which the source ends.
        poll: the seconds between two looks into the folder.
        clock, sleep: the time in seconds, and a wait.

    Yields:
        `TimedFrame`: uint8 [H, W, 3 or 1].

    Raises:
        InputError: there is no such folder, or an image that no longer grows cannot be decoded.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one that images are written into")
    begin = last_arrival = clock()
    last, count = None, 0
    sizes: dict[str, int] = {}  # of images that could not be decoded yet
    while True:
        names = sorted((path.name for path in folder.iterdir() if is_image(path.name)), key=natural_order)
        waiting = [name for name in names if last is None or natural_order(name) > natural_order(last)]
        for name in waiting:
            data = (folder / name).read_bytes()
            image = decode_image(data, grey=grey) if _is_whole(data) else None
            if image is None:
                if sizes.get(name) != len(data):
                    sizes[name], last_arrival = len(data), clock()
                elif clock() - last_arrival > max(1.0, 2 * poll):
                    raise InputError(f"{folder / name} cannot be decoded as an image, and does not grow any more")
                break
            now = clock()
            begin = now if count == 0 else begin
            frame = convert(image, size=size)
            size = size or (frame.shape[0], frame.shape[1])
            yield TimedFrame(count / rate if rate else now - begin, frame)
            last, count, last_arrival = name, count + 1, clock()
        else:
            if clock() - last_arrival >= patience:
                return
        sleep(poll)


def raw_frames(stream: IO[bytes], *, size: Size, channels: int = 3, rate: float = 25.0) -> Iterator[TimedFrame]:
    """Uncompressed frames of a stream, such as `ffmpeg -f rawvideo -pix_fmt rgb24` (or gray) writes.

    Args:
        stream: of bytes.
        size: (height, width).
        channels: 3 (RGB) or 1.
        rate: frames a second.

    Yields:
        `TimedFrame`: uint8 [height, width, channels].

    Raises:
        InputError: the stream ends within a frame.

    Example:
        >>> import io
        >>> [frame.values.ravel().tolist() for frame in raw_frames(io.BytesIO(bytes(range(4))), size=(1, 2), channels=1)]
        [[0, 1], [2, 3]]
    """
    count = size[0] * size[1] * channels
    n = 0
    while data := _read_fully(stream, count):
        if len(data) < count:
            raise InputError(
                f"the stream ends within frame {n}, after {len(data)} of {count} bytes: check the size {size[0]}x{size[1]} and "
                f"the {channels} channels"
            )
        yield TimedFrame(n / rate, np.frombuffer(data, np.uint8).reshape(*size, channels))
        n += 1


def image_frames(stream: IO[bytes], *, size: Size | None = None, grey: bool = False, rate: float = 25.0) -> Iterator[TimedFrame]:
    """The images of a stream of JPEG or PNG files one after another (MJPEG), such as `ffmpeg -f image2pipe` writes.

    Args:
        stream: of bytes.
        size: (height, width) to resize to; None: the first image's size.
        grey: True: one channel, else three.
        rate: frames a second.

    Yields:
        `TimedFrame`: uint8 [H, W, 3 or 1].

    Raises:
        InputError: bytes that begin no JPEG or PNG, or an image that cannot be decoded or is cut off; names its number.
    """
    buffer, n, ended = b"", 0, False
    while True:
        end = image_end(buffer)
        if end is None:
            if ended:
                break
            more = _read_some(stream)
            ended = not more
            buffer += more
            continue
        image = decode_image(buffer[:end], grey=grey)
        if image is None:
            raise InputError(f"image {n} of the stream cannot be decoded: give JPEG or PNG images one after another")
        frame = convert(image, size=size)
        size = size or (frame.shape[0], frame.shape[1])
        yield TimedFrame(n / rate, frame)
        buffer, n = buffer[end:].lstrip(b"\0\r\n "), n + 1
    if buffer:
        raise InputError(f"the stream ends within image {n}: give JPEG or PNG images one after another")


def number_frames(lines, *, width: int | None = None, rate: float = 25.0) -> Iterator[TimedFrame]:
    """Vectors of numbers, one a line, separated by spaces, tabs, commas or semicolons: poses, features, sensor values.

    Args:
        lines: an iterable of text, such as `sys.stdin`; empty ones are left out.
        width: the number of values in a line; None: that of the first line.
        rate: vectors a second.

    Yields:
        `TimedFrame`: float32 [width].

    Raises:
        InputError: a value that is no finite number, or a line of another width; names the line.

    Example:
        >>> [frame.values.tolist() for frame in number_frames(["1 2.5", "3,4"])]
        [[1.0, 2.5], [3.0, 4.0]]
    """
    n = 0
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").replace(";", " ").replace("\t", " ").split()
        if not words:
            continue
        try:
            values = np.array([float(word) for word in words], np.float32)
        except ValueError as error:
            raise InputError(f"line {number}: {error}") from None
        if not np.isfinite(values).all():
            raise InputError(f"line {number} holds {words[int(np.flatnonzero(~np.isfinite(values))[0])]}: give finite numbers")
        width = width or len(values)
        if len(values) != width:
            raise InputError(f"line {number} holds {len(values)} numbers, it must hold {width}")
        yield TimedFrame(n / rate, values)
        n += 1


def flow_frames(frames: Iterable[TimedFrame], *, grid: Size | None = None) -> Iterator[TimedFrame]:
    """The optical flow of frames that arrive one at a time, each as soon as the next frame is there.

    Args:
        frames: of a source, uint8 [H, W, 1 or 3] each.
        grid: (h, w) that the flow is averaged to; None: one vector a pixel.

    Yields:
        `TimedFrame`: the time of a frame, and the flow to the next, float32 [h, w, 2]; 0 for the last, as of `optical_flow`.

    Example:
        >>> frames = [TimedFrame(t / 2, np.zeros((16, 16, 1), np.uint8)) for t in range(3)]
        >>> [(frame.seconds, frame.values.shape) for frame in flow_frames(frames, grid=(2, 2))]
        [(0.0, (2, 2, 2)), (0.5, (2, 2, 2)), (1.0, (2, 2, 2))]
    """
    before = None
    for frame in frames:
        if before is not None:
            yield TimedFrame(before.seconds, optical_flow(np.stack([before.values, frame.values]), grid=grid)[0])
        before = frame
    if before is not None:
        yield TimedFrame(before.seconds, optical_flow(before.values[None], grid=grid)[0])


def image_end(data: bytes) -> int | None:
    """The end of the JPEG or PNG at the beginning of some bytes; None if it is not among them yet.

    Args:
        data: bytes.

    Returns:
        A position, at most len(data).

    Raises:
        InputError: the bytes begin no JPEG or PNG.

    Example:
        >>> image_end(bytes.fromhex("ffd8ffd900"))
        4
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        place = 8
        while len(data) >= place + 8:
            length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
            place += 12 + length
            if kind == b"IEND":
                return place if len(data) >= place else None
        return None
    if data[:2] == b"\xff\xd8":
        return _jpeg_end(data)
    if any(start.startswith(data[:8]) for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8")):
        return None
    raise InputError(f"the stream holds {data[:4].hex(' ')} where a JPEG or PNG should begin")


def _jpeg_end(data: bytes) -> int | None:
    place = 2
    while True:
        place = data.find(b"\xff", place)  # compressed data between segments holds ff only before 00 or a restart marker
        if place < 0 or place + 2 > len(data):
            return None
        marker = data[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker == 0xFF:
            place += 1
        elif marker == 0 or 0xD0 <= marker <= 0xD7 or marker == 1:
            place += 2
        elif place + 4 > len(data):
            return None
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _is_whole(data: bytes) -> bool:
    """False for a JPEG or PNG that is cut off; true for any other format, which the decoder judges."""
    try:
        return bool(data) and image_end(data) is not None
    except InputError:
        return True


def _read_some(stream: IO[bytes]) -> bytes:
    read = getattr(stream, "read1", stream.read)  # what is there, without waiting for the rest
    return read(CHUNK)


def _read_fully(stream: IO[bytes], count: int) -> bytes:
    data = bytearray()
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    return bytes(data)
