"""Penalties of beam search on the length of a hypothesis and on source positions that it does not cover."""

import jax.numpy as jnp

from seqjax.types import Array


def length_penalty(length: Array, alpha: Array) -> Array:
    """The divisor of a hypothesis' log-probability, so that longer hypotheses are not ranked lower for their length.

        lp = ((5 + length) / 6) ** alpha

    Args:
        length: [...], symbols, the end included.
        alpha: [], at least 0; 0: lp = 1.

    Returns:
        [...], the dtype of alpha.

    Example:
        >>> float(length_penalty(jnp.array(7), jnp.array(1.0)))
        2.0

    Wu et al. 2016, "Google's neural machine translation system", section 7.
    """
    return ((jnp.asarray(length).astype(alpha.dtype) + 5) / 6) ** alpha


def coverage_penalty(coverage: Array, beta: Array, attended: Array | None = None) -> Array:
    """The term added to a hypothesis' score for source positions that got little attention: at most 0.

        cp = beta * sum_s log(min(coverage_s, 1))

    A position without any attention counts as the smallest positive number, so that cp is finite.

    Args:
        coverage: floating, [..., S]: attention weights summed over the steps.
        beta: [], at least 0.
        attended: bool, [..., S], the positions that count; None: all.

    Returns:
        [...], the dtype of coverage.

    Example:
        >>> round(float(coverage_penalty(jnp.array([2.0, 0.5]), jnp.array(0.1))), 4)
        -0.0693

    Wu et al. 2016, section 7.
    """
    missing = jnp.log(jnp.clip(coverage, jnp.finfo(coverage.dtype).tiny, 1))
    if attended is not None:
        missing = jnp.where(attended, missing, jnp.zeros_like(missing))
    return beta.astype(coverage.dtype) * missing.sum(axis=-1)
