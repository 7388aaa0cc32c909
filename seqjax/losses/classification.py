"""Classification losses, as sums with weights that add up over batches and devices."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import check_weights
from seqjax.errors import InputError
from seqjax.tables import look_up
from seqjax.types import Array, at_least_float32
from seqjax.weighted import Weighted


def cross_entropy(
    logits: Array,
    targets: Array,
    mask: Array | None = None,
    *,
    smoothing: float | Array = 0.0,
    class_weights: Array | Sequence[float] | None = None,
    weights: Array | None = None,
) -> Weighted:
    """Softmax cross-entropy against integer targets, in nats.

        sum over real steps of  w[target] (logsumexp(logits) - (1 - smoothing) logits[target] - smoothing mean(logits))

    Args:
        logits: floating, [..., V].
        targets: integer, [...], 0 <= targets < V where the mask is True.
        mask: bool, [...], True where a target counts; None: everywhere.
        smoothing: the share of the target distribution that is spread evenly over all V symbols, 0 to 1; a number or floating [].
        class_weights: w, floating [V], the factor of a target's loss by its class; None: all 1. `balanced_class_weights` makes
            some whose mean over the data is 1.
        weights: floating, [...], at least 0: how much each target counts, in the sum and in the weight; None: 1.

    Returns:
        Weighted: the sum, and as its weight the number of counted targets (or the sum of their `weights`), whatever the class
        weights are: a frame's gradient then does not depend on the classes of the other frames of its batch. float32 or wider.

    Raises:
        InputError: the class weights are not [V], or the weights have not the shape of the targets.

    Example:
        >>> float(cross_entropy(jnp.zeros((1, 2, 4)), jnp.array([[1, 3]])).mean)  # log 4
        1.3862943649291992
        >>> loss = cross_entropy(jnp.zeros((2, 2)), jnp.array([0, 1]), class_weights=[3.0, 1.0])
        >>> round(float(loss.sum), 4), float(loss.weight)  # 3 log 2 + log 2
        (2.7726, 2.0)

    Szegedy et al. 2015, arXiv:1512.00567 (label smoothing).
    """
    logits, targets = _without_padding(logits, targets, mask)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if isinstance(smoothing, Array) or smoothing:
        share = jnp.asarray(smoothing, logits.dtype)
        picked = (1 - share) * picked + share * logits.mean(axis=-1)
    nats = jax.nn.logsumexp(logits, axis=-1) - picked
    return _counted(_by_class(nats, targets, class_weights, logits.shape[-1]), mask, weights)


def focal(
    logits: Array,
    targets: Array,
    mask: Array | None = None,
    *,
    gamma: float = 2.0,
    class_weights: Array | Sequence[float] | None = None,
    weights: Array | None = None,
) -> Weighted:
    """Focal loss over a softmax: cross-entropy in which well classified targets count little.

        sum over real steps of  -w[target] (1 - p)^gamma log p,   p = softmax(logits)[target]

    With gamma = 0 it is the cross-entropy.

    Args:
        logits: floating, [..., V].
        targets: integer, [...], 0 <= targets < V where the mask is True.
        mask: bool, [...], True where a target counts; None: everywhere.
        gamma: at least 0.
        class_weights: w, the paper's alpha by class, floating [V]; None: all 1.
        weights: as for `cross_entropy`.

    Returns:
        Weighted: as for `cross_entropy`.

    Raises:
        InputError: gamma is negative or not finite; otherwise as for `cross_entropy`.

    Example:
        >>> round(float(focal(jnp.zeros((1, 2)), jnp.array([1])).mean), 4)  # (1 - 1/2)^2 log 2
        0.1733

    Lin, Goyal, Girshick, He, Dollar 2017, arXiv:1708.02002, equation 5; there over a sigmoid, here over a softmax.
    """
    check_weights(gamma=gamma)
    logits, targets = _without_padding(logits, targets, mask)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    missing = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)  # 1 - p; 0 ** (gamma - 1) would be infinite
    return _counted(_by_class(-(missing**gamma) * log_p, targets, class_weights, logits.shape[-1]), mask, weights)


def binary_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> Weighted:
    """Sigmoid cross-entropy of labels that do not exclude each other, in nats.

        sum over real labels of  softplus(logit) - target logit

    Args:
        logits: floating, [..., C].
        targets: bool, integer or floating, [..., C], 0 to 1: the probability that the label applies.
        mask: bool, [..., C], True where a label counts, or [...], the same for all labels of a step; None: everywhere.

    Returns:
        Weighted: the sum and the number of counted labels (steps times C), float32 or wider.

    Raises:
        InputError: targets or mask of another shape.

    Example:
        >>> float(binary_cross_entropy(jnp.zeros((1, 3)), jnp.array([[True, False, True]])).mean)  # log 2
        0.6931471824645996
    """
    if targets.shape != logits.shape:
        raise InputError(f"targets have shape {targets.shape}, they must have that of the logits, {logits.shape}")
    if mask is not None:
        if mask.shape not in (logits.shape, logits.shape[:-1]):
            raise InputError(f"mask has shape {mask.shape}, it must be {logits.shape} or {logits.shape[:-1]}")
        mask = mask if mask.shape == logits.shape else jnp.broadcast_to(mask[..., None], logits.shape)
    logits = logits.astype(at_least_float32(logits.dtype))
    targets = targets.astype(logits.dtype)
    if mask is not None:  # before the logarithm: NaN times a zero cotangent would still be NaN
        logits, targets = (jnp.where(mask, x, jnp.zeros((), x.dtype)) for x in (logits, targets))
    return _counted(jax.nn.softplus(logits) - targets * logits, mask)


def balanced_class_weights(counts) -> tuple[float, ...]:
    """Class weights in inverse proportion to the classes' numbers, of mean 1 over the data.

        w[c] = sum(counts) / (number of classes that occur * counts[c]);   1 for a class that does not occur

    Args:
        counts: integer, [C], the number of targets of each class in the training data.

    Returns:
        C numbers, a tuple as a classifier's field `class_weights` holds it.

    Raises:
        InputError: the counts are not a vector of numbers of at least 0.

    Example:
        >>> balanced_class_weights([3, 1, 0])  # 4 / (2 * 3), 4 / (2 * 1)
        (0.6666666666666666, 2.0, 1.0)
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not np.all(np.isfinite(counts) & (counts >= 0)):
        raise InputError(f"counts are {counts.tolist()}, they must be one number of at least 0 for each class")
    occurs = counts > 0
    weights = counts.sum() / (max(occurs.sum(), 1) * np.where(occurs, counts, 1))
    return tuple(np.where(occurs, weights, 1.0).tolist())


