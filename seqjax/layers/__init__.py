"""Layers that read a whole sequence."""

from seqjax.layers.bidirectional import Bidirectional, Chain

__all__ = ["Bidirectional", "Chain"]
