"""Pictures of a run."""

import math


def curves(metrics: list[dict], path, *, title: str, references: dict[str, float] | None = None, monitor: str = "loss"):
    """Draws training and validation loss against steps, and another monitored figure in a panel below.

    Args:
        metrics: the lines of metrics.jsonl.
        path: the PNG file to write.
        title: above the picture.
        references: {name: loss}, drawn as horizontal lines.
        monitor: the validation's figure that tells what is better.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "curves.png")
        >>> curves([{"step": 1, "split": "train", "loss": 2.5}], path, title="a run", references={"bigram": 2.4})
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    from etils import epath
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    watched = _points(metrics, "validation", monitor) if monitor != "loss" else []
    figure = Figure(figsize=(7, 6.2 if watched else 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 if watched else 1, sharex=True, squeeze=False, height_ratios=(2, 1)[: 2 if watched else 1])[:, 0]
    axes, last = panels[0], panels[-1]
    axes.set(ylabel="nats per token", title=title)
    last.set(xlabel="steps")
    if watched:
        last.plot(*zip(*watched, strict=True), color="tab:orange", marker="o", markersize=3)
        last.set(ylabel=f"validation {monitor.replace('_', ' ')}")
    shown = []
    for split, color in (("train", "tab:blue"), ("validation", "tab:orange")):
        points = _points(metrics, split, "loss")
        if points:
            marker = "o" if split == "validation" else None
            axes.plot(*zip(*points, strict=True), label=split, color=color, marker=marker, markersize=3)
            shown += [loss for _, loss in points]
    for (name, loss), color in zip((references or {}).items(), _greys(), strict=False):
        axes.axhline(loss, linestyle="--", linewidth=1, color=color)
        axes.annotate(f"{name} {loss:.2f}", (1, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        shown.append(loss)
    if shown:
        low, high = min(shown), max(filter(math.isfinite, shown))
        axes.set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.05 * (high - low + 1e-9))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")
    with epath.Path(path).open("wb") as file:
        figure.savefig(file, format="png", dpi=120)


def _points(metrics: list[dict], split: str, figure: str) -> list[tuple[int, float]]:
    return [(line["step"], line[figure]) for line in metrics if line["split"] == split and line.get(figure) is not None]


def _greys():
    return (str(0.25 + 0.5 * (n % 4) / 3) for n in range(1000))
