"""Activities over time as a picture: frames, true and predicted segments, scores."""

import colorsys
from collections.abc import Sequence

import numpy as np

from seqjax.annotations import public
from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError
from seqjax.extras import from_extra
from seqjax.metrics import Segment, segments_of

# Inches.
WIDTH, LEFT, RIGHT = 11.0, 0.95, 0.25
PLOT = WIDTH - LEFT - RIGHT
BAR, CURVES, AXIS, ENTRY = 0.3, 2.1, 0.5, 0.17
GAP = 0.1

OTHERS = (0.82, 0.82, 0.82)
MOST_TILES = 14  # frames in the strip
MOST_CURVES = 12  # coloured curves, unless more classes occur
MOST_NAMES = 30  # classes in the legend
MOST_POINTS = 1000  # of a curve
LONGEST = 34  # characters of a name


@public
def timeline(
    path,
    *,
    classes: Sequence[str],
    scores,
    rate: float | None = None,
    frames: Sequence | None = None,
    truth=None,
    predicted=None,
    title: str = "",
):
    """Draw a recording: a strip of its frames, its true and predicted segments, and the scores of its classes over time.

    A class has one colour in all three. The classes that are true or predicted somewhere have a coloured curve (the 30 with the
    most frames), and so do those of the highest scores, up to 12; the others are drawn in grey. A curve has at most 1000 points:
    in longer recordings each is the mean over neighbouring frames.

    Args:
        path: the PNG file to write.
        classes: the C names.
        scores: floating, [T, C], of frames; probabilities.
        rate: frames a second; None: the time is in frames.
        frames: the pictures, [F, H, W], [F, H, W, 1] or [F, H, W, 3], uint8 0 to 255 or 0 and 1, bool, or floating 0 to 1
            (another range is stretched to it); F need not be T. A lazily indexed sequence is read only where it is drawn. None:
            no strip.
        truth: integer, [T], -1 where there is no label; None: no row of true segments.
        predicted: integer, [T]; None: the classes of the highest scores.
        title: above the picture.

    Raises:
        InputError: shapes that do not fit each other, a NaN among the scores, a class that does not exist, or a rate that is not
            positive; matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "timeline.png")
        >>> scores = np.repeat([[0.9, 0.1], [0.2, 0.8]], 10, axis=0)
        >>> timeline(path, classes=["fall", "wave"], scores=scores, rate=5.0, truth=[0] * 8 + [1] * 12, title="one clip")
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    scores = np.asarray(scores, np.float64)
    rows = _checked(classes, scores, rate, truth, scores.argmax(axis=-1) if predicted is None else predicted)
    steps, rate, unit = len(scores), rate or 1.0, "frames" if rate is None else "seconds"
    names = [shortened(name, LONGEST) for name in classes]
    colours = class_colours(len(classes))
    shown = _shown_classes(scores, rows)
    tiles, tile_height = _strip(frames)
    entries = [(names[c], colours[c]) for c in shown]
    if len(shown) < len(classes):
        entries.append((f"{len(classes) - len(shown)} other classes", OTHERS))
    columns = max(1, min(len(entries), int(PLOT / (0.5 + 0.075 * max(len(name) for name, _ in entries)))))
    legend_height = ENTRY * -(-len(entries) // columns) + 0.15
    bars_height = (BAR + GAP) * len(rows)
    heights = [0.35 if title else 0.1, tile_height, bars_height, CURVES, AXIS, legend_height]
    figure = new_figure(WIDTH, sum(heights))
    figure.set_layout_engine("none")  # the positions below are exact: a frame keeps its aspect ratio
    tops = sum(heights) - np.cumsum([0, *heights])

    def place(top, height):
        return figure.add_axes((LEFT / WIDTH, (top - height) / sum(heights), PLOT / WIDTH, height / sum(heights)))

    if title:
        text = figure.text(
            (LEFT + PLOT / 2) / WIDTH, (tops[0] - 0.2) / sum(heights), title, ha="center", va="center", fontsize=11
        )
        text.set_parse_math(False)
    if tiles:
        _draw_strip(place(tops[1], tile_height - GAP), tiles, tile_height - GAP)
    duration = steps / rate
    bars = place(tops[2], bars_height - GAP)
    _draw_bars(bars, {name: segments_of(labels) for name, labels in rows.items()}, rate, names, colours, PLOT / duration)
    curves = place(tops[3], CURVES)
    for axes in (bars, curves):
        axes.set_xlim(0, duration)
    _draw_curves(curves, scores, rate, shown, colours)
    curves.set_xlabel(unit, fontsize=9)
    legend = figure.legend(
        [curves.plot([], [], color=colour, linewidth=6, solid_capstyle="butt")[0] for _, colour in entries],
        [name for name, _ in entries],
        ncols=columns,
        loc="upper center",
        bbox_to_anchor=((LEFT + PLOT / 2) / WIDTH, tops[5] / sum(heights)),
        frameon=False,
        fontsize=8.5,
        handlelength=1.2,
        borderaxespad=0,
        labelspacing=0.35,
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    save_png(figure, path)


def class_colours(count: int) -> list[tuple[float, float, float]]:
    """Colours of classes, as far from each other as their number allows.

    Args:
        count: the number of classes.

    Returns:
        (red, green, blue), 0 to 1, for each class.

    Raises:
        InputError: matplotlib is not installed.

    Example:
        >>> len(set(class_colours(40)))
        40
    """
    if count <= 20:
        with from_extra("plots"):
            from matplotlib import colormaps

        pairs = colormaps["tab20"].colors  # pyright: ignore[reportAttributeAccessIssue]
        order = [0, 1, 2, 3, 4, 6, 8, 9, 5]  # without the greys, in which other classes are drawn
        strong = [pairs[2 * i] for i in order] + [(0.13, 0.16, 0.33)]  # a dark blue
        light = [pairs[2 * i + 1] for i in order] + [(0.0, 0.42, 0.40)]  # a dark green
        return [*strong, *light][:count]
    shades = [(0.75, 0.85), (0.45, 0.95), (0.9, 0.55)]  # saturation and value, in turn
    return [colorsys.hsv_to_rgb(0.618034 * i % 1, *shades[i % 3]) for i in range(count)]


def shortened(name: str, longest: int) -> str:
    """A name of at most `longest` characters: the middle of a longer one is left out.

    Args:
        name: any text.
        longest: characters, at least 3.

    Returns:
        The name.

    Example:
        >>> shortened("walking_downstairs", 11)
        'walki\u2026tairs'
    """
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return name[: longest - 1 - tail] + "\u2026" + name[-tail:]


def _checked(classes, scores, rate, truth, predicted) -> dict[str, np.ndarray]:
    """The rows of labels by their names, [T] each, or InputError."""
    if scores.ndim != 2 or not len(scores) or scores.shape[1] != len(classes):
        raise InputError(f"scores have shape {scores.shape}, they must be [T, {len(classes)}] for {len(classes)} classes, T >= 1")
    if np.isnan(scores).any():
        raise InputError(f"scores hold NaN in frame {np.argwhere(np.isnan(scores))[0][0]}, they must be numbers")
    if rate is not None and not 0 < rate < np.inf:
        raise InputError(f"rate is {rate}, it must be a positive number of frames a second, or None")
    rows = {}
    for name, labels in (("true", truth), ("predicted", predicted)):
        if labels is None:
            continue
        labels = np.asarray(labels)
        if labels.shape != (len(scores),):
            raise InputError(f"the {name} labels have shape {labels.shape}, {len(scores)} frames need ({len(scores)},)")
        outside = labels[(labels < -1) | (labels >= len(classes))]
        if outside.size:
            raise InputError(f"the {name} labels hold class {outside[0]}, there are {len(classes)} classes")
        rows[name] = labels
    return rows


def _shown_classes(scores: np.ndarray, rows: dict[str, np.ndarray]) -> list[int]:
    """The classes that have a colour of their own: those of the rows by their number of frames, then those of high scores."""
    labels = np.concatenate(list(rows.values()))
    frames = np.bincount(labels[labels >= 0], minlength=scores.shape[1])  # [C]
    highest = scores.max(axis=0)
    order = sorted(range(scores.shape[1]), key=lambda c: (-frames[c], -highest[c]))
    in_rows = [c for c in order if frames[c]]
    others = [c for c in order if not frames[c] and highest[c] >= 0.1 * scores.max()]
    return sorted((in_rows + others)[: max(MOST_CURVES, min(len(in_rows), MOST_NAMES))])


def _strip(frames: Sequence | None) -> tuple[list[np.ndarray], float]:
    """The pictures of the strip, [H, W] or [H, W, 3] with values 0 to 1, and its height in inches with the gap below."""
    if frames is None or not len(frames):
        return [], 0.0
    first = np.asarray(frames[0])
    if first.ndim not in (2, 3) or (first.ndim == 3 and first.shape[-1] not in (1, 3)):
        raise InputError(f"a frame has shape {first.shape}, it must be [H, W], [H, W, 1] or [H, W, 3]")
    aspect = first.shape[1] / first.shape[0]
    count = min(int(np.clip(round(PLOT / (1.15 * aspect)), 4, MOST_TILES)), len(frames))
    places = ((np.arange(count) + 0.5) / count * len(frames)).astype(int)
    tiles = np.stack([np.asarray(frames[int(i)]).reshape(first.shape) for i in places])
    tiles = tiles[..., 0] if tiles.shape[-1] == 1 else tiles
    if tiles.dtype == np.uint8 and tiles.max() > 1:  # silhouettes may be of 0 and 1
        tiles = tiles / 255
    tiles = tiles.astype(np.float64)
    if tiles.min() < 0 or tiles.max() > 1:
        tiles = (tiles - tiles.min()) / max(tiles.max() - tiles.min(), 1e-12)
    return list(tiles), min(PLOT / count / aspect, 1.6) + GAP


def _draw_strip(axes, tiles: list[np.ndarray], height: float):
    """The pictures side by side, each in the middle of the time that it stands for."""
    slot = PLOT / len(tiles)
    width = min(height * tiles[0].shape[1] / tiles[0].shape[0], slot)
    for i, tile in enumerate(tiles):
        left = (i + 0.5) * slot - width / 2 + 0.02
        axes.imshow(tile, extent=(left, left + width - 0.04, 0, 1), aspect="auto", cmap="gray", vmin=0, vmax=1)
    axes.set_xlim(0, PLOT)
    axes.set_ylim(0, 1)
    axes.axis("off")


def _draw_bars(axes, rows: dict[str, list[Segment]], rate: float, names, colours, inches: float):
    """Each row's segments as coloured bars, with the names that fit into them; `inches` a second."""
    for y, segments in enumerate(rows.values()):
        places = [(start / rate, (stop - start) / rate) for _, start, stop in segments]
        edges = [0.5 if width * inches > 0.08 else 0.0 for _, width in places]  # a white edge would hide a short segment
        colour_of = [colours[segment.label] for segment in segments]
        axes.broken_barh(places, (y - 0.38, 0.76), facecolor=colour_of, edgecolor="white", linewidth=edges)
        for (left, width), (label, *_) in zip(places, segments, strict=True):
            if width * inches > 0.072 * len(names[label]) + 0.1:
                dark = np.dot(colours[label], (0.299, 0.587, 0.114)) < 0.55
                colour = "white" if dark else "black"
                text = axes.text(left + width / 2, y, names[label], color=colour, fontsize=7.5, ha="center", va="center")
                text.set_parse_math(False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.tick_params(length=0, labelbottom=False)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_curves(axes, scores: np.ndarray, rate: float, shown: list[int], colours):
    """The scores of all classes over time, those not shown in grey."""
    steps, classes = scores.shape
    size = -(-steps // MOST_POINTS)  # frames a point
    starts = np.arange(0, steps, size)
    counts = np.diff(starts, append=steps).astype(np.float64)
    points = np.add.reduceat(scores, starts) / counts[:, None]  # [points, C]
    times = (starts + counts / 2) / rate
    marker = "o" if steps <= 30 else None
    for c in sorted(range(classes), key=lambda c: c in shown):
        colour, width = (colours[c], 1.6 if len(points) <= 400 else 1.1) if c in shown else (OTHERS, 0.8)
        axes.plot(times, points[:, c], color=colour, linewidth=width, marker=marker, markersize=3)
    if scores.min() >= 0 and scores.max() <= 1:
        axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("score", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="both", color="0.93", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
