"""Losses, as sums with their weights."""

from seqjax.losses.classification import balanced_class_weights, binary_cross_entropy, cross_entropy, focal
from seqjax.losses.ranking import margin_ranking, score_ranking
from seqjax.losses.regression import squared_error
from seqjax.weighted import Weighted

__all__ = [
    "Weighted",
    "balanced_class_weights",
    "binary_cross_entropy",
    "cross_entropy",
    "focal",
    "margin_ranking",
    "score_ranking",
    "squared_error",
]
