"""Figures of several runs of one config."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def summary_of(rows: Sequence[Mapping[str, Any]], *, but: str = "") -> dict[str, dict[str, float | int | None]]:
    """Mean, standard deviation (n - 1 in the denominator) and number of each figure, over the rows in which it is a number.

    Args:
        rows: figures by name.
        but: a name that is left out.

    Example:
        >>> summary_of([{"loss": 1.0, "device": "cpu"}, {"loss": 3.0, "device": "cpu"}])
        {'loss': {'mean': 2.0, 'sd': 1.4142135623730951, 'n': 2}}
    """
    summary = {}
    for name in dict.fromkeys(name for row in rows for name in row if name != but):
        values = [row[name] for row in rows if _is_number(row.get(name))]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else None
            summary[name] = {"mean": statistics.fmean(values), "sd": deviation, "n": len(values)}
    return summary


def figures_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The figures in results.json, without the record of seed and data."""
    return {
        name: value for name, value in results.items() if _is_number(value) and name != "seed" and not name.startswith("data_")
    }


def shown(figure: Mapping[str, Any] | None) -> str:
    """A figure's mean, deviation and number as a text.

    Example:
        >>> shown({"mean": 1.5, "sd": 0.25, "n": 3}), shown({"mean": 1.5, "sd": None, "n": 1}), shown(None)
        ('1.5 ± 0.25 (3)', '1.5', '-')
    """
    if figure is None:
        return "-"
    return f"{figure['mean']:.5g}" + (f" ± {figure['sd']:.2g} ({figure['n']})" if figure["sd"] is not None else "")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
