"""The unlikely tail of a distribution, cut off before a draw."""

import jax
import jax.numpy as jnp

from seqjax.types import Array


def truncate(logits: Array, top_k: Array | None = None, top_p: Array | None = None) -> Array:
    """`-inf` for all but the `top_k` likeliest symbols, then for all but the nucleus of `top_p`.

        nucleus: the fewest symbols, from the likeliest on, whose probabilities sum to at least top_p

    Of equally likely symbols the one with the smaller id comes first. The likeliest symbol always stays.

    Args:
        logits: floating, [..., V].
        top_k: integer, [], at least 1; None keeps all.
        top_p: floating, [], 0 < top_p <= 1, of the probability that top_k has left; None keeps all.

    Returns:
        [..., V], the dtype of logits.

    Example:
        >>> truncate(jnp.log(jnp.array([0.5, 0.3, 0.2])), top_p=jnp.array(0.7)).tolist()[2]
        -inf

    References:
        Fan et al. 2018 (top-k); Holtzman et al. 2020, "The curious case of neural text degeneration" (nucleus).
    """
    if top_k is None and top_p is None:
        return logits
    lowest = jnp.asarray(-jnp.inf, logits.dtype)
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    if top_k is not None:
        rank = jax.lax.broadcasted_iota(jnp.int32, ranked.shape, ranked.ndim - 1)
        ranked = jnp.where(rank < jnp.asarray(top_k, jnp.int32), ranked, lowest)
    if top_p is not None:
        top_p = jnp.asarray(top_p, logits.dtype)
        probabilities = jax.nn.softmax(ranked, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        ranked = jnp.where((before < top_p) | (top_p >= 1), ranked, lowest)
    return jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)
