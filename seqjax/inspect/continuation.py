"""A series beside its continuation by a network."""

import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array
from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError


@public
def draw_continuation(path, series, continued, *, begin: int, title: str = ""):
    """Draw a true series and a network's continuation of its first steps, in a panel for each of up to four values.

    Args:
        path: the PNG file to write.
        series: floating, [T, D].
        continued: floating, [N, D], the network's steps begin, begin + 1, ...
        begin: the first step that the network did not read.
        title: above the picture.

    Raises:
        InputError: shapes that do not fit, or begin is not in the series; matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "continuation.png")
        >>> wave = np.sin(np.arange(60.0))[:, None]
        >>> draw_continuation(path, wave, wave[30:], begin=30)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    series = np.asarray(check_array("series", series, "floating", "T", "D"))
    continued = np.asarray(check_array("continued", continued, "floating", "N", series.shape[1]))
    if not 0 < begin <= len(series):
        raise InputError(f"begin is {begin}, it must be from 1 to {len(series)}, the steps of the series")
    panels = min(series.shape[1], 4)
    figure = new_figure(9, 1 + 2.4 * panels)
    for number, axes in enumerate(figure.subplots(panels, sharex=True, squeeze=False)[:, 0]):
        axes.plot(series[:, number], color="black", linewidth=1, label="series")
        steps = np.arange(begin, begin + len(continued))
        axes.plot(steps, continued[:, number], color="tab:orange", label="continued by the network")
        axes.axvline(begin - 1, color="gray", linestyle="--", linewidth=1)
        low, high = series[:, number].min(), series[:, number].max()
        axes.set_ylim(low - 0.3 * (high - low + 1e-9), high + 0.3 * (high - low + 1e-9))
        if number == 0:
            axes.set(title=title)
            axes.legend(loc="upper right")
    axes.set(xlabel="steps")
    save_png(figure, path)
