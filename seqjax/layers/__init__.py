"""Layers that read a whole sequence, and heads that classify one."""

from seqjax.layers.bidirectional import Bidirectional
from seqjax.layers.center import Center
from seqjax.layers.chain import Chain
from seqjax.layers.convolution import Convolution
from seqjax.layers.fixed_window import FixedWindow
from seqjax.layers.heads import Head
from seqjax.layers.pooling import LatePooling, LocalPooling, Pooling, SlowPooling, TimeConvolution
from seqjax.layers.score_averaging import ScoreAveraging
from seqjax.layers.temporal import DilatedConvNet, TemporalConvNet

__all__ = [
    "Bidirectional",
    "Center",
    "Chain",
    "Convolution",
    "DilatedConvNet",
    "FixedWindow",
    "Head",
    "LatePooling",
    "LocalPooling",
    "Pooling",
    "ScoreAveraging",
    "SlowPooling",
    "TemporalConvNet",
    "TimeConvolution",
]
