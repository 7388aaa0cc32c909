"""Losses in nats converted to the units in which they are published."""

import math

from seqjax.checks import as_number, shown
from seqjax.errors import InputError


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
    return _number(nats) / math.log(2)


def perplexity(nats: float) -> float:
    """Nats per token to perplexity: `exp(nats)`; infinity where that overflows, NaN of NaN.

    Args:
        nats: a loss per token, natural logarithms.

    Returns:
        The perplexity.

    Example:
        >>> perplexity(0.0)
        1.0
    """
    nats = _number(nats)
    return math.inf if nats >= 700 else math.exp(nats)


def _number(nats: float) -> float:
    if (number := as_number(nats)) is None:
        raise InputError(f"nats is {shown(nats)}, it must be a number")
    return number
