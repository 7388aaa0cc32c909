"""Recurrent cells, a family a file."""

from seqjax.cells.elman import Elman, ElmanState
from seqjax.cells.gru import GRU, GRUState
from seqjax.cells.lstm import LSTM, LSTMState

__all__ = ["GRU", "LSTM", "Elman", "ElmanState", "GRUState", "LSTMState"]
