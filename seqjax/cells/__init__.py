"""Recurrent cells, a family a file."""

from seqjax.cells.elman import Elman, ElmanState
from seqjax.cells.gru import GRU, GRUState
from seqjax.cells.lstm import LSTM, LSTMGatesState, LSTMState
from seqjax.cells.multiplicative_lstm import MultiplicativeLSTM
from seqjax.cells.slstm import SLSTM, SLSTMState
from seqjax.cells.time_delay import TimeDelay, TimeDelayState

__all__ = [
    "GRU", "LSTM", "SLSTM", "Elman", "ElmanState", "GRUState", "LSTMGatesState", "LSTMState", "MultiplicativeLSTM", "SLSTMState",
    "TimeDelay", "TimeDelayState",
]  # fmt: skip
