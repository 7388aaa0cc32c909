"""Figures without windows, saved wherever epath can write."""

import warnings

from seqjax.errors import InputError
from seqjax.extras import from_extra


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
    """Write a figure as a PNG file; a character that the font lacks is drawn as a box.

    Args:
        figure: a matplotlib Figure.
        path: of the file, local or remote.
        dpi: dots per inch.

    Raises:
        InputError: the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "empty.png")
        >>> save_png(new_figure(2, 1), path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    from etils import epath

    try:
        with epath.Path(path).open("wb") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
            figure.savefig(file, format="png", dpi=dpi)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
