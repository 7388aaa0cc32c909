"""Drawings as pen strokes: Omniglot's zip, and the stroke-3 files of sketch-rnn."""

import dataclasses
import hashlib
import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_path, check_array
from seqjax.data.array_files import DAMAGES
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.splits import SPLITS
from seqjax.errors import InputError
from seqjax.values import Value

PLACES = 10  # units of places, in units of moves
TEST_DRAWERS = 5  # of Omniglot's 20 drawers of an alphabet, the last ones


def load_omniglot(path: str | Path, *, spacing: float = 5.0) -> Series:
    """Loads Omniglot's drawings of characters from a zip of pen strokes; the class is the character.

    A file of the zip is `alphabet/character/number_drawer.txt`, see `read_drawing`. The drawers of each alphabet are other
    people: a group is a drawer of an alphabet. The last five drawers of each alphabet are the split "test".

    Args:
        path: the zip, as Omniglot publishes it.
        spacing: see `read_drawing`.

    Returns:
        Series with the input "features", float32 [T, 5] of each drawing.

    Raises:
        InputError: the zip is missing or damaged, has no drawings, or a drawing cannot be read (named).

    Lake, Salakhutdinov, Tenenbaum 2015, "Human-level concept learning through probabilistic program induction".
    """
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: give Omniglot's zip of pen strokes, such as strokes_background_small1.zip")
    content, drawings = path.read_bytes(), {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in sorted(archive.namelist()):
                parts = PurePosixPath(name).parts
                if len(parts) >= 3 and name.endswith(".txt") and parts[0] != "__MACOSX":
                    drawings[parts[-3:]] = archive.read(name).decode("utf-8", "replace")
    except DAMAGES as error:
        raise InputError(f"{path} cannot be unpacked: {error}") from None
    if not drawings:
        raise InputError(f"{path} holds no alphabet/character/number_drawer.txt: give Omniglot's zip of pen strokes")
    features, groups, labels = [], [], []
    classes = Labels.of(f"{alphabet}/{character}" for alphabet, character, _ in drawings)
    numbers = {name: n for n, name in enumerate(classes.names)}
    for (alphabet, character, file), text in drawings.items():
        try:
            features.append(read_drawing(text, spacing=spacing))
        except InputError as error:
            raise InputError(f"{path}: {alphabet}/{character}/{file}: {error}") from None
        groups.append(f"{alphabet}/{file.removesuffix('.txt').rpartition('_')[2]}")
        labels.append(numbers[f"{alphabet}/{character}"])
    drawers = {alphabet: sorted({group for group in groups if group.startswith(f"{alphabet}/")}) for alphabet, *_ in drawings}
    held_out = {group for names in drawers.values() for group in names[len(names) - min(TEST_DRAWERS, len(names) - 1) :]}
    in_test = np.array([group in held_out for group in groups])
    return Series(
        inputs={"features": features},
        lengths=np.array([len(points) for points in features]),
        classes=classes,
        names=tuple("/".join(parts).removesuffix(".txt") for parts in drawings),
        groups=tuple(groups),
        labels=np.array(labels),
        record=_record(path, content, features) | {"spacing": spacing},
        splits={"train": np.flatnonzero(~in_test), "test": np.flatnonzero(in_test)},
    )


def load_stroke3(path: str | Path) -> dict[str, Series]:
    """Loads drawings without classes from a stroke-3 file: for each split, all points in one array, and the drawings' lengths.

    Args:
        path: an .npz with `train_strokes` [all points, 3] (dx, dy, 1 where the pen is lifted after the point) and
            `train_length` [N], and likewise valid and test.

    Returns:
        A Series for each split, with the input "features", float32 [T, 3]: moves are divided by the standard deviation of the
        training moves, which the record holds as "scale".

    Raises:
        InputError: the file is missing, no .npz, or its arrays do not fit together.

    Ha, Eck 2017, "A neural representation of sketch drawings", arXiv:1704.03477.
    """
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: give an .npz of stroke-3 drawings")
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except DAMAGES as error:
        raise InputError(f"{path} is not an .npz of stroke-3 drawings: {error}") from None
    points, lengths = {}, {}
    for split in SPLITS:
        points[split], lengths[split] = arrays.get(f"{split}_strokes"), arrays.get(f"{split}_length")
        if points[split] is None or lengths[split] is None:
            raise InputError(f"{path} has no {split}_strokes and {split}_length: its arrays are {', '.join(arrays) or 'none'}")
        if points[split].ndim != 2 or points[split].shape[1] != 3 or lengths[split].sum() != len(points[split]):
            shapes = f"{points[split].shape}, and lengths of {lengths[split].sum()} points in all"
            raise InputError(f"{path} has {split}_strokes of shape {shapes}: the shape must be [all points, 3]")
    scale, series = float(points["train"][:, :2].std()) or 1.0, {}
    for split in SPLITS:
        scaled = (points[split] / np.array([scale, scale, 1.0])).astype(np.float32)  # [all points, 3]
        features = np.split(scaled, np.cumsum(lengths[split])[:-1])
        series[split] = Series(
            inputs={"features": features},
            lengths=lengths[split],
            classes=Labels(names=(path.stem,)),
            names=tuple(f"{split}/{n}" for n in range(len(features))),
            record=_record(path, content, features) | {"scale": scale},
        )
    return series


@public
def read_drawing(text: str, *, spacing: float = 5.0) -> np.ndarray:
    """A drawing in Omniglot's form as points at equal distances along its strokes.

    The text has the line START, then `x,y,milliseconds` for each point of the pen, and BREAK at the end of each stroke. A point
    is (dx, dy, lifted, x, y): its move from the point before, 1 where the pen is lifted after it, and its place seen from the
    first point. Moves are in units of `spacing`, places in units of ten. No point depends on later strokes, so that the
    points of the first strokes are the first points of the whole drawing.

    Args:
        text: the lines; the last stroke may lack its BREAK.
        spacing: the distance of two points of a stroke, nearly: every stroke keeps both of its ends.

    Returns:
        float32, [T, 5].

    Raises:
        InputError: a line is none of these (with its number), no point is in it, or the spacing is not above 0.

    Example:
        >>> read_drawing("START\\n0,0,0\\n10,0,50\\nBREAK\\n10,20,90\\nBREAK")[:, :3].tolist()
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 4.0, 1.0]]
    """
    if not spacing > 0:
        raise InputError(f"spacing is {spacing}, it must be above 0")
    strokes: list[list[tuple[float, float]]] = [[]]
    for n, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word == "BREAK":
            strokes.append([])
        elif word and word != "START":
            strokes[-1].append(_point(word, n))
    placed = [_evenly(np.array(points), spacing) for points in strokes if points]  # each [n, 2]
    if not placed:
        raise InputError("there is no point in the drawing: give lines x,y,milliseconds")
    points = np.concatenate(placed)  # [T, 2]
    moves = np.diff(points, axis=0, prepend=points[:1]) / spacing  # [T, 2]
    lifted = np.zeros(len(points))  # [T]
    lifted[np.cumsum([len(stroke) for stroke in placed]) - 1] = 1
    return np.column_stack([moves, lifted, moves.cumsum(axis=0) / PLACES]).astype(np.float32)


def growing_drawings(lines: Iterable[str], *, spacing: float = 5.0) -> Iterator[tuple[int, np.ndarray]]:
    """Drawings while they are drawn: an iterator that gives the strokes so far at the end of every stroke.

    Args:
        lines: START before each drawing, and the lines of `read_drawing`, as they come.
        spacing: see `read_drawing`.

    Returns:
        An iterator over (number of strokes, float32 [T, 5]).

    Raises:
        InputError: as for `read_drawing`; the line is counted from START.

    Example:
        >>> lines = ["START", "0,0,0", "10,0,50", "BREAK", "10,20,90", "BREAK"]
        >>> [(count, len(points)) for count, points in growing_drawings(lines)]
        [(1, 3), (2, 4)]
    """
    drawing, count = [], 0
    for line in map(str.strip, lines):
        if line == "START":
            drawing, count = [line], 0
        else:
            drawing.append(line)
        if line == "BREAK":
            count += 1
            yield count, read_drawing("\n".join(drawing), spacing=spacing)


@public
def stroke_ends(features: np.ndarray) -> np.ndarray:
    """The numbers of points of the first 1, 2, ... strokes of a drawing.

    Args:
        features: [T, 3 or 5], with 1 in the third column where the pen is lifted.

    Returns:
        int, [strokes].

    Example:
        >>> stroke_ends(np.array([[0, 0, 0], [1, 0, 1], [0, 4, 1]])).tolist()
        [2, 3]
    """
    features = np.asarray(check_array("features", features, "numeric", "T", "columns"))
    if features.shape[1] < 3:
        raise InputError(f"features have shape {features.shape}, the third column must tell where the pen is lifted")
    return np.flatnonzero(features[:, 2] > 0.5) + 1


def first_strokes(series: Series) -> tuple[Series, np.ndarray]:
    """The beginnings of drawings: up to the end of the first stroke, of the second, and so on to the whole drawing.

    Args:
        series: drawings, with the input "features".

    Returns:
        (beginnings, counts): the beginnings of each drawing one after another, and how many each has, int [N].

    Example:
        >>> drawing = read_drawing("START\\n0,0,0\\n10,0,50\\nBREAK\\n10,20,90\\nBREAK")
        >>> classes = Labels(names=("hook",))
        >>> series = Series(inputs={"features": [drawing]}, lengths=[4], classes=classes, names=("a",), labels=[0])
        >>> beginnings, counts = first_strokes(series)
        >>> beginnings.lengths.tolist(), counts.tolist()
        ([3, 4], [2])
    """
    ends = [stroke_ends(series.read(n)["features"]) for n in range(len(series))]
    counts = np.array([len(each) for each in ends], np.int64)  # [N]
    stops = np.concatenate(ends)  # [sum of counts]
    return series.cut(np.repeat(np.arange(len(series)), counts), np.zeros_like(stops), stops), counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistortedStrokes(Value):
    """Draws a drawing otherwise: turned, stretched and shaken a little, an `augment` of a SeriesStream.

        (dx, dy) = A (dx, dy) + e,    A = rotation(a) [[s, k], [0, t]]

    with a ~ N(0, turn^2), log s and log t ~ N(0, stretch^2), k ~ N(0, shear^2) for a drawing, e ~ N(0, shake^2) for a point.
    Places follow the moves.

    Args:
        turn: standard deviation of the angle, in radians.
        stretch: of the logarithm of width and height.
        shear: of the slant.
        shake: of a point's move, in units of the spacing.
        name: the key of the batch that holds the strokes.

    Raises:
        InputError: a negative deviation.

    Example:
        >>> strokes = {"features": np.array([[1.0, 0.0, 1.0]], np.float32)}
        >>> turned = DistortedStrokes(turn=1.0, stretch=0.0, shear=0.0, shake=0.0)(strokes, np.random.default_rng(0))
        >>> float(np.hypot(*turned["features"][0, :2]).round(3)), float(turned["features"][0, 2])
        (1.0, 1.0)
    """

    turn: float = 0.15
    stretch: float = 0.15
    shear: float = 0.1
    shake: float = 0.1
    name: str = "features"

    def __post_init__(self):
        for field in ("turn", "stretch", "shear", "shake"):
            if not getattr(self, field) >= 0:
                raise InputError(f"{field} is {getattr(self, field)}, it must be at least 0")

    @classmethod
    @public
    def of_strength(cls, strength: float) -> "DistortedStrokes":
        """All default deviations times a number."""
        sizes = {"turn": cls.turn, "stretch": cls.stretch, "shear": cls.shear, "shake": cls.shake}
        return cls(**{name: strength * size for name, size in sizes.items()})  # pyright: ignore[reportArgumentType]

    def __call__(self, inputs: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, np.ndarray]:
        features = inputs[self.name]
        angle, shear = self.turn * generator.standard_normal(), self.shear * generator.standard_normal()
        width, height = np.exp(self.stretch * generator.standard_normal(2))
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        moves = features[:, :2] @ (rotation @ np.array([[width, shear], [0.0, height]])).T  # [T, 2]
        moves = moves + self.shake * generator.standard_normal(moves.shape)
        places = moves.cumsum(axis=0) / PLACES  # [T, 2], or [T, 0] of strokes without places
        columns = [moves, features[:, 2], places[:, : features.shape[1] - 3]]
        return inputs | {self.name: np.column_stack(columns).astype(np.float32)}


def _point(word: str, line: int) -> tuple[float, float]:
    columns = word.split(",")
    try:
        x, y = map(float, columns[:2])
    except ValueError:
        x = y = math.nan
    if not (len(columns) in (2, 3) and math.isfinite(x) and math.isfinite(y)):
        raise InputError(f"line {line} is {word[:40]!r}: a line is START, BREAK or x,y,milliseconds")
    return x, y


def _evenly(points: np.ndarray, spacing: float) -> np.ndarray:
    """Points [n, 2] at equal distances along a stroke [m, 2], both ends among them."""
    along = np.concatenate([[0.0], np.hypot(*np.diff(points, axis=0).T).cumsum()])  # [m]
    if along[-1] == 0:
        return points[:1]
    places = np.linspace(0, along[-1], max(round(along[-1] / spacing), 1) + 1)  # [n]
    return np.column_stack([np.interp(places, along, points[:, n]) for n in range(2)])


def _record(path: Path, content: bytes, features: Sequence[np.ndarray]) -> dict:
    strokes = sum(len(stroke_ends(points)) for points in features)
    facts = {"source": str(path), "sha256": hashlib.sha256(content).hexdigest()}
    return facts | {"drawings": len(features), "strokes": int(strokes)}
