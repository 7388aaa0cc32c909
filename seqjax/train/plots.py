"""Pictures of a run."""

import math


def curves(metrics: list[dict], path, *, title: str, references: dict[str, float] | None = None):
    """Draws training and validation loss against steps.

    Args:
        metrics: the lines of metrics.jsonl.
        path: the PNG file to write.
        title: above the picture.
        references: {name: loss}, drawn as horizontal lines.

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

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="steps", ylabel="nats per token", title=title)
    shown = []
    for split, color in (("train", "tab:blue"), ("validation", "tab:orange")):
        points = [(line["step"], line["loss"]) for line in metrics if line["split"] == split and line.get("loss") is not None]
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


def _greys():
    return (str(0.25 + 0.5 * (n % 4) / 3) for n in range(1000))
