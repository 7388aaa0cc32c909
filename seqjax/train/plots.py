"""Plots of a run."""

import math

from seqjax.contracts import Model
from seqjax.drawing import new_figure, save_png

_VALIDATION = {  # the prefix of the figures of the weights, and of their average
    "": {"label": "validation", "color": "tab:orange", "marker": "o", "markersize": 3},
    "averaged_": {"label": "validation, averaged weights", "color": "tab:green", "marker": "o", "markersize": 3},
}
_NORMS = {"gradient_norm": "tab:gray", "update_ratio": "tab:olive"}


def curves(
    metrics: list[dict],
    path,
    *,
    title: str,
    references: dict[str, float] | None = None,
    monitor: str = "loss",
    unit: str = Model.unit,
):
    """Draws training and validation loss against steps, and below them another monitored figure, and the norms of the steps.

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
    lines = [("train", "loss", {"label": "train", "color": "tab:blue"})]
    lines += [("validation", f"{prefix}loss", style) for prefix, style in _VALIDATION.items()]
    lines = [(_points(metrics, split, name), style) for split, name, style in lines]
    monitored = [] if monitor == "loss" else [(_points(metrics, "validation", p + monitor), s) for p, s in _VALIDATION.items()]
    norms = [(_points(metrics, "train", name), {"label": name.replace("_", " "), "color": c}) for name, c in _NORMS.items()]
    heights = [4.2, *[2.0] * any(points for points, _ in monitored), *[1.6] * any(points for points, _ in norms)]
    figure = new_figure(7, sum(heights))
    panels = list(figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    panels[-1].set(xlabel="steps")
    axes = panels.pop(0)
    axes.set(ylabel=f"nats per {unit}", title=title)
    _draw(axes, lines)
    if len(heights) > 1 and heights[1] == 2.0:
        panel = panels.pop(0)
        panel.set(ylabel=f"validation {monitor.replace('_', ' ')}")
        _draw(panel, monitored)
    if panels:
        panels[0].set(yscale="log")
        _draw(panels[0], norms)
        panels[0].legend(fontsize=8)
    losses = [loss for points, _ in lines for _, loss in points]
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


def _draw(axes, lines: list[tuple[list[tuple[int, float]], dict]]):
    for points, style in lines:
        if points:
            axes.plot(*zip(*points, strict=True), **style)


def _points(metrics: list[dict], split: str, figure: str) -> list[tuple[int, float]]:
    return [(line["step"], line[figure]) for line in metrics if line["split"] == split and line.get(figure) is not None]


def _greys():
    return (str(0.25 + 0.5 * (n % 4) / 3) for n in range(1000))
