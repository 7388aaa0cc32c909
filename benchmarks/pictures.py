"""The picture of a suite: bars of the ratio to each peer, or lines against a size."""

from benchmarks import peers
from benchmarks.harness import REFERENCE
from benchmarks.network import SIZES
from seqjax.drawing import new_figure

# Okabe and Ito's colours, told apart by colour-blind readers too; seqjax is black.
COLOURS = {
    "seqjax": "#000000",
    "linen": "#0072B2",
    "nnx": "#56B4E9",
    "keras": "#D55E00",
    "haiku": "#E69F00",
    "equinox": "#009E73",
    "torch": "#CC79A7",
}
OTHERS = ("#D55E00", "#009E73", "#E69F00", "#56B4E9", "#0072B2", "#999999", "#F0E442", "#CC79A7")
MARKS = "osD^vPX*"
WIDE = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32, 64)
TICKS = (1 / 16, 1 / 8, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 0.8, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16, 32)


RELATIVE = "time relative to seqjax's, above 1 seqjax is faster; whiskers: quartiles"


def bars(results: dict, title: str, measure: str = RELATIVE, compares_cells: bool = False):
    """Draw ratios: a panel for each cell and mode, a group of bars for each size, a bar for each peer, with its quartiles.

    Args:
        results: the results of one suite.
        title: the figure's title.
        measure: the quantity on the axis.
        compares_cells: a panel for each size, and a group for each cell.

    Returns:
        A Matplotlib figure.
    """
    panels: dict[tuple, list[dict]] = {}
    for case in results["cases"]:
        panels.setdefault((_size(case),) if compares_cells else _panel(case), []).append(case)
    names = list(dict.fromkeys(n for case in results["cases"] for n, record in case["peers"].items() if "ratio" in record))
    widest = max(map(len, panels.values()))
    width = 1.0 + widest * max(1.0, 0.5 + 0.17 * len(names))
    columns = 2 if len(panels) > 1 and width <= 8 else 1
    rows = -(-len(panels) // columns)
    figure, axes = _figure(rows, columns, width=max(7.5, width * columns), height=2.9 * rows)
    for ax, (panel, cases) in zip(axes, panels.items(), strict=False):
        _bars(ax, cases, names)
        if compares_cells:
            ax.set_xticklabels([case["facts"]["cell"].replace(" ", "\n") for case in cases])
        ax.set_title(" ".join(panel), fontsize=10, loc="left")
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    handles, labels = _legend(axes)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 7 if figure.get_figwidth() > 9 else 4), frameon=False
    )
    _title(figure, results, title, measure)
    return figure


def _bars(ax, cases: list[dict], names: list[str]):
    """Bars from 1 up or down, on a logarithmic axis: twice as fast is as far from 1 as half as fast."""
    width = 0.8 / max(len(names), 1)
    lowest, highest = 0.9, 1.1
    for i, name in enumerate(names):
        ratios = [(n, case["peers"].get(name, {}).get("ratio")) for n, case in enumerate(cases)]
        points = [(n - 0.4 + (i + 0.5) * width, ratio) for n, ratio in ratios if ratio is not None]
        for x, ratio in points:
            label = peers.shown(name) if x == points[0][0] else None
            ax.bar(x, ratio["median"] - 1, width * 0.92, bottom=1, label=label, color=_colour(name, i))
            ax.plot([x, x], [ratio["low"], ratio["high"]], color="#444444", linewidth=0.8)
            if len(names) * len(cases) <= 60:
                up = ratio["median"] >= 1
                style = {"xytext": (0, 3 if up else -3), "ha": "center", "va": "bottom" if up else "top", "fontsize": 6}
                at = (x, ratio["high" if up else "low"])
                ax.annotate(f"{ratio['median']:.2f}", at, textcoords="offset points", rotation=90, **style)
            lowest, highest = min(lowest, ratio["low"]), max(highest, ratio["high"])
    ax.axhline(1, color="black", linewidth=1)
    ax.set_xticks(range(len(cases)), [_size(case) for case in cases], fontsize=7)
    ax.set_yscale("log", base=2)
    margin = (highest / lowest) ** 0.2
    ax.set_ylim(lowest / margin, highest * margin)
    ticks = [tick for tick in (TICKS if highest / lowest < 8 else WIDE) if lowest / margin <= tick <= highest * margin]
    ax.set_yticks(ticks, [f"{tick:.2f}".rstrip("0").rstrip(".") for tick in ticks], fontsize=8)
    ax.minorticks_off()
    ax.set_xlim(-0.6, len(cases) - 0.4)
    ax.grid(axis="y", linewidth=0.4, alpha=0.6)
    ax.set_axisbelow(True)


