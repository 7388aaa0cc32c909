"""Piano rolls and handwritten digits: files as they come, files that are damaged, and the published ones."""

import gzip

import numpy as np
import pytest
import scipy.io

from seqjax import InputError
from seqjax.data.recordings import mnist, piano_rolls
from seqjax.data.series import FollowingStream, SeriesStream, following


def write_rolls(path, **parts):
    rng, variables = np.random.default_rng(0), {}
    for part, counts in ({"traindata": (5, 3), "validdata": (4,), "testdata": (2, 6)} | parts).items():
        cells = np.empty((1, len(counts)), object)
        cells[0] = [rng.integers(0, 2, (count, 88)) if isinstance(count, int) else count for count in counts]
        variables[part] = cells
    scipy.io.savemat(path, variables)
    return path


def test_rolls_are_read_with_their_split(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(write_rolls(tmp_path / "songs.mat").parent))
    series = piano_rolls.load("~/songs.mat")
    assert series.lengths.tolist() == [5, 3, 4, 2, 6] and series.shapes == {"features": (88,)}
    assert {name: part.tolist() for name, part in series.splits.items()} == {"train": [0, 1], "valid": [2], "test": [3, 4]}
    assert series.classes.names[0] == "21" and series.names[3] == "test 0"


def test_wrong_rolls_are_refused(tmp_path):
    for roll, message in ((np.full((3, 88), 2), "of zeros and ones"), (np.zeros((3, 12)), r"traindata\[1\] has shape \(3, 12\)")):
        with pytest.raises(InputError, match=message):
            piano_rolls.load(write_rolls(tmp_path / "wrong.mat", traindata=(4, roll)))
    with pytest.raises(InputError, match="is missing"):
        piano_rolls.load(tmp_path / "none.mat")


def test_a_piece_is_transposed_as_far_as_every_note_keeps_its_key():
    roll = np.zeros((4, 88), np.uint8)
    roll[np.arange(4), [2, 40, 85, 86]] = 1
    moved = [piano_rolls.Transposed(most=5)({"features": roll}, np.random.default_rng(n))["features"] for n in range(40)]
    shifts = {int(np.flatnonzero(piece[0])[0]) - 2 for piece in moved}
    assert shifts == {-2, -1, 0, 1}
    assert all((piece.argmax(axis=1) - roll.argmax(axis=1) == piece.argmax(axis=1)[0] - 2).all() for piece in moved)
    silent = np.zeros((2, 88), np.uint8)
    assert not piano_rolls.Transposed(most=5)({"features": silent}, np.random.default_rng(0))["features"].any()
    with pytest.raises(InputError, match="most is -1, it must be at least 0"):
        piano_rolls.Transposed(most=-1)


def test_the_target_is_the_next_chord(tmp_path):
    series = piano_rolls.load(write_rolls(tmp_path / "songs.mat")).take([0, 1])
    stream = FollowingStream(stream=SeriesStream(series=series, batch_size=2, seed=0, shapes=(5,)), flags=True)
    batch = stream.batch(3)
    for row, length in enumerate(batch["features_lengths"]):
        roll = series.read(0 if length == 4 else 1)["features"]
        np.testing.assert_array_equal(batch["features"][row, :length], roll[:-1])
        np.testing.assert_array_equal(batch["target"][row, :length], roll[1:] > 0)
        assert batch["target_mask"][row].tolist() == [n < length for n in range(4)]
    padding = following({"features": np.ones((1, 3, 1)), "features_lengths": np.array([0]), "index": np.array([-1])})
    assert padding["features_lengths"].tolist() == [0] and not padding["target_mask"].any() and padding["index"].tolist() == [-1]
    values = FollowingStream(stream=stream.stream)
    assert values.batch(3)["target"].dtype == np.float32 and values.identity != stream.identity


def write_digits(folder, count=4, **damage):
    rng = np.random.default_rng(0)
    for name, rows in (("train", count), ("t10k", 2)):
        images, labels = rng.integers(0, 256, (rows, 28, 28), np.uint8), np.arange(rows, dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            content = damage.get(f"{name}_{kind[:6]}", lambda content: content)(head + array.tobytes())
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
    return folder


def test_digits_are_read_pixel_by_pixel(tmp_path):
    series, other = mnist.load(write_digits(tmp_path)), mnist.load(tmp_path, permuted=True)
    assert series.shapes == {"features": (1,)} and series.lengths.tolist() == [784] * 6
    assert series.labels.tolist() == [0, 1, 2, 3, 0, 1] and series.splits["test"].tolist() == [4, 5]
    order = np.random.default_rng(92916).permutation(784)
    np.testing.assert_array_equal(other.read(3)["features"], series.read(3)["features"][order])
    assert series.identity != other.identity


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            {"train_images": lambda content: content[:-1]},
            "train-images-idx3-ubyte.gz is no idx file of bytes of rank 3",
        ),
        ({"t10k_labels": lambda content: b"\0\0\x0d" + content[3:]}, "t10k-labels-idx1-ubyte.gz is no idx file"),
        ({"t10k_labels": lambda content: content[:7] + b"\x01" + content[8:-1]}, "has 6 images and 5 labels"),
        ({"train_labels": lambda content: b""}, "train-labels-idx1-ubyte.gz is no idx file"),
    ],
)
def test_damaged_digits_are_refused(tmp_path, damage, message):
    with pytest.raises(InputError, match=message):
        mnist.load(write_digits(tmp_path, **damage))


def test_a_file_that_is_not_compressed_is_refused(tmp_path):
    write_digits(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        mnist.load(tmp_path)


def test_published_files(shared_data):
    series = piano_rolls.load(shared_data("poly_music") / "JSB_Chorales.mat")
    assert {name: len(part) for name, part in series.splits.items()} == {"train": 229, "valid": 76, "test": 77}
    digits = mnist.load(shared_data("mnist"))
    assert len(digits) == 70_000 and digits.labels[:5].tolist() == [5, 0, 4, 1, 9] and digits.read(0)["features"].sum() == 27_525
