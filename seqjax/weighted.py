"""Sums with their weights, from which means over several batches are made."""

from typing import NamedTuple

import jax.numpy as jnp

from seqjax.serial import register
from seqjax.types import Array


@register
class Weighted(NamedTuple):
    """A sum and its weight. The mean is `sum / weight`; two sums add up, and so do their weights.

    Args:
        sum: floating, [].
        weight: floating, [], the number of terms, or the sum of their weights.

    Example:
        >>> total = Weighted(jnp.array(6.0), jnp.array(2.0)) + Weighted(jnp.array(2.0), jnp.array(2.0))
        >>> float(total.mean)
        2.0
    """

    sum: Array
    weight: Array

    @property
    def mean(self) -> Array:
        """`sum / weight`; 0 where the weight is 0."""
        return self.sum / jnp.where(self.weight > 0, self.weight, jnp.ones_like(self.weight))

    def __add__(self, other):
        return Weighted(self.sum + other.sum, self.weight + other.weight)
