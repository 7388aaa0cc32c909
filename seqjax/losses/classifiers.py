"""The loss and the accuracy of a classifier; its fields choose the loss."""

import jax.numpy as jnp

from seqjax.checks import check_rate
from seqjax.errors import InputError
from seqjax.losses.classification import cross_entropy, focal
from seqjax.types import Array
from seqjax.weighted import Weighted


def check_objective(owner, classes: int):
    """Raise InputError unless the fields class_weights, label_smoothing and focal of a classifier fit each other."""
    check_rate(owner, owner.label_smoothing)
    name, weights, gamma = type(owner).__name__, owner.class_weights, owner.focal
    if weights is not None and (len(weights) != classes or not all(weight >= 0 for weight in weights)):
        raise InputError(f"{name} has class_weights={weights}, it must hold a number >= 0 for each of {classes} classes")
    if gamma is not None and (not gamma >= 0 or owner.label_smoothing):
        raise InputError(f"{name} has focal={gamma}, it must be a number >= 0, and label_smoothing must then be 0")


def objective(owner, scores: Array, targets: Array, mask: Array, *, weights: Array | None = None, training: Array) -> Weighted:
    """Cross-entropy, with label smoothing in training, or the focal loss.

    Args:
        owner: has class_weights, label_smoothing and focal (the exponent, or None), as `check_objective` checks them.
        scores: floating, [..., C].
        targets: integer, [...].
        mask: bool, [...], True where a target counts.
        weights: floating, [...]: how much each target counts; None: 1.
        training: floating, []: 1 in training, else 0.

    Returns:
        Weighted: the sum and its weight.
    """
    common = {"class_weights": owner.class_weights, "weights": weights}
    if owner.focal is not None:
        return focal(scores, targets, mask, gamma=owner.focal, **common)
    smoothing = owner.label_smoothing * training if owner.label_smoothing else 0.0
    return cross_entropy(scores, targets, mask, smoothing=smoothing, **common)


def accuracy(scores: Array, targets: Array, mask: Array) -> Weighted:
    """The share of targets whose class has the highest score.

    Args:
        scores: [..., C], or probabilities.
        targets: integer, [...].
        mask: bool, [...], True where a target counts.

    Returns:
        Weighted: the number of right ones, and of all.
    """
    right = mask & (scores.argmax(axis=-1) == targets)
    return Weighted(right.sum(dtype=jnp.float32), mask.sum(dtype=jnp.float32))
