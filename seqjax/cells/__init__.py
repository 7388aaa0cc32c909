"""Recurrent cells, a family a file."""

from seqjax.cells.elman import Elman
from seqjax.cells.gru import GRU
from seqjax.cells.lstm import LSTM

__all__ = ["GRU", "LSTM", "Elman"]
