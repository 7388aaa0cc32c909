"""Probabilistic sequence models, as functions on arrays."""

from seqjax.probabilistic.autoregressive import (
    AutoRegressive,
    Predictions,
    autoregressive_predict,
    autoregressive_sample,
    fit_autoregressive,
)
from seqjax.probabilistic.emissions import Categorical, Emission, Gaussian
from seqjax.probabilistic.hmm import (
    HMM,
    FilteredStates,
    SmoothedStates,
    StatePath,
    baum_welch,
    hmm_filter,
    hmm_sample,
    hmm_smoother,
    viterbi,
)
from seqjax.probabilistic.kalman import (
    FilteredVectors,
    LinearGaussian,
    SmoothedVectors,
    kalman_filter,
    linear_gaussian_sample,
    rts_smoother,
)
from seqjax.probabilistic.system_fitting import fit_linear_gaussian

__all__ = [
    "HMM",
    "AutoRegressive",
    "Categorical",
    "Emission",
    "FilteredStates",
    "FilteredVectors",
    "Gaussian",
    "LinearGaussian",
    "Predictions",
    "SmoothedStates",
    "SmoothedVectors",
    "StatePath",
    "autoregressive_predict",
    "autoregressive_sample",
    "baum_welch",
    "fit_autoregressive",
    "fit_linear_gaussian",
    "hmm_filter",
    "hmm_sample",
    "hmm_smoother",
    "kalman_filter",
    "linear_gaussian_sample",
    "rts_smoother",
    "viterbi",
]
