"""Classification losses, as sums with weights that add up over batches and devices."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.annotations import public
from seqjax.checks import (
    as_array,
    check_array,
    check_classes,
    check_fraction,
    check_fractions,
    check_values,
    check_weights,
    is_traced,
)
from seqjax.errors import InputError
from seqjax.tables import look_up
from seqjax.types import Array, at_least_float32
from seqjax.weighted import Weighted


@public
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
    logits, targets, mask = _checked(logits, targets, mask)
    picked = _at_targets(logits, targets)
    if not is_traced(smoothing):
        check_fraction(smoothing=smoothing)
    if is_traced(smoothing) or smoothing:
        share = jnp.asarray(smoothing, logits.dtype)
        picked = (1 - share) * picked + share * logits.mean(axis=-1)
    nats = jax.nn.logsumexp(logits, axis=-1) - picked
    return _counted(_by_class(nats, targets, class_weights, logits.shape[-1]), mask, weights)


@public
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
    logits, targets, mask = _checked(logits, targets, mask)
    log_p = _at_targets(jax.nn.log_softmax(logits), targets)
    missing = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)  # 1 - p; 0 ** (gamma - 1) would be infinite
    return _counted(_by_class(-(missing**gamma) * log_p, targets, class_weights, logits.shape[-1]), mask, weights)


@public
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
    logits = jnp.asarray(check_array("logits", logits, "floating", "...", "C"))
    logits = logits.astype(at_least_float32(logits.dtype))
    targets = jnp.asarray(as_array("targets", targets))
    targets = check_array("targets", targets.astype(logits.dtype), "floating", *logits.shape)
    if mask is not None:
        mask = jnp.asarray(check_array("mask", mask, "bool", "..."))
        if mask.shape not in (logits.shape, logits.shape[:-1]):
            raise InputError(f"mask has shape {mask.shape}, it must be {logits.shape} or {logits.shape[:-1]}")
        mask = mask if mask.shape == logits.shape else jnp.broadcast_to(mask[..., None], logits.shape)
    check_fractions("targets", targets, mask)
    if mask is not None:  # before the logarithm: NaN times a zero cotangent would still be NaN
        logits, targets = (jnp.where(mask, x, jnp.zeros((), x.dtype)) for x in (logits, targets))
    return _counted(jax.nn.softplus(logits) - targets * logits, mask)


@public
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
    counts = np.asarray(check_array("counts", counts, "numeric", "C"), np.float64)
    if not np.all(np.isfinite(counts) & (counts >= 0)):
        raise InputError(f"counts are {counts.tolist()}, they must be one number of at least 0 for each class")
    occurs = counts > 0
    weights = counts.sum() / (max(occurs.sum(), 1) * np.where(occurs, counts, 1))
    return tuple(np.where(occurs, weights, 1.0).tolist())


def _checked(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array, Array | None]:
    """The logits, at least float32, and the targets, both 0 where the mask is False; the mask."""
    logits = jnp.asarray(check_array("logits", logits, "floating", "...", "V"))
    logits = logits.astype(at_least_float32(logits.dtype))
    leading, size = logits.shape[:-1], logits.shape[-1]
    targets = check_array("targets", targets, "integer", *leading)
    mask = None if mask is None else check_array("mask", mask, "bool", *leading)
    check_classes("targets", targets, size, mask)
    targets = jnp.asarray(targets)
    if mask is None:
        return logits, targets, None
    # Before the logarithm: NaN times a zero cotangent would still be NaN.
    mask = jnp.asarray(mask)
    logits = jnp.where(mask[..., None], logits, jnp.zeros((), logits.dtype))
    return logits, jnp.where(mask, targets, jnp.zeros((), targets.dtype)), mask


def _at_targets(values: Array, targets: Array) -> Array:
    """values[..., target], [...]; NaN for a target that is no class, which is found only where targets are not traced."""
    index = jnp.where(targets < 0, values.shape[-1], targets.astype(jnp.int32))
    return jnp.take_along_axis(values, index[..., None], axis=-1, mode="fill")[..., 0]


def _by_class(losses: Array, targets: Array, class_weights, classes: int) -> Array:
    """The losses [...] times the weights of their targets' classes."""
    if class_weights is None:
        return losses
    given = check_array("class_weights", class_weights, "numeric", classes)
    check_values("class_weights", given, *_WEIGHTS)
    weights = jnp.asarray(given, losses.dtype)
    return losses * look_up(weights, targets)


def _counted(losses: Array, mask: Array | None, weights: Array | None = None) -> Weighted:
    """The sum of the losses where the mask is True, each times its weight, and the sum of these weights."""
    zero = jnp.zeros((), losses.dtype)
    if weights is None:
        weight = jnp.asarray(losses.size, losses.dtype) if mask is None else mask.sum(dtype=losses.dtype)
    else:
        weights = check_array("weights", weights, "numeric", *losses.shape)
        check_values("weights", weights, *_WEIGHTS, mask)
        weights = jnp.asarray(weights, losses.dtype)
        weights = weights if mask is None else jnp.where(mask, weights, zero)
        losses, weight = losses * weights, weights.sum()
    return Weighted((losses if mask is None else jnp.where(mask, losses, zero)).sum(), weight)


_WEIGHTS = "finite and at least 0", lambda weights: (weights >= 0) & (weights < np.inf)
