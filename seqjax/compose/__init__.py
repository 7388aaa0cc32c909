"""Cells built from cells."""

from seqjax.compose.feedforward import Feedforward
from seqjax.compose.regularisers import RecurrentDropout, RecurrentDropoutState
from seqjax.compose.stack import Residual, Stack
from seqjax.compose.standardize import Standardize
from seqjax.compose.stateless import Dense, Dropout

__all__ = ["Dense", "Dropout", "Feedforward", "RecurrentDropout", "RecurrentDropoutState", "Residual", "Stack", "Standardize"]