def _without_padding(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    """The logits, at least float32, and the targets, both 0 where the mask is False."""
    logits = logits.astype(at_least_float32(logits.dtype))
    if mask is None:
        return logits, targets
    # Before the logarithm: NaN times a zero cotangent would still be NaN.
    logits = jnp.where(mask[..., None], logits, jnp.zeros((), logits.dtype))
    return logits, jnp.where(mask, targets, jnp.zeros((), targets.dtype))


def _by_class(losses: Array, targets: Array, class_weights, classes: int) -> Array:
    """The losses [...] times the weights of their targets' classes."""
    if class_weights is None:
        return losses
    weights = jnp.asarray(class_weights, losses.dtype)
    if weights.shape != (classes,):
        raise InputError(f"class_weights have shape {weights.shape}, {classes} classes need ({classes},)")
    return losses * look_up(weights, targets)


def _counted(losses: Array, mask: Array | None, weights: Array | None = None) -> Weighted:
    """The sum of the losses where the mask is True, each times its weight, and the sum of these weights."""
    zero = jnp.zeros((), losses.dtype)
    if weights is None:
        weight = jnp.asarray(losses.size, losses.dtype) if mask is None else mask.sum(dtype=losses.dtype)
    else:
        if weights.shape != losses.shape:
            raise InputError(f"weights have shape {weights.shape}, targets have {losses.shape}: they must be equal")
        weights = weights.astype(losses.dtype)
        weights = weights if mask is None else jnp.where(mask, weights, zero)
        losses, weight = losses * weights, weights.sum()
    return Weighted((losses if mask is None else jnp.where(mask, losses, zero)).sum(), weight)
