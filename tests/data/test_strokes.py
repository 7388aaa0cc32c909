"""Pen strokes: points at equal distances that no later stroke changes, the drawers of a split, distortions, and refusals."""

import io
import itertools
import zipfile

import numpy as np
import pytest

from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.strokes import (
    DistortedStrokes,
    first_strokes,
    growing_drawings,
    load_omniglot,
    load_stroke3,
    read_drawing,
    stroke_ends,
)
from seqjax.errors import InputError


def text_of(strokes):
    lines = ["START"]
    for points in strokes:
        lines += [f"{x:.9f},{y:.9f},{n}" for n, (x, y) in enumerate(points)] + ["BREAK"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def drawing():
    """Three strokes of 2 to 40 points."""
    draw = np.random.default_rng(0)
    return [draw.normal(size=(count, 2)).cumsum(axis=0) * 3 for count in (40, 2, 15)]


def test_every_stroke_is_walked_from_end_to_end_in_equal_steps(drawing):
    features = read_drawing(text_of(drawing), spacing=2.0)
    places = features[:, :2].astype(float).cumsum(axis=0) * 2.0 + drawing[0][0]  # [T, 2]
    ends = stroke_ends(features)
    assert len(ends) == 3 and ends[-1] == len(features)
    np.testing.assert_allclose(features[:, 3:] * 10 * 2.0, places - drawing[0][0], atol=1e-4)
    for stroke, begin, end in zip(drawing, [0, *ends[:-1]], ends, strict=True):
        walked = places[begin:end]
        np.testing.assert_allclose(walked[[0, -1]], stroke[[0, -1]], atol=1e-4)
        length = np.hypot(*np.diff(stroke, axis=0).T).sum()
        assert len(walked) == max(round(length / 2.0), 1) + 1
        for place in walked:  # on the stroke: the least distance to its line segments is 0
            distances = []
            for a, b in itertools.pairwise(stroke):
                t = np.clip((place - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
                distances.append(np.hypot(*(place - a - t * (b - a))))
            assert min(distances) < 1e-4


def test_later_strokes_change_no_earlier_point(drawing):
    whole = read_drawing(text_of(drawing))
    for count in (1, 2):
        part = read_drawing(text_of(drawing[:count]))
        np.testing.assert_array_equal(part, whole[: stroke_ends(whole)[count - 1]])
    np.testing.assert_array_equal(read_drawing(text_of(drawing).strip().removesuffix("BREAK")), whole)


def test_a_drawing_grows_by_a_stroke_at_a_time(drawing):
    lines = (text_of(drawing) + "\n" + text_of(drawing[1:])).splitlines()
    grown = list(growing_drawings(lines))
    assert [count for count, _ in grown] == [1, 2, 3, 1, 2]
    for (_, points), strokes in zip(grown, (drawing[:1], drawing[:2], drawing, drawing[1:2], drawing[1:]), strict=True):
        np.testing.assert_array_equal(points, read_drawing(text_of(strokes)))


def test_the_beginnings_of_a_series_of_drawings(drawing):
    items = [read_drawing(text_of(strokes)) for strokes in (drawing, drawing[1:2])]
    series = Series(
        inputs={"features": items},
        lengths=np.array([len(item) for item in items]),
        classes=Labels(names=("a", "b")),
        names=("x", "y"),
        labels=np.array([0, 1]),
    )
    beginnings, counts = first_strokes(series)
    assert counts.tolist() == [3, 1] and beginnings.labels.tolist() == [0, 0, 0, 1]
    for n, strokes in enumerate((drawing[:1], drawing[:2], drawing, drawing[1:2])):
        np.testing.assert_array_equal(beginnings.read(n)["features"], read_drawing(text_of(strokes)))


def test_a_point_alone_is_a_stroke():
    assert read_drawing("START\n5,5,0\n5,5,9\nBREAK\n").tolist() == [[0, 0, 1, 0, 0]]


@pytest.fixture
def omniglot(tmp_path):
    """A zip of two characters of each of two alphabets, of seven drawers each."""
    path, draw = tmp_path / "strokes.zip", np.random.default_rng(1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("strokes/.DS_Store", "")
        archive.writestr("__MACOSX/strokes/A/x.txt", "junk")
        for alphabet in ("Alpha", "Beta"):
            for character in ("character01", "character02"):
                for drawer in range(1, 8):
                    strokes = text_of([draw.normal(size=(3, 2)) * 20])
                    archive.writestr(f"strokes/{alphabet}/{character}/01_{drawer:02}.txt", strokes)
    return path


def test_the_last_drawers_of_each_alphabet_are_test(omniglot):
    series = load_omniglot(omniglot)
    assert len(series) == 28 and len(series.classes) == 4 and len(set(series.groups)) == 14
    held_out = {f"{alphabet}/{n:02}" for alphabet in ("Alpha", "Beta") for n in range(3, 8)}
    assert {series.groups[n] for n in series.splits["test"]} == held_out
    assert not held_out & {series.groups[n] for n in series.splits["train"]}
    for name, label in zip(series.names, series.labels, strict=True):
        assert name.startswith(series.classes.names[label] + "/01_")
    with zipfile.ZipFile(omniglot) as archive:
        text = archive.read(f"strokes/{series.names[5]}.txt").decode()
    np.testing.assert_array_equal(series.read(5)["features"], read_drawing(text))


def test_omniglot_has_twenty_drawers_of_136_characters(shared_data):
    series = load_omniglot(shared_data("omniglot") / "strokes_background_small1.zip")
    assert (len(series), len(series.classes), len(series.splits["test"])) == (2720, 136, 680)
    assert np.bincount(series.labels).tolist() == [20] * 136


def test_stroke_3_files_hold_drawings_without_classes(tmp_path):
    draw, arrays = np.random.default_rng(2), {}
    for split, lengths in (("train", [4, 3]), ("valid", [2]), ("test", [5])):
        arrays |= {f"{split}_strokes": draw.integers(-90, 90, (sum(lengths), 3)).astype(np.int16), f"{split}_length": lengths}
        arrays[f"{split}_strokes"][:, 2] %= 2
    np.savez(tmp_path / "sheep.npz", **arrays)
    series = load_stroke3(tmp_path / "sheep.npz")
    scale = series["train"].record["scale"]
    assert scale == pytest.approx(arrays["train_strokes"][:, :2].std()) and series["train"].labels is None
    second = arrays["train_strokes"][4:].astype(np.float32) / np.array([scale, scale, 1], np.float32)
    np.testing.assert_allclose(series["train"].read(1)["features"], second, rtol=1e-6)
    assert {split: part.lengths.tolist() for split, part in series.items()} == {"train": [4, 3], "valid": [2], "test": [5]}


def test_distortion_is_one_linear_map_of_a_drawing_and_noise_of_its_points(drawing):
    inputs = {"features": read_drawing(text_of(drawing))}
    steady = DistortedStrokes(turn=0.3, stretch=0.2, shear=0.2, shake=0.0)(inputs, np.random.default_rng(3))["features"]
    moves = inputs["features"][:, :2].astype(float)
    matrix, residual, *_ = np.linalg.lstsq(moves, steady[:, :2].astype(float), rcond=None)
    assert residual.max() < 1e-6 and not np.allclose(matrix, np.eye(2), atol=0.01)
    np.testing.assert_array_equal(steady[:, 2], inputs["features"][:, 2])
    np.testing.assert_allclose(steady[:, 3:], steady[:, :2].cumsum(axis=0) / 10, atol=1e-5)
    same = DistortedStrokes(turn=0.0, stretch=0.0, shear=0.0, shake=0.0)(inputs, np.random.default_rng(3))["features"]
    np.testing.assert_allclose(same, inputs["features"], atol=1e-6)
    assert DistortedStrokes.of_strength(2.0) == DistortedStrokes(turn=0.3, stretch=0.3, shear=0.2, shake=0.2)
    long = {"features": np.zeros((5000, 3), np.float32)}
    shaken = DistortedStrokes(turn=0.0, stretch=0.0, shear=0.0, shake=0.5)(long, np.random.default_rng(3))["features"]
    assert shaken[:, :2].std() == pytest.approx(0.5, rel=0.05) and shaken.dtype == np.float32


def zipped(path, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


REFUSALS = {
    "a line that is no point": (lambda _: read_drawing("START\n1,2,3\none,2,3"), "line 3 is 'one,2,3': a line is START, BREAK"),
    "NaN": (lambda _: read_drawing("nan,2,3"), "line 1 is 'nan,2,3'"),
    "one number": (lambda _: read_drawing("1"), "line 1 is '1'"),
    "no point": (lambda _: read_drawing("START\nBREAK\n"), "there is no point in the drawing"),
    "no spacing": (lambda _: read_drawing("1,2,3", spacing=0), "spacing is 0, it must be above 0"),
    "a missing zip": (lambda folder: load_omniglot(folder / "no.zip"), "no.zip does not exist: give Omniglot's zip"),
    "no zip": (lambda folder: load_omniglot(saved(folder / "x.npy.zip.npz", a=1).with_suffix(".no")), "does not exist"),
    "a zip of other files": (lambda folder: load_omniglot(zipped(folder / "a.zip", **{"a.txt": ""})), "holds no alphabet"),
    "a bad drawing": (
        lambda folder: load_omniglot(zipped(folder / "a.zip", **{"s/A/c1/01_01.txt": "START\nhello"})),
        "a.zip: A/c1/01_01.txt: line 2 is 'hello'",
    ),
    "a missing file": (lambda folder: load_stroke3(folder / "no.npz"), "no.npz does not exist"),
    "no npz": (lambda folder: load_stroke3(zipped(folder / "a.npz", b="c")), "a.npz"),
    "no arrays": (lambda folder: load_stroke3(saved(folder / "a.npz", x=np.zeros(2))), "has no train_strokes and train_length"),
    "a negative deviation": (lambda _: DistortedStrokes(shear=-1.0), "shear is -1.0, it must be at least 0"),
}


@pytest.mark.parametrize(("call", "message"), REFUSALS.values(), ids=REFUSALS)
def test_wrong_input_is_refused_in_one_line(tmp_path, call, message):
    with pytest.raises(InputError) as error:
        call(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bytes_that_are_no_archive_are_refused(tmp_path):
    (tmp_path / "bad.zip").write_bytes(io.BytesIO(b"no zip").getvalue())
    for load in (load_omniglot, load_stroke3):
        with pytest.raises(InputError, match=r"bad\.zip"):
            load(tmp_path / "bad.zip")
