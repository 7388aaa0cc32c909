"""The one place where logits become log-probabilities, and sums of log-probabilities that stay exact over many steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
    logits = logits.astype(score_dtype(logits))
    largest = logits.max(axis=-1, keepdims=True)
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    below = logits - largest
    if getattr(model, "gives_scores", False):
        return Relative(below, -largest)
    return Relative(below, jnp.log(jnp.maximum(jnp.exp(below).sum(axis=-1, keepdims=True), 1)))


def log_probabilities(model: Any, logits: Array) -> Array:
    """log softmax(logits), [..., V], float32 or wider; -inf where nothing is possible, and NaN in a row that holds NaN.

    Args:
        model: the decoder; where its `gives_scores` is true, the logits are returned as they are.
        logits: [..., V], of any dtype.
    """
    if getattr(model, "gives_scores", False):
        return logits.astype(score_dtype(logits))
    below, log_sum = relative(model, logits)
    return below - log_sum


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
def exact_sum(values: Array) -> Array:
    """The sum over the last axis: [..., L] to [...]."""
    zero = jnp.zeros(values.shape[:-1], values.dtype)
    total, _ = jax.lax.scan(lambda total, term: (add(total, term), None), Total(zero, zero), jnp.moveaxis(values, -1, 0))
    return total.value
