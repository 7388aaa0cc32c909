"""Video files: described without decoding them, and decoded by OpenCV a window at a time; the codec of one that cannot be."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqjax.data.video.clips import Clip, UnreadableClip, file_digest, opencv

POSITION, RATE, COUNT = 1, 5, 7  # OpenCV's CAP_PROP_POS_FRAMES, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT
HEADER = 2**22  # bytes searched at either end of a file


@dataclass(frozen=True, kw_only=True)
class VideoClip(Clip):
    """A video file, decoded by OpenCV; opened by `open_video`.

    Args:
        seekable: True: a window is read from the key frame before it; False: from the file's beginning.
    """

    seekable: bool = True
    states_rate = True

    def decode(self, begin: int, end: int) -> Iterator[np.ndarray]:
        capture = _capture(self.path)
        try:
            if begin and self.seekable:
                capture.set(POSITION, begin)
            elif not all(capture.grab() for _ in range(begin)):
                return
            for _ in range(end - begin):
                decoded, frame = capture.read()
                if not decoded:
                    return
                yield frame[..., ::-1]
        finally:
            capture.release()


def open_video(path) -> VideoClip:
    """The description of a video file: MP4, AVI, GIF, or what else OpenCV opens.

    The number of frames in the header is checked by seeking to the last one. Where that frame is missing, or is not the last,
    all are decoded once and counted, and windows are read from the beginning.

    Args:
        path: of the file.

    Returns:
        A `VideoClip`; its rate is None where the header states none.

    Raises:
        UnreadableClip: the file is empty, of no known format, of a codec that cannot be decoded (named), or without a frame.
    """
    if not os.path.getsize(path):
        raise UnreadableClip(f"{path} is empty")
    capture = _capture(path)
    try:
        decoded, frame = capture.read()
        if not decoded:
            raise UnreadableClip(f"{path} holds no frame that can be decoded{_named_codec(path)}")
        rate = float(capture.get(RATE))
        count = int(capture.get(COUNT))
        seekable = 0 < count < 10**9
        if seekable and count > 1:
            capture.set(POSITION, count - 1)
            seekable = capture.grab() and not capture.grab()
        if not seekable:
            capture.release()
            capture = _capture(path)
            count = 0
            while capture.grab():
                count += 1
    finally:
        capture.release()
    height, width = frame.shape[:2]
    return VideoClip(
        path=str(path),
        frames=count,
        height=height,
        width=width,
        channels=3,
        rate=rate if 0 < rate < 1000 else None,
        digest=file_digest(path),
        seekable=seekable,
    )


def codec_of(path) -> str | None:
    """The codec named in a video file's header.

    Args:
        path: of an AVI, MP4, MOV, MKV or WebM file; it need not be decodable.

    Returns:
        The four-character code, such as "MJPG", or Matroska's longer name, such as "V_AV1"; None if none is found.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.avi")
        >>> _ = path.write_bytes(b"RIFF....AVI LIST....hdrlstrh8\\0\\0\\0vidsMJPG")
        >>> codec_of(path)
        'MJPG'
    """
    with Path(path).open("rb") as file:
        begin = file.read(HEADER)
        size = file.seek(0, 2)
        file.seek(max(len(begin), size - HEADER))
        data = begin + file.read()
    if data[:4] == b"RIFF":
        code = re.search(rb"strh.{4}vids(.{4})", data, re.DOTALL)
    elif data[:4] == b"\x1aE\xdf\xa3":
        code = re.search(rb"\x86.(V_[A-Z0-9_/]+)", data, re.DOTALL)
    else:  # boxes of ISO media; the sample description of a video track follows its handler's name
        code = re.search(rb"hdlr.{8}vide.*?stsd.{12}(.{4})", data, re.DOTALL)
    return code[1].decode("latin-1").strip("\0 ") if code else None


def _capture(path):
    with opencv() as cv2:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise UnreadableClip(f"{path} cannot be opened as a video{_named_codec(path)}")
    return capture


def _named_codec(path) -> str:
    codec = codec_of(path)
    return f": its codec is {codec}, which OpenCV cannot read here (try MJPG, mp4v or VP80)" if codec else ""
