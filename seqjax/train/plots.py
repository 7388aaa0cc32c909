"""Plots of a run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

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
    """Draw training and validation loss against steps, and below them the monitored figure, if it is another, and the norms.

    Args:
        metrics: the lines of metrics.jsonl.
        path: the PNG file to write.
        title: the title of the figure.
        references: {name: loss}, drawn as horizontal lines.
        monitor: the validation figure that chooses the best weights.
        unit: the unit of the model's loss, "token", "clip" ...; the loss is drawn in nats per unit, or as a squared error.

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
    norms = [([point for point in points if point[1] > 0], style) for points, style in norms]  # a logarithmic scale has no 0
    heights = [4.2, *[2.0] * any(points for points, _ in monitored), *[1.6] * any(points for points, _ in norms)]
    figure = new_figure(7, sum(heights))
    panels = list(figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    panels[-1].set(xlabel="steps")
    axes = panels.pop(0)
    axes.set(ylabel=_measure(unit), title=title)
    _draw(axes, lines)
    if any(points for points, _ in monitored):
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


def compared_curves(
    groups: Mapping[str, Sequence[list[dict]]],
    path,
    *,
    figure: str = "loss",
    unit: str = Model.unit,
    x: Literal["steps", "epochs", "seconds"] = "steps",
    gradient: bool = False,
    title: str = "",
):
    """Draw a validation figure of several runs in one picture, one colour for each group of runs, such as the seeds of a config.

    A thin line is a run, a thick one the mean of a group at the steps that all of its runs have reached. Where the figure is the
    loss, dashed lines are the mean losses in training.

    Args:
        groups: the lines of metrics.jsonl of each run, by the name of its group.
        path: the PNG file to write.
        figure: the validation figure.
        unit: the unit of the models' loss.
        x: the horizontal axis.
        gradient: draw beside it the norm of the gradient in training, before clipping: the means since the last log.
        title: the title of the picture.

    Example:
        >>> import pathlib, tempfile
        >>> runs = [[{"step": n, "split": "validation", "loss": loss / n} for n in (1, 2)] for loss in (2.0, 3.0)]
        >>> path = pathlib.Path(tempfile.mkdtemp(), "curves.png")
        >>> compared_curves({"small": runs[:1], "large": runs[1:]}, path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    repeated = any(len(runs) > 1 for runs in groups.values())
    picture = new_figure(11.0 if gradient else 7.5, 4.8 + 0.21 * len(groups))
    axes, *others = picture.subplots(1, 1 + gradient, squeeze=False)[0]
    for panel in others:
        _draw_gradients(panel, groups, x)
    highest, lowest = [], []
    for number, (name, runs) in enumerate(groups.items()):
        color, several = f"C{number % 10}", len(runs) > 1
        curves = [dict(_points(metrics, "validation", figure)) for metrics in runs]
        for metrics, curve in zip(runs, curves, strict=True) if several else ():
            axes.plot(_along(metrics, curve, x), list(curve.values()), color=color, linewidth=0.8, alpha=0.5)
        means = _means(curves)
        label = f"{name}: {_last(curves, means)}" + (f", {len(runs)} runs" if several else "")
        axes.plot(_along(runs[0], means, x), list(means.values()), color=color, linewidth=2, label=label)
        values = [value for curve in curves for value in curve.values() if math.isfinite(value)]
        highest, lowest = highest + values, lowest + values
        if figure == "loss":
            training = _means([dict(_points(metrics, "train", "loss")) for metrics in runs])
            axes.plot(_along(runs[0], training, x), list(training.values()), color=color, linewidth=1, linestyle="--", alpha=0.7)
            lowest = lowest + list(filter(math.isfinite, training.values()))
    for style, label, drawn in (("-", "one run", repeated), ("--", "training, mean", figure == "loss")):
        if drawn:
            axes.plot([], [], color="0.5", linewidth=1, linestyle=style, label=label)
    ylabel = f"validation {figure.replace('_', ' ')}" + f", {_measure(unit)}" * figure.endswith("loss")
    axes.set(xlabel=x, ylabel=ylabel, title=title)
    if highest:  # the first losses in training are far above all others
        margin = 0.05 * (max(highest) - min(lowest) + 1e-9)
        axes.set_ylim(min(lowest) - margin, max(highest) + margin)
    axes.grid(color="0.92")
    picture.legend(loc="outside lower left", fontsize=9, frameon=False)
    save_png(picture, path)


def _draw_gradients(axes, groups: Mapping[str, Sequence[list[dict]]], x: str):
    """The gradient's norm of every run, in the colours of `compared_curves`."""
    for number, runs in enumerate(groups.values()):
        for metrics in runs:
            curve = {step: norm for step, norm in _points(metrics, "train", "gradient_norm") if 0 < norm < math.inf}
            style = {"color": f"C{number % 10}", "linewidth": 0.8, "alpha": 0.7}
            axes.plot(_along(metrics, curve, x), list(curve.values()), **style)
    axes.set(xlabel=x, ylabel="norm of the gradient, before clipping", yscale="log")
    axes.grid(color="0.92")


def _means(curves: list[dict[int, float]]) -> dict[int, float]:
    """The means of several curves at the steps that all of them have."""
    steps = sorted(set.intersection(*map(set, curves)))
    return {step: sum(curve[step] for curve in curves) / len(curves) for step in steps}


def _last(curves: list[dict[int, float]], means: dict[int, float]) -> str:
    """The last mean, with its standard deviation over several curves."""
    if not means:
        return "-"
    values = [curve[max(means)] for curve in curves]
    return f"{means[max(means)]:.4g}" + (f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else "")


def _along(metrics: list[dict], steps: Iterable[int], x: str) -> list[float]:
    """Epochs or seconds at some steps of a run, between those of its logs; or the steps themselves."""
    if x == "steps":
        return list(steps)
    name = {"epochs": "epoch", "seconds": "seconds"}[x]
    known = {line["step"]: line[name] for line in metrics if line["split"] == "train" and name in line}
    return np.interp(list(steps), [0, *known], [0.0, *known.values()]).tolist()


def _measure(unit: str) -> str:
    """The name of the loss's axis."""
    return "squared error" if unit == "value" else f"nats per {unit}"


def _draw(axes, lines: list[tuple[list[tuple[int, float]], dict]]):
    for points, style in lines:
        if points:
            axes.plot(*zip(*points, strict=True), **style)


def _points(metrics: list[dict], split: str, figure: str) -> list[tuple[int, float]]:
    return [(line["step"], line[figure]) for line in metrics if line["split"] == split and line.get(figure) is not None]


def _greys():
    return (str(0.25 + 0.5 * (n % 4) / 3) for n in range(1000))
