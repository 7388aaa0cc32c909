"""Losses of numbers."""

import jax.numpy as jnp

from seqjax.annotations import public
from seqjax.checks import check_array
from seqjax.types import Array, at_least_float32
from seqjax.weighted import Weighted


@public
def squared_error(predictions: Array, targets: Array, mask: Array | None = None) -> Weighted:
    """The squared error of numbers.

        sum over real numbers of  (prediction - target)^2

    Args:
        predictions: floating, [..., C].
        targets: floating, [..., C].
        mask: bool, [...], True where a step's numbers count; None: everywhere.

    Returns:
        Weighted: the sum and the number of counted numbers (steps times C), float32 or wider.

    Raises:
        InputError: targets or mask of another shape.

    Example:
        >>> mask = jnp.array([[True, False]])
        >>> float(squared_error(jnp.zeros((1, 2, 2)), jnp.array([[[1.0, 3.0], [jnp.nan, 0.0]]]), mask).mean)
        5.0
    """
    predictions = jnp.asarray(check_array("predictions", predictions, "floating", "...", "C"))
    predictions = predictions.astype(at_least_float32(predictions.dtype))
    targets = jnp.asarray(check_array("targets", targets, "floating", *predictions.shape)).astype(predictions.dtype)
    errors = predictions - targets
    if mask is not None:
        mask = jnp.asarray(check_array("mask", mask, "bool", *predictions.shape[:-1]))
        errors = jnp.where(jnp.broadcast_to(mask[..., None], errors.shape), errors, jnp.zeros((), errors.dtype))
    count = errors.size if mask is None else mask.sum(dtype=errors.dtype) * errors.shape[-1]
    return Weighted((errors**2).sum(), jnp.asarray(count, errors.dtype))
