"""Handwritten digits as sequences of pixels (MNIST), in order or permuted."""

import gzip
from pathlib import Path

import numpy as np

from seqjax.data.array_files import DAMAGES, digest_of, file_in
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.errors import InputError

FILES = {"train": "train", "test": "t10k"}


def load(folder, *, permuted: bool = False, seed: int = 92916) -> Series:
    """The digits, row by row from the upper left pixel to the lower right, one pixel a step.

    Args:
        folder: holds the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-...
        permuted: whether the pixels of all images are in one random order.
        seed: of that order.

    Returns:
        A `Series` with a class an item and the published split; its input is `features` uint8 [784, 1], 0 to 255.

    Raises:
        InputError: a file is missing or damaged.

    LeCun, Bottou, Bengio, Haffner 1998 (the data); Le, Jaitly, Hinton 2015 (as sequences).
    """
    paths = {
        (split, kind): file_in(folder, f"{name}-{kind}-ubyte.gz", what="MNIST")
        for split, name in FILES.items()
        for kind in ("images-idx3", "labels-idx1")
    }
    arrays = {key: _read(path, 3 if key[1] == "images-idx3" else 1) for key, path in paths.items()}
    images = np.concatenate([arrays[split, "images-idx3"] for split in FILES])
    pixels = images.reshape(len(images), -1, 1)  # [N, T, 1]
    if permuted:
        pixels = pixels[:, np.random.default_rng(seed).permutation(pixels.shape[1])]
    labels = np.concatenate([arrays[split, "labels-idx1"] for split in FILES])
    if len(labels) != len(pixels):
        raise InputError(f"{folder} has {len(pixels)} images and {len(labels)} labels: restore the files")
    counts = {split: len(arrays[split, "labels-idx1"]) for split in FILES}
    return Series(
        inputs={"features": tuple(pixels)},
        lengths=np.full(len(pixels), pixels.shape[1]),
        classes=Labels(names=tuple(map(str, range(10)))),
        names=tuple(f"{split} {number}" for split, count in counts.items() for number in range(count)),
        labels=labels,
        record={"source": "MNIST, permuted" if permuted else "MNIST", "sha256": digest_of(paths.values())},
        splits={"train": np.arange(counts["train"]), "test": counts["train"] + np.arange(counts["test"])},
    )


def _read(path: Path, rank: int) -> np.ndarray:
    """The array of an idx file of bytes: a magic number 0 0 8 rank, the sizes as big-endian int32, the bytes."""
    try:
        content = gzip.decompress(path.read_bytes())
    except DAMAGES as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    sizes = np.frombuffer(content[4 : 4 * (1 + rank)], ">i4") if len(content) >= 4 * (1 + rank) else np.zeros(0, int)
    if content[:4] != bytes([0, 0, 8, rank]) or int(np.prod(sizes)) != len(content) - 4 * (1 + rank):
        raise InputError(f"{path} is no idx file of bytes of rank {rank}, or is cut off")
    return np.frombuffer(content, np.uint8, offset=4 * (1 + rank)).reshape(sizes)
