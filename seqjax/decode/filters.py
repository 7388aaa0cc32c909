"""Filters of a distribution before a draw: top-k, top-p, min-p and typical sampling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.decode.probabilities import log_softmax
from seqjax.types import Array


class Filters(NamedTuple):
    """Filters, applied in this order, each to the symbols left by the one before. None: not applied.

    Args:
        top_k: integer, [], at least 1: keep the k likeliest symbols.
        top_p: floating, [], 0 < top_p <= 1: keep the fewest of the likeliest symbols whose probabilities sum to at least
            top_p. The likeliest stays, even if rounding makes top_p 0.
        min_p: floating, [], 0 < min_p <= 1: keep the symbols at least min_p times as likely as the likeliest.
        typical_p: floating, [], 0 < typical_p <= 1: keep the fewest symbols with a surprise -log p nearest to the entropy whose
            probabilities sum to at least typical_p.

    Example:
        >>> apply_filters(jnp.log(jnp.array([0.5, 0.3, 0.2])), Filters(min_p=jnp.array(0.5))).tolist()[2]
        -inf

    Fan et al. 2018 (top-k); Holtzman et al. 2020 (nucleus, top_p); Nguyen et al. 2024 (min_p); Meister et al. 2023 (typical).
    """

    top_k: Array | None = None
    top_p: Array | None = None
    min_p: Array | None = None
    typical_p: Array | None = None


def apply_filters(logits: Array, filters: Filters) -> Array:
    """Logits with -inf for the symbols that are filtered out. Ties go to the smaller id; at least one symbol stays.

    Args:
        logits: floating, [..., V].
        filters: the filters.

    Returns:
        [..., V], the dtype of logits.

    Example:
        >>> apply_filters(jnp.log(jnp.array([0.5, 0.3, 0.2])), Filters(top_p=jnp.array(0.7))).tolist()[2]
        -inf
    """
    lowest = jnp.asarray(-jnp.inf, logits.dtype)
    if filters.top_k is not None or filters.top_p is not None:
        order = jnp.argsort(-logits, axis=-1, stable=True)
        ranked = jnp.take_along_axis(logits, order, axis=-1)  # [..., V], likeliest first
        if filters.top_k is not None:
            rank = jax.lax.broadcasted_iota(jnp.int32, ranked.shape, ranked.ndim - 1)
            ranked = jnp.where(rank < jnp.asarray(filters.top_k, jnp.int32), ranked, lowest)
        if filters.top_p is not None:
            ranked = jnp.where(_nucleus(jnp.exp(log_softmax(ranked)), filters.top_p), ranked, lowest)
        logits = jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)
    if filters.min_p is not None:
        least = logits.max(axis=-1, keepdims=True) + jnp.log(jnp.asarray(filters.min_p, logits.dtype))  # [..., 1]
        logits = jnp.where(logits >= least, logits, lowest)
    if filters.typical_p is not None:
        log_p = log_softmax(logits)
        p = jnp.exp(log_p)
        entropy = -jnp.where(p > 0, p * log_p, 0).sum(axis=-1, keepdims=True)  # [..., 1]
        order = jnp.argsort(jnp.abs(log_p + entropy), axis=-1, stable=True)
        is_typical = _nucleus(jnp.take_along_axis(p, order, axis=-1), filters.typical_p)  # [..., V], most typical first
        logits = jnp.where(jnp.take_along_axis(is_typical, jnp.argsort(order, axis=-1), axis=-1), logits, lowest)
    return logits


def _nucleus(probabilities: Array, mass: Array) -> Array:
    """True for the first symbols of [..., V] whose probabilities sum to at least `mass`; for all where mass is 1."""
    mass = jnp.asarray(mass, probabilities.dtype)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    is_first = jax.lax.broadcasted_iota(jnp.int32, before.shape, before.ndim - 1) == 0
    return (before < mass) | (mass >= 1) | is_first  # a cumulative sum may be rounded up to 1 before the last symbol
