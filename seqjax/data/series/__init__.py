"""Labelled sequences: clips, poses, sensor signals, strokes; their splits, windows and batches."""

from seqjax.data.series.augment import Distortion, Mirror
from seqjax.data.series.files import load_series, read_item
from seqjax.data.series.forecast import read_forecast
from seqjax.data.series.moments import feature_moments
from seqjax.data.series.next_steps import FollowingStream, following
from seqjax.data.series.segments import Segment, read_segments, segment_targets
from seqjax.data.series.series import Series
from seqjax.data.series.splits import check_parts, split_series
from seqjax.data.series.streams import EvaluationSeries, SeriesStream, evaluation_series, series_shapes

__all__ = [
    "Distortion",
    "EvaluationSeries",
    "FollowingStream",
    "Mirror",
    "Segment",
    "Series",
    "SeriesStream",
    "check_parts",
    "evaluation_series",
    "feature_moments",
    "following",
    "load_series",
    "read_forecast",
    "read_item",
    "read_segments",
    "segment_targets",
    "series_shapes",
    "split_series",
]
