"""Attention weights as a picture."""

from collections.abc import Sequence

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_integer, as_number, check_array, check_names, shown
from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError


@public
def heat_map(weights, source: Sequence[str] | float, target: Sequence[str], path, *, title: str = ""):
    """Draw attention weights as squares, a row for each symbol written and a column for each symbol read.

        the darkness of square (t, s) is weights[t, s]

    Args:
        weights: [T, S], entries at least 0; each row sums to 1 (to 0 if it attends to nothing).
        source: the S symbols that were read; or, for frames of sound or video, the seconds from one frame to the next.
        target: the T symbols that were written.
        path: the PNG file to write.
        title: above the picture.

    Raises:
        InputError: the weights are not [T, S], or the seconds are not above 0.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "attention.png")
        >>> heat_map(np.eye(2), ["ninety", "seven"], ["sieben", "neunzig"], path, title="one pair")
        >>> path.read_bytes()[1:4]
        b'PNG'

    Bahdanau, Cho, Bengio 2015, figure 3.
    """
    weights = _checked(weights)
    target = check_names("target", target)
    if (seconds := as_number(source)) is not None:
        _over_time(weights, seconds, target, path, title)
        return
    source = check_names("source", source)
    if not (source and target):
        raise InputError(f"there are {len(target)} target and {len(source)} source symbols: a picture needs at least one of each")
    shape = len(target), len(source)
    if weights.shape != shape:
        raise InputError(f"weights have shape {weights.shape}, {shape[0]} target and {shape[1]} source symbols need {shape}")
    widest = max(map(len, target), default=0)
    tallest = max(map(len, source), default=0)
    size = (1.2 + 0.32 * max(shape[1], 3) + 0.09 * widest, 1.0 + 0.28 * max(shape[0], 3) + 0.09 * tallest)
    figure = new_figure(*size)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, parse_math=False)
    text = {"fontsize": 8, "parse_math": False}
    image = axes.imshow(weights, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(shape[1]), [_shown(symbol) for symbol in source], rotation=90, **text)
    axes.set_yticks(range(shape[0]), [_shown(symbol) for symbol in target], **text)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for edge in range(1, max(shape)):  # thin lines between the squares
        if edge < shape[1]:
            axes.axvline(edge - 0.5, color="0.9", linewidth=0.5)
        if edge < shape[0]:
            axes.axhline(edge - 0.5, color="0.9", linewidth=0.5)
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
    save_png(figure, path, dpi=130)


@public
def image_maps(weights, image, target: Sequence[str], path, *, grid: tuple[int, int] | None = None, columns: int = 5):
    """Draw the attention to an image, a picture for each symbol written, bright where the decoder looked.

        the brightness of place s in picture t is weights[t, s] / max over s of weights[t, s]

    Args:
        weights: [T, S], entries at least 0, the places row by row.
        image: [H, W, 3] or [H, W], uint8, or numbers from 0 to 1.
        target: the T symbols that were written.
        path: the PNG file to write.
        grid: (rows, columns) of the places, S in all; None: a square.
        columns: the number of pictures side by side.

    Raises:
        InputError: the weights are not [T, S] with S places of the grid, or the image has a wrong shape.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "caption.png")
        >>> image_maps(np.eye(4)[:3], np.full((8, 8, 3), 0.5), ["a", "small", "dog"], path)
        >>> path.read_bytes()[1:4]
        b'PNG'

    Xu et al. 2015, arXiv:1502.03044, figure 3.
    """
    weights, image = _checked(weights), np.asarray(check_array("image", image, "numeric", "..."))
    target, columns = check_names("target", target), max(columns, 1)
    if not target:
        raise InputError("target is empty: a picture needs at least one symbol")
    places = weights.shape[-1] if weights.ndim else 0
    if grid is not None and not (isinstance(grid, tuple | list) and len(grid) == 2 and all(as_integer(n) for n in grid)):
        raise InputError(f"grid is {shown(grid)}, it must be (rows, columns)")
    rows, across = grid or (round(places**0.5),) * 2
    if weights.shape != (len(target), rows * across):
        form = f"{len(target)} symbols and a grid of {rows} x {across} places need ({len(target)}, {rows * across})"
        raise InputError(f"weights have shape {weights.shape}, {form}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"the image has shape {image.shape}, it must be [H, W, 3] or [H, W]")
    height, width = image.shape[:2]
    lines = -(-len(target) // columns)
    figure = new_figure(2.0 * min(columns, len(target)), 0.3 * lines + 2.0 * lines * height / width)
    for n, (symbol, row) in enumerate(zip(target, weights, strict=True)):
        axes = figure.add_subplot(lines, min(columns, len(target)), n + 1)
        axes.set_title(_shown(symbol), fontsize=9, parse_math=False)
        axes.imshow(image, cmap="gray", extent=(0, width, height, 0))
        shade = 1 - row.reshape(rows, across) / max(float(row.max()), 1e-9)  # [rows, across]
        axes.imshow(np.zeros_like(shade), cmap="gray", alpha=0.85 * shade, extent=(0, width, height, 0), interpolation="bilinear")
        axes.set_axis_off()
    save_png(figure, path, dpi=130)


def _checked(weights) -> np.ndarray:
    """Attention weights as float32, of any shape."""
    weights = np.asarray(check_array("weights", weights, "numeric", "..."), np.float32)
    if not np.all((weights >= 0) & (weights < np.inf)):
        raise InputError(f"weights hold {weights[~((weights >= 0) & (weights < np.inf))][0]}, they must be numbers of at least 0")
    return weights


def _over_time(weights: np.ndarray, seconds: float, target: Sequence[str], path, title: str):
    """Draws weights [T, S] of places that are so many seconds apart, on an axis of time."""
    if weights.ndim != 2 or len(weights) != len(target):
        raise InputError(f"weights have shape {weights.shape}, {len(target)} target symbols need ({len(target)}, S)")
    if not seconds > 0:
        raise InputError(f"the source is {seconds:g} seconds a place, it must be above 0")
    figure = new_figure(8.0, 1.0 + 0.28 * max(len(target), 3))
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, parse_math=False)
    extent = (0.0, seconds * weights.shape[1], len(target) - 0.5, -0.5)
    most = max(float(weights.max(initial=0.0)), 1e-9)  # attention spreads over many frames
    image = axes.imshow(weights, cmap="Greys", vmin=0.0, vmax=most, aspect="auto", extent=extent, interpolation="nearest")
    axes.set_yticks(range(len(target)), [_shown(symbol) for symbol in target], fontsize=8, parse_math=False)
    axes.set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
    save_png(figure, path, dpi=130)


def _shown(symbol: str) -> str:
    """A symbol with visible characters in place of spaces and line ends."""
    return symbol.replace("\u2581", "_").replace("\n", r"\n") or "\u2423"  # an open box: a space
