"""The one place where logits become log-probabilities, and sums of log-probabilities that stay exact over many steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.placement import varying_as
from seqjax.types import Array, at_least_float32


class Relative(NamedTuple):
    """Logits relative to the largest of their row: log p = below - log_sum.

    Args:
        below: [..., V], at most 0; the largest is 0, or all are -inf.
        log_sum: [..., 1].
    """

    below: Array
    log_sum: Array


class Total(NamedTuple):
    """A sum that keeps what rounding would lose: the sum is value + rest, rest below a unit in the last place of value."""

    value: Array
    rest: Array


def score_dtype(logits: Array) -> jnp.dtype:
    """The dtype of the log-probabilities of logits: float32 or wider."""
    return at_least_float32(logits.dtype) if jnp.issubdtype(logits.dtype, jnp.floating) else jnp.dtype(jnp.float32)


def relative(model: Any, logits: Array) -> Relative:
    """Logits relative to the largest of their row, float32 or wider.

    A row of -inf alone stays so, with log_sum 0: nothing is possible. One NaN or +inf makes the whole row NaN.

    Args:
        model: the decoder; where its `gives_scores` is true, log p are the logits as they are.
        logits: [..., V], of any dtype.

    Returns:
        Relative.
    """
    below, largest = _below_largest(logits)
    return Relative(below, -largest if getattr(model, "gives_scores", False) else _log_sum(below))


def log_probabilities(model: Any, logits: Array) -> Array:
    """The log-probabilities of a decoder's logits, [..., V], float32 or wider.

    A row of -inf alone stays so. One NaN or +inf makes the whole row NaN.

    Args:
        model: the decoder; where its `gives_scores` is true, log p are the logits as they are.
        logits: [..., V], of any dtype.
    """
    if not getattr(model, "gives_scores", False):
        return log_softmax(logits)
    scores = logits.astype(score_dtype(logits))
    return jnp.where(scores.max(axis=-1, keepdims=True) < jnp.inf, scores, jnp.nan)


def log_softmax(logits: Array) -> Array:
    """log softmax(logits), [..., V], float32 or wider; a row of -inf alone stays so, and one NaN or +inf makes a row NaN.

    Args:
        logits: [..., V], of any dtype.
    """
    below, _ = _below_largest(logits)
    return below - _log_sum(below)


def _below_largest(logits: Array) -> tuple[Array, Array]:
    """Logits minus the largest of their row, [..., V], and that, [..., 1], or 0 where it is -inf; float32 or wider."""
    logits = logits.astype(score_dtype(logits))
    largest = logits.max(axis=-1, keepdims=True)
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    return logits - largest, largest


def _log_sum(below: Array) -> Array:
    """log sum exp of logits whose largest is 0, [..., V] to [..., 1]; 0 where all are -inf."""
    return jnp.log(jnp.maximum(jnp.exp(below).sum(axis=-1, keepdims=True), 1))


def add(total: Total, term: Array) -> Total:
    """A total and one more term, whose rounding error is carried to the next addition (Kahan's sum).

    Args:
        total: leaves [...].
        term: [...].
    """
    corrected = term + total.rest
    value = total.value + corrected
    rest = corrected - (value - total.value)
    return Total(value, jnp.where(jnp.isfinite(rest), rest, 0))


@jax.jit
def compensated_sum(values: Array) -> Array:
    """Kahan's sum over the last axis: [..., L] to [...]."""
    zero = varying_as(jnp.zeros(values.shape[:-1], values.dtype), values)
    total, _ = jax.lax.scan(lambda total, term: (add(total, term), None), Total(zero, zero), jnp.moveaxis(values, -1, 0))
    return total.value
