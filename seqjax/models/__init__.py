"""Networks with a loss, built from cells. Importing this registers them and their parts, so that any run can be read."""

from seqjax import attention, cells, compose, layers
from seqjax.models.classifier import Classifier
from seqjax.models.conditional import ConditionalDecoder
from seqjax.models.encoders import Features, Symbols
from seqjax.models.frame_classifier import FrameClassifier
from seqjax.models.language_model import LanguageModel
from seqjax.models.late_fusion import LateFusion, fit_weights
from seqjax.models.regressor import Regressor
from seqjax.models.seq2seq import Seq2Seq

__all__ = [
    "Classifier",
    "ConditionalDecoder",
    "Features",
    "FrameClassifier",
    "LanguageModel",
    "LateFusion",
    "Regressor",
    "Seq2Seq",
    "Symbols",
    "attention",
    "cells",
    "compose",
    "fit_weights",
    "layers",
]
