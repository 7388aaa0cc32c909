"""Plots of a run."""

import math

from seqjax.contracts import Model
from seqjax.drawing import new_figure, save_png


def curves(
    metrics: list[dict],
    path,
    *,
    title: str,
    references: dict[str, float] | None = None,
    monitor: str = "loss",
    unit: str = Model.unit,
):
    """Draws training and validation loss against steps, and another monitored figure in a panel below.

    Args:
        metrics: the lines of metrics.jsonl.
        path: the PNG file to write.
        title: the title of the figure.
        references: {name: loss}, drawn as horizontal lines.
        monitor: the validation figure that chooses the best weights.
        unit: the unit of the model's loss, "token", "clip" ...; the loss is drawn in nats per unit.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "curves.png")
        >>> curves([{"step": 1, "split": "train", "loss": 2.5}], path, title="a run", references={"bigram": 2.4})
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    monitored = _points(metrics, "validation", monitor) if monitor != "loss" else []
    rows = 2 if monitored else 1
    figure = new_figure(7, 6.2 if monitored else 4.2)
    panels = figure.subplots(rows, sharex=True, squeeze=False, height_ratios=(2, 1)[:rows])[:, 0]
    axes, last = panels[0], panels[-1]
    axes.set(ylabel=f"nats per {unit}", title=title)
    last.set(xlabel="steps")
    if monitored:
        last.plot(*zip(*monitored, strict=True), color="tab:orange", marker="o", markersize=3)
        last.set(ylabel=f"validation {monitor.replace('_', ' ')}")
    losses = []
    for split, color in (("train", "tab:blue"), ("validation", "tab:orange")):
        points = _points(metrics, split, "loss")
        if points:
            marker = "o" if split == "validation" else None
            axes.plot(*zip(*points, strict=True), label=split, color=color, marker=marker, markersize=3)
            losses += [loss for _, loss in points]
    for (name, loss), color in zip((references or {}).items(), _greys(), strict=False):
        axes.axhline(loss, linestyle="--", linewidth=1, color=color)
        axes.annotate(f"{name} {loss:.2f}", (1, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        losses.append(loss)
    if losses:
        low, high = min(losses), max(filter(math.isfinite, losses))
        axes.set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.05 * (high - low + 1e-9))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")
    save_png(figure, path)


def _points(metrics: list[dict], split: str, figure: str) -> list[tuple[int, float]]:
    return [(line["step"], line[figure]) for line in metrics if line["split"] == split and line.get(figure) is not None]


def _greys():
    return (str(0.25 + 0.5 * (n % 4) / 3) for n in range(1000))
