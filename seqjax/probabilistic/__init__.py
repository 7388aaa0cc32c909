"""Probabilistic sequence models, as functions on arrays."""

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
    fit_linear_gaussian,
    kalman_filter,
    linear_gaussian_sample,
    rts_smoother,
)

__all__ = [
    "HMM",
    "Categorical",
    "Emission",
    "FilteredStates",
    "FilteredVectors",
    "Gaussian",
    "LinearGaussian",
    "SmoothedStates",
    "SmoothedVectors",
    "StatePath",
    "baum_welch",
    "fit_linear_gaussian",
    "hmm_filter",
    "hmm_sample",
    "hmm_smoother",
    "kalman_filter",
    "linear_gaussian_sample",
    "rts_smoother",
    "viterbi",
]
