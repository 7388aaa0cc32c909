"""Labelled sequences: clips, poses, sensor signals, strokes; their splits, windows and batches."""

from seqjax.data.series.series import Series
from seqjax.data.series.splits import check_parts, split_series
from seqjax.data.series.streams import EvaluationSeries, SeriesStream, evaluation_series, series_shapes

__all__ = [
    "EvaluationSeries",
    "Series",
    "SeriesStream",
    "check_parts",
    "evaluation_series",
    "series_shapes",
    "split_series",
]
