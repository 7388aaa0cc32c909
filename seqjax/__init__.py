"""seqjax: functional recurrent sequence models in JAX. The names below are imported when they are first used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqjax import attention, data, decode, inspect, interop, losses, metrics, models, probabilistic, testing, train, vision  # noqa: F401
    from seqjax.cells import (
        GRU,
        LRU,
        LSTM,
        MGU,
        MUT1,
        MUT2,
        MUT3,
        QRNN,
        RGLRU,
        S4D,
        SLSTM,
        SRU,
        ConvLSTM,
        Elman,
        ElmanState,
        GRUState,
        HiddenState,
        IndRNN,
        LSTMGatesState,
        LSTMState,
        MinGRU,
        MinLSTM,
        MultiplicativeLSTM,
        RecurrentHighway,
        SLSTMState,
        TimeDelay,
        TimeDelayState,
    )
    from seqjax.compose import (
        Dense,
        Dropout,
        Embedding,
        Feedforward,
        Highway,
        LayerNorm,
        LearnedInitialState,
        RecurrentDropout,
        Residual,
        Stack,
        Standardize,
        Zoneout,
        drop_weights,
    )
    from seqjax.contracts import Cell, CompositeCell, Model, SequenceLayer
    from seqjax.errors import InputError
    from seqjax.exporting import export, plain  # noqa: F401
    from seqjax.layers import (
        Bidirectional,
        Center,
        Chain,
        Convolution,
        DilatedConvNet,
        LatePooling,
        LocalPooling,
        Pooling,
        ScoreAveraging,
        SlowPooling,
        TemporalConvNet,
        TimeConvolution,
    )
    from seqjax.linear import ComplexLinearState, LinearCell, LinearState
    from seqjax.masks import last, masked_max, masked_mean
    from seqjax.noise import Noise, reseed
    from seqjax.parameters import count_parameters
    from seqjax.recurrence.engine import explain, truncated, unroll
    from seqjax.recurrence.linear_scans import linear_scan
    from seqjax.serial import from_json, register, to_json
    from seqjax.train.runs.load import load_run

__version__ = "0.1.0"

_HOMES = {
    "cells": (
        "Elman",
        "ElmanState",
        "GRU",
        "GRUState",
        "LRU",
        "LSTM",
        "ConvLSTM",
        "HiddenState",
        "IndRNN",
        "LSTMGatesState",
        "LSTMState",
        "MGU",
        "MUT1",
        "MUT2",
        "MUT3",
        "MinGRU",
        "MinLSTM",
        "MultiplicativeLSTM",
        "QRNN",
        "RGLRU",
        "RecurrentHighway",
        "S4D",
        "SLSTM",
        "SLSTMState",
        "TimeDelay",
        "TimeDelayState",
        "SRU",
    ),
    "compose": (
        "Dense",
        "Dropout",
        "Embedding",
        "Feedforward",
        "Highway",
        "LayerNorm",
        "LearnedInitialState",
        "RecurrentDropout",
        "Residual",
        "Stack",
        "Standardize",
        "Zoneout",
        "drop_weights",
    ),
    "contracts": ("Cell", "CompositeCell", "Model", "SequenceLayer"),
    "errors": ("InputError",),
    "exporting": ("export", "plain"),
    "layers": (
        "Bidirectional",
        "Center",
        "Chain",
        "Convolution",
        "DilatedConvNet",
        "LatePooling",
        "LocalPooling",
        "Pooling",
        "ScoreAveraging",
        "SlowPooling",
        "TemporalConvNet",
        "TimeConvolution",
    ),
    "linear": ("ComplexLinearState", "LinearCell", "LinearState"),
    "masks": ("last", "masked_max", "masked_mean"),
    "noise": ("Noise", "reseed"),
    "parameters": ("count_parameters",),
    "recurrence.engine": ("explain", "truncated", "unroll"),
    "recurrence.linear_scans": ("linear_scan",),
    "serial": ("from_json", "register", "to_json"),
    "train.runs.load": ("load_run",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_REGISTER = ("attention", "cells", "compose", "layers", "vision")  # the folders whose types from_json reads
_FOLDERS = (
    "attention",
    "data",
    "decode",
    "inspect",
    "interop",
    "losses",
    "metrics",
    "models",
    "probabilistic",
    "testing",
    "train",
    "vision",
)

_NOT_STARRED = ("export",)  # `from seqjax import *` leaves `jax.export` as it is

__all__ = [  # noqa: RUF022 (as in _HOMES)
    "ConvLSTM", "Elman", "ElmanState", "GRU", "GRUState", "HiddenState", "IndRNN", "LSTM", "LSTMGatesState", "LSTMState", "MGU",
    "MUT1", "MUT2", "MUT3", "MultiplicativeLSTM", "RecurrentHighway", "SLSTM", "SLSTMState", "TimeDelay", "TimeDelayState",
    "LRU", "MinGRU", "MinLSTM", "QRNN", "RGLRU", "S4D", "SRU",
    "Dense", "Dropout", "Embedding", "Feedforward", "Highway", "LayerNorm", "LearnedInitialState", "RecurrentDropout", "Residual",
    "Stack", "Standardize", "Zoneout", "drop_weights",
    "Cell", "CompositeCell", "Model", "SequenceLayer",
    "ComplexLinearState", "LinearCell", "LinearState",
    "InputError",
    "plain",
    "Bidirectional", "Center", "Chain", "Convolution", "DilatedConvNet", "LatePooling", "LocalPooling", "Pooling",
    "ScoreAveraging", "SlowPooling", "TemporalConvNet", "TimeConvolution",
    "last", "masked_max", "masked_mean",
    "Noise", "reseed",
    "count_parameters",
    "explain", "linear_scan", "truncated", "unroll",
    "from_json", "register", "to_json",
    "load_run",
]  # fmt: skip


def __getattr__(name: str):
    if name == "from_json":
        for home in _REGISTER:
            importlib.import_module(f"seqjax.{home}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"seqjax.{_HOME[name]}"), name)
    elif name in _FOLDERS:
        value = importlib.import_module(f"seqjax.{name}")
    else:
        raise AttributeError(f"module 'seqjax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted([*__all__, *_NOT_STARRED, *_FOLDERS, "__version__"])
