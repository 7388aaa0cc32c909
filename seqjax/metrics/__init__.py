"""Measures of models and of what they write."""

from seqjax.metrics.text import bleu, chrf, exact_match, sentence_chrf, text_scores, text_signatures
from seqjax.metrics.units import bits, perplexity

__all__ = ["bits", "bleu", "chrf", "exact_match", "perplexity", "sentence_chrf", "text_scores", "text_signatures"]
