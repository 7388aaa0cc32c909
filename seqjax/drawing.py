"""Figures without windows, saved wherever epath can write."""

import io
import warnings

from seqjax.extras import from_extra
from seqjax.writing import write_bytes


def new_figure(width: float, height: float):
    """An empty matplotlib figure without a window, unknown to pyplot.

    Args:
        width, height: in inches.

    Returns:
        A matplotlib Figure.

    Raises:
        InputError: matplotlib is not installed.

    Example:
        >>> new_figure(7, 4).get_size_inches().tolist()
        [7.0, 4.0]
    """
    with from_extra("plots"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure, path, *, dpi: int = 120):
    """Write a figure as a PNG file, whole or not at all; a character that the font lacks is drawn as a box.

    Args:
        figure: a matplotlib Figure.
        path: of the file, local or remote.
        dpi: dots per inch.

    Raises:
        CannotWriteError: the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "empty.png")
        >>> save_png(new_figure(2, 1), path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    from etils import epath

    content, path = io.BytesIO(), epath.Path(path).expanduser()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
        figure.savefig(content, format="png", dpi=dpi)
    write_bytes(path, content.getvalue())
