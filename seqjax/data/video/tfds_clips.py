"""Video data sets of TensorFlow Datasets, such as UCF101."""

import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqjax.data import tfds
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.video.clips import Clip, Size, UnreadableClip
from seqjax.data.video.image_clips import GREY, decode_image
from seqjax.data.video.lazy import KEPT, Frames, Kept, with_flow
from seqjax.errors import InputError
from seqjax.extras import from_extra

INSTEAD = "a folder of clips"


@dataclass(frozen=True, kw_only=True, eq=False)
class TfdsClip(Clip):
    """An example of tfds whose images are decoded when they are read.

    Args:
        source: of examples with encoded images.
        index: of the example.
        feature: the name of its images.
    """

    source: Any
    index: int
    feature: str

    def decode(self, begin: int, end: int) -> Iterator[np.ndarray]:
        for image in self.source[self.index][self.feature][begin:end]:
            yield _decoded(image, self.channels, self.path)


def load_tfds(
    name: str,
    *,
    data_dir=None,
    size: Size | None = None,
    grey: bool = False,
    flow: bool = False,
    grid: Size | None = None,
    every: int = 1,
    rate: float | None = None,
    keep: int = KEPT,
) -> Series:
    """A video data set of tfds, one that has a video, or a sequence of images, and a class: "ucf101/ucf101_1_256".

    All examples are read once to count their frames; images are decoded when they are needed. tfds does not say who is in a clip,
    so each is a group; use the published splits. tfds's `Video` feature, which UCF101 has, needs TensorFlow: `seqjax[tfds-tf]`,
    and ffmpeg to prepare the data.

    Args:
        name: the data set's name in tfds.
        data_dir: the folder where tfds stores data; None: tfds's default.
        size, grey, flow, grid, every, keep: as in `load_clips`.
        rate: frames a second, which tfds does not store; None: unknown.

    Returns:
        A `Series` with inputs `frames`, uint8 [T, H, W, C], and `flow` if asked for, and the published splits.

    Raises:
        InputError: an unknown name, no network, TensorFlow missing where it is needed, no video or no class among the features,
            or clips of different sizes without `size`.
    """
    with from_extra("vision"):
        import cv2  # noqa: F401 (before anything is downloaded)

    clips: list[Clip] = []
    labels, splits = [], {}
    with tfds.one_line(name, what="video", instead=INSTEAD):
        (video, label, classes), sources = tfds.open_sources(name, data_dir, _choose, undecoded=lambda chosen: chosen[:1])
        for split, source in sources.items():
            first = len(clips)
            for index in range(len(source)):
                example = source[index]
                clips.append(_clip(f"{name} {split}/{index}", source, index, video, example[video]))
                labels.append(int(example[label]))
            splits["valid" if split == "validation" else split] = np.arange(first, len(clips))
    if not clips:
        raise InputError(f"tfds video {name} holds no clip (try another name, or {INSTEAD})")
    other = next((clip for clip in clips if (clip.height, clip.width) != (clips[0].height, clips[0].width)), None)
    if other is not None and size is None:
        sizes = [f"{clip.path} is {clip.height}x{clip.width}" for clip in (clips[0], other)]
        raise InputError(f"{', '.join(sizes)}: give the size that all are resized to")
    channels = 1 if grey else max(clip.channels for clip in clips)
    size = size or (clips[0].height, clips[0].width)
    frames = Kept(Frames(clips, size=size, channels=channels, every=every), keep)
    digest = hashlib.sha256(f"{size} {channels} {every}".encode() + "".join(clip.digest for clip in clips).encode())
    series = Series(
        inputs={"frames": frames},
        lengths=np.array(frames.lengths),
        classes=Labels(names=tuple(classes)),
        labels=np.array(labels),
        names=tuple(clip.path.removeprefix(f"{name} ") for clip in clips),
        rate=None if rate is None else rate / every,
        record={
            "source": f"tfds:{name}",
            "sha256": digest.hexdigest(),
            "clips": len(clips),
            "frames": int(sum(frames.lengths)),
            "skipped": 0,
        },
        splits=splits,
    )
    return with_flow(series, grid, keep=keep) if flow else series


def _choose(features: dict, keys) -> tuple[str, str, list[str]]:
    """The names of the video and of its class, and the classes."""
    from tensorflow_datasets.core.features import ClassLabel, Image, Sequence

    videos = [name for name, one in features.items() if isinstance(one, Sequence) and isinstance(one.feature, Image)]
    labels = [name for name, one in features.items() if isinstance(one, ClassLabel)]
    if len(videos) != 1 or len(labels) != 1:
        raise InputError(f"its features are {', '.join(features)}, and one video and one class are needed")
    return videos[0], labels[0], list(features[labels[0]].names)


def _clip(path: str, source, index: int, feature: str, images) -> Clip:
    if not len(images):
        raise UnreadableClip(f"{path} holds no frame")
    height, width, channels = _shape(images[0], path)
    checksums = ",".join(f"{len(image)} {zlib.crc32(image):08x}" for image in map(bytes, images))
    return TfdsClip(
        path=path,
        frames=len(images),
        height=height,
        width=width,
        channels=channels,
        digest=hashlib.sha256(checksums.encode()).hexdigest(),
        source=source,
        index=index,
        feature=feature,
    )


def _shape(image, path: str) -> tuple[int, int, int]:
    """Height, width and channels, from the header of an encoded image."""
    with from_extra("vision"):
        from PIL import Image

    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1], image.shape[2]
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.height, opened.width, 1 if opened.mode in GREY else 3
    except OSError:
        raise UnreadableClip(f"{path}: frame 0 cannot be decoded") from None


def _decoded(image, channels: int, path: str) -> np.ndarray:
    array = image if isinstance(image, np.ndarray) else decode_image(image, grey=channels == 1)
    if array is None:
        raise UnreadableClip(f"{path} holds an image that cannot be decoded")
    return array
