"""Memories: places to attend to, weights over them, and the means read under those weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.serial import register
from seqjax.types import Array, at_least_float32


@register
class Memory(NamedTuple):
    """Places to attend to: the context of a cell that attends, made once a sequence by `Attention.remember`.

    Args:
        keys: a pytree, leaves [B, ...]: the part of the scores that depends on the values alone; () if scores read the values.
        values: floating, [B, S, M]; where mask is False those of the first real place, under the weight 0.
        mask: bool, [B, S], True at real places.

    Example:
        >>> from seqjax.attention.scores import Dot
        >>> attention = Dot(query_size=2, memory_size=2)
        >>> memory = attention.remember({}, jnp.array([[[1.0, 2.0], [jnp.nan, 9.0]]]), jnp.array([[True, False]]))
        >>> memory.values.tolist()
        [[[1.0, 2.0], [1.0, 2.0]]]
    """

    keys: Any
    values: Array
    mask: Array


def masked_softmax(scores: Array, mask: Array) -> Array:
    """The softmax over the real places of the last axis; without real places, zeros. Gradients are finite.

        exp(e_s) / sum over real r of exp(e_r)

    Args:
        scores: floating, [..., S].
        mask: bool, [..., S], True at real places.

    Returns:
        [..., S], the dtype of scores; 0 where mask is False.

    Example:
        >>> masked_softmax(jnp.zeros((2, 2)), jnp.array([[True, False], [False, False]])).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    real = jnp.where(mask, scores, jnp.asarray(-jnp.inf, scores.dtype))
    highest = jax.lax.stop_gradient(jnp.max(real, axis=-1, keepdims=True, initial=-jnp.inf))
    powers = jnp.exp(real - jnp.where(jnp.isneginf(highest), jnp.zeros((), scores.dtype), highest))
    total = powers.sum(axis=-1, keepdims=True)
    return powers / jnp.where(total > 0, total, jnp.ones((), scores.dtype))


def read_out(weights: Array, values: Array) -> Array:
    """The mean of the values under the weights: [..., S] and [..., S, M] to [..., M], float32 or wider."""
    dtype = at_least_float32(values.dtype)
    return jnp.einsum("...s,...sm->...m", weights.astype(values.dtype), values, preferred_element_type=dtype)


@register
class Read(NamedTuple):
    """One reading of a memory.

    Args:
        context: the mean of the values under the weights, [..., C].
        weights: [..., S]; 0 at masked places.
        log_p: the log-probability of the places that were drawn, [...]; 0 without a key; None if the attention never draws.
    """

    context: Array
    weights: Array
    log_p: Array | None = None


def match(query: Array, keys: Array) -> Array:
    """The dot product of the query with every key: [..., Q] and [..., S, Q] to [..., S], float32 or wider."""
    dtype = at_least_float32(keys.dtype)
    return jnp.einsum("...q,...sq->...s", query.astype(keys.dtype), keys, preferred_element_type=dtype)
