"""Losses, as sums with their weights."""

from seqjax.losses.classification import cross_entropy
from seqjax.weighted import Weighted

__all__ = ["Weighted", "cross_entropy"]
