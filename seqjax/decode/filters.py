"""The unlikely tail of a distribution, cut off before a draw."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.types import Array


class Tail(NamedTuple):
    """What is cut off, in this order, each of what those before have left; None cuts nothing.

    Args:
        top_k: integer, [], at least 1: all but the k likeliest symbols.
        top_p: floating, [], 0 < top_p <= 1: all but the fewest symbols, from the likeliest on, whose probabilities sum to at
            least top_p.
        min_p: floating, [], 0 < min_p <= 1: symbols less likely than min_p times the likeliest.
        typical_p: floating, [], 0 < typical_p <= 1: all but the fewest symbols, from that on whose surprise -log p is nearest
            to the expected one, whose probabilities sum to at least typical_p.

    Example:
        >>> truncate(jnp.log(jnp.array([0.5, 0.3, 0.2])), Tail(min_p=jnp.array(0.5))).tolist()[2]
        -inf

    Fan et al. 2018 (top-k); Holtzman et al. 2020 (nucleus, top_p); Nguyen et al. 2024 (min_p); Meister et al. 2023 (typical).
    """

    top_k: Array | None = None
    top_p: Array | None = None
    min_p: Array | None = None
    typical_p: Array | None = None


def truncate(logits: Array, tail: Tail) -> Array:
    """`-inf` for the symbols of a tail. Of equals the one with the smaller id comes first; at least one symbol stays.

    Args:
        logits: floating, [..., V].
        tail: what is cut off.

    Returns:
        [..., V], the dtype of logits.

    Example:
        >>> truncate(jnp.log(jnp.array([0.5, 0.3, 0.2])), Tail(top_p=jnp.array(0.7))).tolist()[2]
        -inf
    """
    lowest = jnp.asarray(-jnp.inf, logits.dtype)
    if tail.top_k is not None or tail.top_p is not None:
        order = jnp.argsort(-logits, axis=-1, stable=True)
        ranked = jnp.take_along_axis(logits, order, axis=-1)
        if tail.top_k is not None:
            rank = jax.lax.broadcasted_iota(jnp.int32, ranked.shape, ranked.ndim - 1)
            ranked = jnp.where(rank < jnp.asarray(tail.top_k, jnp.int32), ranked, lowest)
        if tail.top_p is not None:
            ranked = jnp.where(_fewest(jax.nn.softmax(ranked, axis=-1), tail.top_p), ranked, lowest)
        logits = jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)
    if tail.min_p is not None:
        least = logits.max(axis=-1, keepdims=True) + jnp.log(jnp.asarray(tail.min_p, logits.dtype))
        logits = jnp.where(logits >= least, logits, lowest)
    if tail.typical_p is not None:
        log_p = jax.nn.log_softmax(logits, axis=-1)
        p = jnp.exp(log_p)
        expected = -jnp.where(p > 0, p * log_p, 0).sum(axis=-1, keepdims=True)
        order = jnp.argsort(jnp.abs(log_p + expected), axis=-1, stable=True)
        kept = _fewest(jnp.take_along_axis(p, order, axis=-1), tail.typical_p)
        logits = jnp.where(jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), axis=-1), logits, lowest)
    return logits


def _fewest(probabilities: Array, mass: Array) -> Array:
    """The first of [..., V] whose probabilities sum to at least mass. All of them where it is 1, whatever rounding does."""
    mass = jnp.asarray(mass, probabilities.dtype)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    return (before < mass) | (mass >= 1)
