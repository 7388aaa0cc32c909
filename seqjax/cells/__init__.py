"""Recurrent cells, a family a file."""

from seqjax.cells.conv_lstm import ConvLSTM
from seqjax.cells.elman import Elman, ElmanState
from seqjax.cells.gru import GRU, GRUState
from seqjax.cells.hidden import HiddenState
from seqjax.cells.ind_rnn import IndRNN
from seqjax.cells.lru import LRU
from seqjax.cells.lstm import LSTM, LSTMGatesState, LSTMState
from seqjax.cells.mgu import MGU
from seqjax.cells.min_rnn import MinGRU, MinLSTM
from seqjax.cells.multiplicative_lstm import MultiplicativeLSTM
from seqjax.cells.mut import MUT1, MUT2, MUT3
from seqjax.cells.qrnn import QRNN
from seqjax.cells.recurrent_highway import RecurrentHighway
from seqjax.cells.rg_lru import RGLRU
from seqjax.cells.s4d import S4D
from seqjax.cells.slstm import SLSTM, SLSTMState
from seqjax.cells.sru import SRU
from seqjax.cells.time_delay import TimeDelay, TimeDelayState

__all__ = [
    "GRU", "LRU", "LSTM", "MGU", "MUT1", "MUT2", "MUT3", "QRNN", "RGLRU", "S4D", "SLSTM", "SRU", "ConvLSTM", "Elman",
    "ElmanState", "GRUState", "HiddenState", "IndRNN", "LSTMGatesState", "LSTMState", "MinGRU", "MinLSTM", "MultiplicativeLSTM",
    "RecurrentHighway", "SLSTMState", "TimeDelay", "TimeDelayState",
]  # fmt: skip
