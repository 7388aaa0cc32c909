"""Layers that read a whole sequence."""

from seqjax.layers.bidirectional import Bidirectional
from seqjax.layers.chain import Chain

__all__ = ["Bidirectional", "Chain"]
