"""Layers that read a whole sequence, and heads that classify one."""

from seqjax.layers.bidirectional import Bidirectional
from seqjax.layers.chain import Chain
from seqjax.layers.heads import Head
from seqjax.layers.pooling import LatePooling, LocalPooling, Pooling, SlowPooling, TimeConvolution
from seqjax.layers.score_averaging import ScoreAveraging

__all__ = [
    "Bidirectional",
    "Chain",
    "Head",
    "LatePooling",
    "LocalPooling",
    "Pooling",
    "ScoreAveraging",
    "SlowPooling",
    "TimeConvolution",
]
