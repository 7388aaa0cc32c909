"""Readers of compressed files refuse a damaged one in one line, whichever part of Python finds the damage."""

import gzip
import io
import pathlib
import zipfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from seqjax import InputError
from seqjax.data.array_files import npz_arrays
from seqjax.data.recordings import mnist, piano_rolls
from seqjax.data.series.files import read_item
from seqjax.data.strokes import load_omniglot, load_stroke3
from seqjax.data.video.array_clips import open_array
from seqjax.data.video.image_clips import open_images

RNG = np.random.default_rng(0)


def rolls(path):
    cells = np.empty((1, 1), object)
    cells[0, 0] = RNG.integers(0, 2, (20, 88))
    scipy.io.savemat(path, dict.fromkeys(piano_rolls.PARTS, cells), do_compression=True)
    return piano_rolls.load


def arrays(path):
    np.savez_compressed(path, features=RNG.integers(0, 9, (200, 4)), length=[200])
    return npz_arrays


def item(path):
    np.save(path, RNG.normal(size=(3, 2)))
    return read_item


def digits(path):
    for name in (f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")):
        shape = (3, 28, 28) if "images" in name else (3,)
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
        content = gzip.compress(head + RNG.integers(0, 4, shape, np.uint8).tobytes(), mtime=0)
        (path if name == path.name else path.with_name(name)).write_bytes(content)
    return lambda path: mnist.load(path.parent)


def drawings(path):
    arrays = {f"{split}_{part}": part for split in ("train", "valid", "test") for part in ("strokes", "length")}
    values = {"strokes": RNG.integers(0, 2, (30, 3)), "length": np.array([30])}
    np.savez_compressed(path, **{name: values[part] for name, part in arrays.items()})
    return load_stroke3


def pen_strokes(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "strokes/Latin/character01/0001_01.txt", "START\n" + "".join(f"{n},{-n},{n}\n" for n in range(60)) + "BREAK\n"
        )
    return load_omniglot


def array_clip(path):
    np.savez_compressed(path, frames=RNG.integers(0, 9, (4, 8, 8), np.uint8), rate=5.0)
    return lambda path: open_array(path).read()


def image_clip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(2):
            file = io.BytesIO()
            Image.fromarray(RNG.integers(0, 9, (8, 8), np.uint8)).save(file, "bmp")
            archive.writestr(f"{n}.bmp", file.getvalue())
    return lambda path: open_images(path, ["0.bmp", "1.bmp"]).read()


FILES = {
    "a.mat": rolls,
    "a.npz": arrays,
    "a.npy": item,
    "train-images-idx3-ubyte.gz": digits,
    "drawings.npz": drawings,
    "strokes.zip": pen_strokes,
    "clip.npz": array_clip,
    "images.zip": image_clip,
}


@pytest.mark.filterwarnings("ignore")  # of SciPy and NumPy, which guess
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    path = pathlib.Path(tmp_path, name)
    read = FILES[name](path)
    read(path)
    whole, refused = path.read_bytes(), 0
    for place in RNG.integers(0, len(whole), 60):
        content = bytearray(whole)
        content[place] ^= 1 << int(RNG.integers(8))
        path.unlink()
        path.write_bytes(content)
        try:
            read(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused
