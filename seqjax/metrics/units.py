"""Losses in nats converted to the units in which they are published."""

import math


def bits(nats: float) -> float:
    """Nats to bits: `nats / ln 2`, e.g. bits per character.

    Args:
        nats: a loss, natural logarithms.

    Returns:
        The loss in bits.

    Example:
        >>> round(bits(0.6931471805599453), 6)
        1.0
    """
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Nats per token to perplexity: `exp(nats)`; infinity where that overflows.

    Args:
        nats: a loss per token, natural logarithms.

    Returns:
        The perplexity.

    Example:
        >>> perplexity(0.0)
        1.0
    """
    return math.exp(nats) if nats < 700 else math.inf
