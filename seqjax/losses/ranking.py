"""Ranking losses of activity progression: the longer an activity has been watched, the surer the model should be of it.

They are added to the classification loss of every frame: L = L_c + lambda L_r, where L_r is one of the two.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array, check_classes
from seqjax.errors import InputError
from seqjax.types import Array, at_least_float32
from seqjax.weighted import Weighted


@public
def score_ranking(logits: Array, targets: Array, mask: Array | None = None) -> Weighted:
    """Ranking loss on the detection score: a score that falls while its activity goes on, or stays after it has ended.

    With p[t] = softmax(logits[t]), y[t] the target, and s the first frame of the activity that goes on at t:

        L_s[t] = max(0, p*[t] - p[t, y[t]])    if y[t] = y[t-1],   p*[t] = max over s <= u < t of p[u, y[t]]
        L_s[t] = p[t, y[t-1]]                  at a transition, y[t] != y[t-1]: the earlier activity's score should be 0
        L_s[t] = 0                             in the first frame

    A masked frame separates: the frame after it is a first frame, since nothing is known of the time between. So is the first
    frame of a batch, also where the batch continues a recording with a carried state: one frame of a chunk then lacks its loss,
    and the highest score of the chunk before is forgotten.

    Args:
        logits: floating, [B, T, C].
        targets: integer, [B, T], 0 <= targets < C where the mask is True.
        mask: bool, [B, T], True where a frame counts; None: everywhere.

    Returns:
        Weighted: the sum over real frames, and their number, as in `cross_entropy`, so that
        `Weighted(c.sum + lambda_ * r.sum, c.weight)` is L_c + lambda L_r. float32 or wider. Gradients reach p* too, in the
        frame that holds it (the earliest one of several).

    Raises:
        InputError: logits are not [B, T, C] with C at least 2, or targets or mask are not [B, T].

    Example:
        >>> p = jnp.array([[[0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]])
        >>> loss = score_ranking(jnp.log(p), jnp.array([[0, 0, 0, 1]]))
        >>> round(float(loss.sum), 4), float(loss.weight)  # 0.9 - 0.6 in the third frame, 0.3 in the fourth
        (0.6, 4.0)

    Ma, Sigal, Sclaroff 2016, Learning Activity Progression in LSTMs for Activity Detection and Early Detection, equations 7
    and 8.
    """
    return _progression(logits, targets, mask, _score)


@public
def margin_ranking(logits: Array, targets: Array, mask: Array | None = None) -> Weighted:
    """Ranking loss on the margin: the lead of an activity's score over every other falls while it goes on, or stays after it.

    With p[t] = softmax(logits[t]) and the margin m[t, y] = p[t, y] - max over y' != y of p[t, y']:

        L_m[t] = max(0, m*[t] - m[t, y[t]])    if y[t] = y[t-1],   m*[t] = max over s <= u < t of m[u, y[t]]
        L_m[t] = max(0, m[t, y[t-1]])          at a transition: the earlier activity should lead no more
        L_m[t] = 0                             in the first frame

    Args:
        logits, targets, mask: as for `score_ranking`, first frames too.

    Returns:
        As for `score_ranking`.

    Raises:
        InputError: as for `score_ranking`.

    Example:
        >>> p = jnp.array([[[0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]])
        >>> loss = margin_ranking(jnp.log(p), jnp.array([[0, 0, 0, 1]]))
        >>> round(float(loss.sum), 4)  # 0.8 - 0.2 in the third frame; in the fourth class 0 does not lead
        0.6

    Ma, Sigal, Sclaroff 2016, Learning Activity Progression in LSTMs for Activity Detection and Early Detection, equations 14
    and 15.
    """
    return _progression(logits, targets, mask, _margin)


def _progression(logits: Array, targets: Array, mask: Array | None, measure) -> Weighted:
    """The ranking loss of `measure(p [B, T, C], classes [B, T]) -> [B, T]`."""
    logits = check_array("logits", logits, "floating", "B", "T", "C")
    if logits.shape[-1] < 2:
        raise InputError(f"logits have shape {logits.shape}, they must be [B, T, C] with at least 2 classes")
    leading = logits.shape[:2]
    targets = check_array("targets", targets, "integer", *leading)
    real = np.ones(leading, np.bool_) if mask is None else check_array("mask", mask, "bool", *leading)
    check_classes("targets", targets, logits.shape[-1], real)
    return _ranked(logits, targets, real, measure)


@functools.partial(jax.jit, static_argnums=3)
def _ranked(logits: Array, targets: Array, real: Array, measure) -> Weighted:
    logits = logits.astype(at_least_float32(logits.dtype))
    logits = jnp.where(real[..., None], logits, jnp.zeros((), logits.dtype))  # NaN in padding reaches no gradient
    targets = jnp.where(real, targets, jnp.zeros((), targets.dtype))
    if not logits.shape[1]:
        return Weighted(jnp.zeros((), logits.dtype), jnp.zeros((), logits.dtype))
    p = jax.nn.softmax(logits)  # [B, T, C]
    earlier = jnp.concatenate([targets[:, :1], targets[:, :-1]], axis=1)  # [B, T], the target of the frame before
    follows = real & jnp.concatenate([jnp.zeros_like(real[:, :1]), real[:, :-1]], axis=1)  # [B, T], not a first frame
    goes_on = follows & (targets == earlier)  # [B, T]
    measured = measure(p, targets)  # [B, T]
    highest = _highest_before(measured, goes_on)  # [B, T]
    falls = jax.nn.relu(highest - measured)  # [B, T]
    stays = jax.nn.relu(measure(p, earlier))  # [B, T]
    zero = jnp.zeros((), p.dtype)
    losses = jnp.where(goes_on, falls, jnp.where(follows, stays, zero))
    return Weighted(losses.sum(), real.sum(dtype=p.dtype))


def _score(p: Array, classes: Array) -> Array:
    """p[b, t, classes[b, t]], [B, T]."""
    return jnp.take_along_axis(p, classes[..., None], axis=-1)[..., 0]


def _margin(p: Array, classes: Array) -> Array:
    """The lead of the given class over the best other class, [B, T]."""
    others = jnp.where(jax.nn.one_hot(classes, p.shape[-1], dtype=jnp.bool_), jnp.zeros((), p.dtype), p)  # [B, T, C]
    return _score(p, classes) - others.max(axis=-1)


def _highest_before(values: Array, goes_on: Array) -> Array:
    """The highest value of the earlier frames of the run that `goes_on` continues; the frame's own value where a run begins.

    The place of the maximum is found without gradients, by a scan in log2 T levels; then the value is read at that place.
    """
    rows, steps = values.shape
    places = jnp.broadcast_to(jnp.arange(steps, dtype=jnp.int32), (rows, steps))

    def later(first, second):
        # Two neighbouring stretches, each with its highest value, the place of it and whether it joins what comes before.
        value, place, joins = first
        next_value, next_place, next_joins = second
        keeps = next_joins & (value >= next_value)
        return jnp.where(keeps, value, next_value), jnp.where(keeps, place, next_place), joins & next_joins

    _, best, _ = jax.lax.associative_scan(later, (jax.lax.stop_gradient(values), places, goes_on), axis=1)
    before = jnp.concatenate([places[:, :1], best[:, :-1]], axis=1)  # the best place up to the frame before
    return jnp.take_along_axis(values, jnp.where(goes_on, before, places), axis=1)
