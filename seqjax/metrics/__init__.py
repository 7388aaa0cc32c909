"""Measures of models."""

from seqjax.metrics.units import bits, perplexity

__all__ = ["bits", "perplexity"]
