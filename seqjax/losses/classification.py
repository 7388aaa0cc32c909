"""Classification losses, as sums with weights that add up over batches and devices."""

import jax
import jax.numpy as jnp

from seqjax.types import Array, at_least_float32
from seqjax.weighted import Weighted


def cross_entropy(logits: Array, targets: Array, mask: Array | None = None, *, smoothing: float | Array = 0.0) -> Weighted:
    """Softmax cross-entropy against integer targets, in nats.

        sum over real steps of  logsumexp(logits) - (1 - smoothing) logits[target] - smoothing mean(logits)

    Args:
        logits: floating, [..., V].
        targets: integer, [...], 0 <= targets < V.
        mask: bool, [...], True where a target counts; None: everywhere.
        smoothing: the share of the target distribution that is spread evenly over all V symbols, 0 to 1; a number or floating [].

    Returns:
        Weighted: the sum and the number of counted targets, float32 or wider.

    Example:
        >>> float(cross_entropy(jnp.zeros((1, 2, 4)), jnp.array([[1, 3]])).mean)  # log 4
        1.3862943649291992

    Szegedy et al. 2015, arXiv:1512.00567 (label smoothing).
    """
    logits = logits.astype(at_least_float32(logits.dtype))
    if mask is not None:  # before the logarithm: NaN times a zero cotangent would still be NaN
        logits = jnp.where(mask[..., None], logits, jnp.zeros((), logits.dtype))
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if isinstance(smoothing, Array) or smoothing:
        share = jnp.asarray(smoothing, logits.dtype)
        picked = (1 - share) * picked + share * logits.mean(axis=-1)
    nats = jax.nn.logsumexp(logits, axis=-1) - picked
    if mask is None:
        return Weighted(nats.sum(), jnp.asarray(nats.size, nats.dtype))
    return Weighted(jnp.where(mask, nats, jnp.zeros((), nats.dtype)).sum(), mask.sum(dtype=nats.dtype))
