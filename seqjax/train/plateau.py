"""Decay of the learning rate once the validation figure no longer improves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqjax.serial import register
from seqjax.types import Array


@register
class PlateauState(NamedTuple):
    """The state of `scale_on_plateau`.

    Args:
        figure: floating, [], the figure of an evaluation since the last step (see `optim.observe`); NaN: none.
        best: floating, [], the lowest figure so far.
        since: int32, [], evaluations in a row without a lower figure, since the scale last fell.
        scale: floating, [], the factor of the updates.
    """

    figure: Array
    best: Array
    since: Array
    scale: Array


def scale_on_plateau(factor: float, patience: int, lowest: float = 0.0) -> optax.GradientTransformation:
    """Updates times a factor that falls after `patience` evaluations in a row without a lower figure.

        scale <- max(scale * factor, lowest)

    Args:
        factor: between 0 and 1.
        patience: at least 1.
        lowest: the scale at which the decay ends.

    Returns:
        An optax transformation, which reads the figure that `optim.observe` has put into its state.

    Example:
        >>> from seqjax.train.optim import observe
        >>> halve = scale_on_plateau(0.5, patience=1)
        >>> state = halve.init({"w": jnp.ones(1)})
        >>> for figure in (3.0, 3.0):
        ...     updates, state = halve.update({"w": jnp.ones(1)}, observe(state, figure))
        >>> updates["w"].tolist()
        [0.5]
    """

    def init(params) -> PlateauState:
        never, none = (jnp.asarray(value, float) for value in (jnp.inf, jnp.nan))
        return PlateauState(figure=none, best=never, since=jnp.zeros((), jnp.int32), scale=jnp.ones(()))

    def update(updates, state, params=None):
        figure, best, since, scale = state
        better = figure < best
        since = jnp.where(better, 0, since + (~jnp.isnan(figure)).astype(since.dtype)).astype(since.dtype)
        due = since >= patience
        scale = jnp.where(due, jnp.maximum(scale * factor, lowest), scale)
        after = PlateauState(
            figure=jnp.full_like(figure, jnp.nan),
            best=jnp.where(better, figure, best),
            since=jnp.where(due, jnp.zeros_like(since), since),
            scale=scale,
        )
        return jax.tree.map(lambda update: update * scale.astype(update.dtype), updates), after

    return optax.GradientTransformation(init, update)
