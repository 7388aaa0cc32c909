"""Timelines, confusion matrices and curves as pictures: what is drawn at a place is what was given."""

import matplotlib.image
import numpy as np
import pytest

from seqjax import inspect
from seqjax.errors import InputError
from seqjax.inspect import activities

CLASSES = ("fall", "grow", "a name much longer than any place for it could hold $x$")
DPI = 120


def pixels(path):
    """The picture as [height, width, 3], 0 to 1."""
    return matplotlib.image.imread(path)[..., :3]


def test_bars_and_frames_are_where_their_times_are(tmp_path):
    truth = np.repeat([0, -1, 1, 2], 10)
    scores = np.full((40, 3), 0.1)
    scores[np.arange(40), np.repeat([2, 0], 20)] = 0.8
    frames = np.zeros((40, 8, 8, 1), np.uint8)
    frames[20:] = 255
    inspect.timeline(tmp_path / "a.png", classes=CLASSES, scores=scores, rate=10.0, frames=frames, truth=truth)
    picture = pixels(tmp_path / "a.png")
    tiles, strip = activities._strip(frames)
    colours = activities.class_colours(3)
    columns = [round((activities.LEFT + activities.PLOT * (t + 0.3) / 4) * DPI) for t in range(4)]
    top = 0.1 + strip
    true_row, predicted_row = (round((top + (y + 0.2) * (activities.BAR + activities.GAP)) * DPI) for y in (0, 1))
    white = (1, 1, 1)
    for column, expected in zip(columns, [colours[0], white, colours[1], colours[2]], strict=True):
        np.testing.assert_allclose(picture[true_row, column], expected, atol=0.01)
    for column, expected in zip(columns, [colours[2], colours[2], colours[0], colours[0]], strict=True):
        np.testing.assert_allclose(picture[predicted_row, column], expected, atol=0.01)
    middle = round((0.1 + strip / 2) * DPI)
    edges = activities.LEFT + activities.PLOT * (np.arange(len(tiles)) + 0.5) / len(tiles)
    shades = [float(picture[middle, round(edge * DPI)].mean()) for edge in edges]
    assert shades == [float(tile[0, 0]) for tile in tiles] and shades[0] == 0 and shades[-1] == 1


@pytest.mark.parametrize("steps", [1, 2500])
@pytest.mark.parametrize(
    "frames",
    [None, np.zeros((0, 4, 4)), np.random.default_rng(0).normal(size=(3, 6, 20, 3)), np.ones((2, 9, 4), bool)],
    ids=["none", "empty", "RGB of any range", "silhouettes"],
)
def test_any_length_and_any_frames_are_drawn(tmp_path, steps, frames):
    classes = [f"class {i}" for i in range(50)]
    scores = np.random.default_rng(0).normal(size=(steps, 50))
    inspect.timeline(tmp_path / "a.png", classes=classes, scores=scores, frames=frames, title="$ a title $")
    assert pixels(tmp_path / "a.png").std() > 0.05


def test_a_lazy_sequence_of_frames_is_read_only_where_it_is_drawn(tmp_path):
    read = set()

    class Frames:
        def __len__(self):
            return 1000

        def __getitem__(self, i):
            if not 0 <= i < 1000:
                raise IndexError
            read.add(i)
            return np.full((6, 6), 100, np.uint8)

    inspect.timeline(tmp_path / "a.png", classes=CLASSES, scores=np.full((100, 3), 0.3), frames=Frames())
    assert 4 <= len(read) <= activities.MOST_TILES + 1


def test_colours_differ():
    for count in (1, 10, 20, 21, 101):
        assert len(set(activities.class_colours(count))) == count


def test_squares_of_a_confusion_matrix_are_as_dark_as_their_shares(tmp_path):
    matrix = np.zeros((31, 31), int)  # too many for numbers in the squares
    matrix[:10, 0], matrix[10:20, 30] = 7, 3
    inspect.confusion(tmp_path / "a.png", matrix, [f"c{i}" for i in range(31)])
    picture = pixels(tmp_path / "a.png").sum(axis=2)
    dark = np.isclose(pixels(tmp_path / "a.png"), (8 / 255, 48 / 255, 107 / 255), atol=0.01).all(axis=2)
    rows, columns = np.nonzero(dark[:, : int(0.91 * dark.shape[1])])  # without the colour bar
    left = columns < (columns.min() + columns.max()) / 2
    assert dark.sum() > 200 and rows[left].max() <= rows[~left].min() and picture.max() == 3
    inspect.confusion(tmp_path / "b.png", [[3, 1], [0, 0]], CLASSES[1:], title="two")
    assert np.isclose(pixels(tmp_path / "b.png"), 0.88, atol=0.01).all(axis=2).sum() > 500  # the class without examples


def test_curves_of_seeds_have_a_band(tmp_path):
    x = np.arange(1, 11) * 10
    seeds = np.linspace(0.2, 0.9, 10) + np.array([[-0.1], [0.1]])
    inspect.accuracy_curves(tmp_path / "a.png", {"several": (x, seeds)}, xlabel="% seen", chance=0.1)
    inspect.accuracy_curves(tmp_path / "b.png", {"the mean of them": (x, seeds.mean(axis=0))}, xlabel="% seen", title="b")
    coloured = [(np.ptp(pixels(tmp_path / name), axis=2) > 0.05).sum() for name in ("a.png", "b.png")]
    assert coloured[0] > 3 * coloured[1] > 0
    inspect.accuracy_curves(tmp_path / "c.png", {"a name that is far too long for the side": ([1], [0.5])}, xlabel="strokes")


SCORES = np.full((4, 3), 0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: inspect.timeline(path, classes=CLASSES[:2], scores=SCORES), r"they must be \[T, 2\] for 2 classes"),
        (lambda path: inspect.timeline(path, classes=CLASSES, scores=SCORES[:0]), "T >= 1"),
        (lambda path: inspect.timeline(path, classes=CLASSES, scores=SCORES * np.nan), "scores hold NaN in frame 0"),
        (lambda path: inspect.timeline(path, classes=CLASSES, scores=SCORES, rate=0.0), "rate is 0.0"),
        (lambda path: inspect.timeline(path, classes=CLASSES, scores=SCORES, truth=[0, 1]), r"the true labels have shape \(2,\)"),
        (lambda path: inspect.timeline(path, classes=CLASSES, scores=SCORES, predicted=[0, 1, 2, 3]), "hold class 3"),
        (lambda path: inspect.timeline(path, classes=CLASSES, scores=SCORES, frames=np.zeros((4, 5))), "a frame has shape"),
        (lambda path: inspect.confusion(path, np.eye(2), CLASSES), "3 classes need"),
        (lambda path: inspect.confusion(path, -np.eye(3), CLASSES), "negative"),
        (lambda path: inspect.accuracy_curves(path, {}, xlabel="x"), "no curves"),
        (lambda path: inspect.accuracy_curves(path, {"a": ([1, 2], [1])}, xlabel="x"), "curve 'a'"),
    ],
)
def test_wrong_input_is_refused(tmp_path, call, message):
    with pytest.raises(InputError, match=message):
        call(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
