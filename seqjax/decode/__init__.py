"""Search, sampling and scoring over any decoder, from a batch to symbols or from texts to texts."""

from seqjax.decode.beam_search import beam
from seqjax.decode.constraints import Constraints
from seqjax.decode.decoder import Decoded
from seqjax.decode.ensemble import Ensemble
from seqjax.decode.rerank import minimum_bayes_risk
from seqjax.decode.sampling import greedy, sample, stream
from seqjax.decode.scoring import Scored, attention, score
from seqjax.decode.search import Search
from seqjax.decode.stochastic_beams import StochasticBeams, stochastic_beam
from seqjax.decode.text import AttentionMap, Hypothesis, TextSearch, texts

__all__ = [
    "AttentionMap",
    "Constraints",
    "Decoded",
    "Ensemble",
    "Hypothesis",
    "Scored",
    "Search",
    "StochasticBeams",
    "TextSearch",
    "attention",
    "beam",
    "greedy",
    "minimum_bayes_risk",
    "sample",
    "score",
    "stochastic_beam",
    "stream",
    "texts",
]


def __dir__():
    return __all__
