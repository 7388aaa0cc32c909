"""Figures that people quote, from losses in nats."""

import math


def bits(nats: float) -> float:
    """Nats to bits: `nats / ln 2`, e.g. bits per character.

    Example:
        >>> round(bits(0.6931471805599453), 6)
        1.0
    """
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Nats per token to perplexity: `exp(nats)`; infinite where that overflows.

    Example:
        >>> perplexity(0.0)
        1.0
    """
    return math.exp(nats) if nats < 700 else math.inf