def lines(results: dict, title: str, figures: dict | None = None):
    """Draw curves: a panel for each size that is varied, milliseconds against it, both axes logarithmic.

    Args:
        results: the results of one suite.
        title: the figure's title.
        figures: functions of a competitor's record, by their labels; None: milliseconds.

    Returns:
        A Matplotlib figure.
    """
    figures = figures or {"ms": lambda record: record["seconds"]["median"] * 1e3}
    panels: dict[str, list[dict]] = {}
    for case in results["cases"]:
        for axis in case["facts"].get("varied", "T"):
            panels.setdefault(axis, []).append(case)
    grid = [(axis, label, figure) for label, figure in figures.items() for axis in panels]
    columns = max(len(panels), len(grid) if len(panels) == 1 else 0)
    rows = -(-len(grid) // columns)
    figure, axes = _figure(rows, columns, width=3.8 * columns, height=3.6 * rows)
    for ax, (axis, label, of_record) in zip(axes, grid, strict=False):
        cases = sorted(panels[axis], key=lambda case, axis=axis: case["facts"][axis])
        names = list(dict.fromkeys(name for case in cases for name, record in case["peers"].items() if "seconds" in record))
        for i, name in enumerate(names):
            points = [(c["facts"][axis], of_record(c["peers"][name])) for c in cases if "seconds" in c["peers"].get(name, {})]
            style = {"linewidth": 2.2 if name == REFERENCE else 1.2, "marker": MARKS[i % len(MARKS)], "markersize": 4}
            points = [(x, y) for x, y in points if y]
            if points:
                x, y = zip(*points, strict=True)
                ax.plot(x, y, label=peers.shown(name), color=_colour(name, i - 1), zorder=3 if name == REFERENCE else 2, **style)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ticks = [case["facts"][axis] for case in cases]
        ax.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
        ax.minorticks_off()
        fixed = ", ".join(f"{n}={cases[0]['facts'][n]}" for n in "TBDH" if n != axis and n in cases[0]["facts"])
        low, high = ax.get_ylim()
        ticks = [tick * 10.0**n for n in range(-4, 9) for tick in (1, 2, 5) if low <= tick * 10.0**n <= high]
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
        ax.set_title(f"{label} against {axis} ({fixed})", fontsize=9, loc="left")
        ax.grid(linewidth=0.4, alpha=0.6)
    handles, labels = _legend(axes)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 7), frameon=False)
    _title(figure, results, title, ", ".join(dict.fromkeys(" ".join(_panel(case)) for case in results["cases"])))
    return figure


def _panel(case: dict) -> tuple:
    return tuple(str(case["facts"][name]) for name in ("cell", "mode") if name in case["facts"])


def _size(case: dict) -> str:
    sizes = ",".join(str(case["facts"][name]) for name in "TBDH" if name in case["facts"])
    facts = [str(v) for name, v in case["facts"].items() if name not in ("cell", "mode", *"TBDH") and name not in SIZES]
    facts += [f"{name}={v}" for name, v in case["facts"].items() if name in SIZES and name not in "TBDH"]
    return "\n".join([*facts, *filter(None, [sizes])])


def _legend(axes):
    """The handles and labels of all panels, each once."""
    pairs = [pair for ax in axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    by_label = {label: handle for handle, label in reversed(pairs)}
    labels = list(dict.fromkeys(label for _, label in pairs))
    return [by_label[label] for label in labels], labels


def _colour(name: str, index: int) -> str:
    return COLOURS.get(name, OTHERS[index % len(OTHERS)])


def _figure(rows: int, columns: int, *, width: float, height: float):
    figure = new_figure(width, height + 0.9)
    return figure, figure.subplots(rows, columns, squeeze=False).flatten()


def _title(figure, results: dict, title: str, measure: str):
    about = results["environment"]
    where = f"{about['device']}, {about['cores']} cores, {results['dtype']}"
    figure.suptitle("\n".join(filter(None, [f"{title[0].upper()}{title[1:]}", measure, where])), fontsize=9)
