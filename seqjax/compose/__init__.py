"""Cells built from cells."""

from seqjax.compose.stack import Dense, Dropout, RecurrentDropout, RecurrentDropoutState, Residual, Stack

__all__ = ["Dense", "Dropout", "RecurrentDropout", "RecurrentDropoutState", "Residual", "Stack"]
