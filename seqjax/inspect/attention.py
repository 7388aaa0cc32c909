"""Attention weights as a picture."""

from collections.abc import Sequence

import numpy as np

from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError


def heat_map(weights, source: Sequence[str], target: Sequence[str], path, *, title: str = ""):
    """Draws attention weights as squares, a row for each symbol written and a column for each symbol read.

        the darkness of square (t, s) is weights[t, s]

    Args:
        weights: [T, S], entries at least 0, each row of sum 1 (0 if it attends to nothing).
        source: the S symbols that were read.
        target: the T symbols that were written.
        path: the PNG file to write.
        title: above the picture.

    Raises:
        InputError: the weights are not [T, S].

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "attention.png")
        >>> heat_map(np.eye(2), ["ninety", "seven"], ["sieben", "neunzig"], path, title="one pair")
        >>> path.read_bytes()[1:4]
        b'PNG'

    Bahdanau, Cho, Bengio 2015, figure 3.
    """
    weights, shape = np.asarray(weights, np.float32), (len(target), len(source))
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


def _shown(symbol: str) -> str:
    """A symbol with visible characters in place of spaces and line ends."""
    return symbol.replace("\u2581", "_").replace("\n", r"\n") or "\u2423"  # an open box: a space
