"""The loss and the accuracy of a classifier; its fields choose the loss."""

import jax.numpy as jnp

from seqjax.checks import check_rate, check_weights
from seqjax.errors import InputError
from seqjax.losses.classification import cross_entropy, focal
from seqjax.types import Array
from seqjax.weighted import Weighted


def check_objective(owner, classes: int):
    """Raise InputError unless the fields class_weights, label_smoothing and focal of a classifier fit each other."""
    check_rate(owner, label_smoothing=owner.label_smoothing)
    name, weights, gamma = type(owner).__name__, owner.class_weights, owner.focal
    if weights is not None:
        if len(weights) != classes:
            raise InputError(f"{name} has class_weights={weights}, it must hold a number for each of {classes} classes")
        check_weights(**{f"class_weights[{i}]": weight for i, weight in enumerate(weights)})
    if gamma is not None:
        check_weights(focal=gamma)
        if owner.label_smoothing:
            raise InputError(f"{name} has focal={gamma} and label_smoothing={owner.label_smoothing}: give one of them")


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
    best = scores.argmax(axis=-1)
    right = mask & (best == targets.astype(best.dtype))
    return Weighted(right.sum(dtype=jnp.float32), mask.sum(dtype=jnp.float32))
