"""Confusion matrices and curves of accuracy as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_array, check_array, check_names, shown
from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError
from seqjax.extras import from_extra
from seqjax.inspect.activities import class_colours, shortened

LONGEST = 30  # characters of a name
MOST_NUMBERED = 30  # classes; beyond them the squares are too small for numbers


@public
def confusion(path, matrix, classes: Sequence[str], *, title: str = ""):
    """Draw a confusion matrix as squares, a row for each true class and a column for each predicted one.

    The darkness of a square, and the number in it, is its share of the row in percent (no number is shown below 0.5); the number
    of examples follows the name of each true class. A class without examples has a grey row.

    Args:
        path: the PNG file to write.
        matrix: integer, [C, C], as returned by `seqjax.metrics.confusion_matrix`.
        classes: the C names.
        title: above the picture.

    Raises:
        InputError: the matrix is not [C, C], or holds a negative number; matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "confusion.png")
        >>> confusion(path, [[8, 2], [0, 5]], ["fall", "wave"])
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    classes = check_names("classes", classes)
    matrix, count = np.asarray(check_array("matrix", matrix, "numeric", "C", "C")), len(classes)
    if matrix.shape != (count, count) or not count:
        raise InputError(f"the matrix has shape {matrix.shape}, {count} classes need ({count}, {count})")
    if not np.all((matrix >= 0) & (matrix < np.inf)):
        raise InputError("the matrix holds a negative number or NaN, it must hold counts")
    examples = matrix.sum(axis=1)  # [C]
    shares = np.where(examples[:, None] > 0, 100 * matrix / np.maximum(examples, 1)[:, None], np.nan)  # [C, C]
    names = [shortened(name, LONGEST) for name in classes]
    side = 0.42 if count <= 12 else 0.34 if count <= MOST_NUMBERED else max(0.12, 10 / count)
    size, words = side * max(count, 4), 0.085 * max(map(len, names))
    figure = new_figure(size + words + 2.0, size + words + 1.1)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap=_blues_with_grey(), vmin=0, vmax=100, aspect="equal")
    text: dict[str, Any] = {"fontsize": float(np.clip(55 * side, 3.5, 8)), "parse_math": False}
    axes.set_xticks(range(count), names, rotation=90, **text)
    axes.set_yticks(range(count), [f"{name} ({n})" for name, n in zip(names, examples, strict=True)], **text)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true (examples)", fontsize=9)
    axes.set_title(title, fontsize=10, parse_math=False)
    if count <= MOST_NUMBERED:
        for row, column in np.argwhere(shares >= 0.5):
            value = shares[row, column]
            colour = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", color=colour, fontsize=8, ha="center", va="center")
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=25)
    bar.set_label("% of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save_png(figure, path)


@public
def accuracy_curves(
    path,
    curves: Mapping[str, tuple[Sequence | np.ndarray, Sequence | np.ndarray]],
    *,
    xlabel: str,
    ylabel: str = "accuracy",
    title: str = "",
    chance: float | None = None,
):
    """Draw one or several curves of shares, such as accuracy after part of an activity, or after a number of strokes.

    Args:
        path: the PNG file to write.
        curves: for each name (x, y): x [n]; y [n], or [S, n] for S seeds, drawn as their mean with a band from the lowest to the
            highest.
        xlabel, ylabel: what the axes show.
        title: above the picture.
        chance: a share to compare with, drawn as a dotted line; None: no line.

    Raises:
        InputError: no curves, or an x and a y that do not fit each other; matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "early.png")
        >>> accuracy_curves(path, {"LSTM": ([10, 50, 100], [[0.2, 0.6, 0.9], [0.3, 0.7, 0.9]])}, xlabel="% seen", chance=0.1)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    if not curves:
        raise InputError("there are no curves to draw, at least one is needed")
    for name, pair in curves.items():
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise InputError(f"curve {name!r} is {shown(pair)}, it must be (x, y)")
    longest = max(map(len, curves))
    figure = new_figure(7, 4.2) if longest <= 30 else new_figure(7, 4.2 + 0.2 * len(curves))
    axes = figure.add_subplot()
    marks = "osD^v<>Ph*"
    for i, ((name, (x, y)), colour) in enumerate(zip(curves.items(), class_colours(len(curves)), strict=True)):
        x, y = (np.asarray(as_array(f"curve {name!r}", values), np.float64) for values in (x, y))
        y = np.atleast_2d(y)
        if x.ndim != 1 or y.ndim != 2 or y.shape[1] != len(x) or not y.size:
            raise InputError(f"curve {name!r} has x {x.shape} and y {y.shape}, they must be [n] and [n] or [S, n]")
        if len(y) > 1:
            axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.18, linewidth=0)
        marker = marks[i % len(marks)] if len(x) <= 40 else None
        (line,) = axes.plot(x, y.mean(axis=0), color=colour, marker=marker, markersize=4, linewidth=1.6)
        line.set_label(name)
    if chance is not None:
        axes.axhline(chance, color="0.5", linestyle=":", linewidth=1.2, label="chance")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(xlabel, fontsize=10)
    axes.set_ylabel(ylabel, fontsize=10)
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.tick_params(labelsize=9)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    side = "outside right center" if longest <= 30 else "outside lower center"
    legend = figure.legend(fontsize=8.5, frameon=False, loc=side)
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    save_png(figure, path)


def _blues_with_grey():
    """White to dark blue, and grey for NaN."""
    with from_extra("plots"):
        from matplotlib import colormaps

    return colormaps["Blues"].with_extremes(bad="0.88")
