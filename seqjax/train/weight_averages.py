"""Averages of weights over the steps of training, as a part of the optimizer that leaves training itself unchanged."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqjax.serial import register
from seqjax.types import Array, Params


@register
class Trigger(NamedTuple):
    """The figures that decide when `asgd` begins to average.

    Args:
        figure: floating, [], the figure of an evaluation since the last step (see `optim.observe`); NaN: none.
        recent: floating, [n], the last n figures, the newest first.
        earlier: floating, [], the lowest figure before them.
    """

    figure: Array
    recent: Array
    earlier: Array


@register
class AverageState(NamedTuple):
    """The state of `ema` and `asgd`.

    Args:
        average: the average, of the structure of the parameters.
        count: int32, [], the number of terms in it; 0: it is still the parameters themselves.
        trigger: Trigger of `asgd`; () of `ema`.
    """

    average: Params
    count: Array
    trigger: Any


def ema(decay: float) -> optax.GradientTransformation:
    """The exponential average of the parameters after each step; the updates pass through unchanged.

        average[t] = sum over s = 1..t of decay^(t-s) theta[s], divided by the sum of the weights

    Args:
        decay: from 0 to below 1.

    Returns:
        An optax transformation, to be the last of a chain.

    Example:
        >>> tracked = ema(0.5)
        >>> params = {"w": jnp.zeros(())}
        >>> state = tracked.init(params)
        >>> for value in (3.0, 6.0):
        ...     _, state = tracked.update({"w": jnp.array(value)}, state, params)
        >>> float(state.average["w"])  # (0.5 * 3 + 6) / 1.5
        5.0
    """

    def update(updates, state, params=None):
        count = state.count + 1
        total = -jnp.expm1(count.astype(float) * math.log(decay)) if decay else jnp.ones(())
        return updates, AverageState(_mix(state.average, params, updates, (1 - decay) / total), count, ())

    return optax.GradientTransformation(lambda params: AverageState(_copy(params), jnp.zeros((), jnp.int32), ()), update)


def asgd(patience: int) -> optax.GradientTransformation:
    """The mean of the parameters since the validation figure stopped falling; the updates pass through unchanged.

        average = (theta[T] + ... + theta[t]) / (t - T + 1)

    T is the step of the first evaluation whose figure is above the lowest of those before the last `patience`. Until then the
    average is the parameters.

    Args:
        patience: n of the paper, at least 1.

    Returns:
        An optax transformation, to be the last of a chain, which reads the figure that `optim.observe` has put into its state.

    Example:
        >>> from seqjax.train.optim import observe
        >>> tracked, params = asgd(1), {"w": jnp.zeros(())}
        >>> state = tracked.init(params)
        >>> for figure in (3.0, 2.0, 4.0):  # 4 is above 3, the lowest before the last
        ...     updates, state = tracked.update({"w": jnp.ones(())}, observe(state, figure), params)
        ...     params = optax.apply_updates(params, updates)
        >>> float(state.average["w"])  # (2 + 3) / 2
        2.5

    Polyak and Juditsky 1992; Merity, Keskar and Socher 2017, arXiv:1708.02182, algorithm 1 (non-monotonically triggered).
    """

    def init(params) -> AverageState:
        infinite = jnp.full((), jnp.inf)
        trigger = Trigger(jnp.full((), jnp.nan), jnp.full((patience,), jnp.inf), infinite)
        return AverageState(_copy(params), jnp.zeros((), jnp.int32), trigger)

    def update(updates, state, params=None):
        figure, recent, earlier = state.trigger
        seen, count = ~jnp.isnan(figure), state.count
        fired = seen & (figure > earlier)
        oldest = jnp.minimum(earlier, recent[-1])
        pushed = jnp.concatenate([figure[None], recent[:-1]])
        trigger = Trigger(jnp.full_like(figure, jnp.nan), jnp.where(seen, pushed, recent), jnp.where(seen, oldest, earlier))
        count = jnp.where(count > 0, count + 1, jnp.where(fired, 2, 0)).astype(count.dtype)
        weight = 1 / jnp.maximum(count, 1).astype(float)
        return updates, AverageState(_mix(state.average, params, updates, weight), count, trigger)

    return optax.GradientTransformation(init, update)


def averaged(opt_state) -> Params | None:
    """The average that an optimizer keeps; None if it keeps none."""
    state = find_average(opt_state)
    return None if state is None else state.average


def find_average(opt_state) -> AverageState | None:
    """The AverageState in the state of an optimizer; None if there is none."""
    leaves = jax.tree.leaves(opt_state, is_leaf=_is_average)
    return next((leaf for leaf in leaves if _is_average(leaf)), None)


def with_average(opt_state, average):
    """The state of an optimizer with another average."""
    return jax.tree.map(lambda a: a._replace(average=average) if _is_average(a) else a, opt_state, is_leaf=_is_average)


def _is_average(value) -> bool:
    return isinstance(value, AverageState)


def _copy(params):
    return jax.tree.map(jnp.array, params)  # two buffers, so that a state can be donated


def _mix(average, params, updates, weight: Array):
    new = optax.apply_updates(params, updates)

    def mix(a, b):
        share = weight.astype(b.dtype)
        return (1 - share) * a + share * b  # exactly b where the weight is 1

    return jax.tree.map(mix, average, new)
