"""Cells built from cells."""

from seqjax.compose.feedforward import Feedforward
from seqjax.compose.learned_state import LearnedInitialState
from seqjax.compose.regularisers import RecurrentDropout, RecurrentDropoutState, Zoneout, ZoneoutState, drop_weights
from seqjax.compose.skips import Highway, Residual
from seqjax.compose.stack import Stack
from seqjax.compose.standardize import Standardize
from seqjax.compose.stateless import Dense, Dropout, Embedding, LayerNorm

__all__ = [
    "Dense",
    "Dropout",
    "Embedding",
    "Feedforward",
    "Highway",
    "LayerNorm",
    "LearnedInitialState",
    "RecurrentDropout",
    "RecurrentDropoutState",
    "Residual",
    "Stack",
    "Standardize",
    "Zoneout",
    "ZoneoutState",
    "drop_weights",
]
