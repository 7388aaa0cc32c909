"""Teacher forcing: a decoder in training reads the true symbol or, at random, one that it draws."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.annotations import public
from seqjax.categorical import quantile
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.placement import varying_alike
from seqjax.serial import register
from seqjax.types import Array, Key, State
from seqjax.values import Value


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherForcing(Value):
    """The probability that a decoder in training reads the true symbol rather than its own, at training step i.

        linear  max(floor, 1 - i / k)      exponential  max(floor, k^i)      inverse_sigmoid  max(floor, k / (k + exp(i / k)))

    Args:
        decay: "linear", "exponential" or "inverse_sigmoid".
        k: linear: the step at which the probability would reach 0, above 0; exponential: the base, 0 < k < 1;
            inverse_sigmoid: at least 1, the probability is 1/2 after k log k steps (floor aside).
        floor: the least probability, 0 to 1.

    Raises:
        InputError: an unknown decay, or a number outside its range.

    Example:
        >>> [TeacherForcing(decay="linear", k=100, floor=0.25).probability(step) for step in (0, 50, 1000)]
        [1.0, 0.5, 0.25]

    Bengio, Vinyals, Jaitly, Shazeer 2015, arXiv:1506.03099.
    """

    decay: str
    k: float
    floor: float = 0.0

    def __post_init__(self):
        ranges = {"linear": (0.0, math.inf), "exponential": (0.0, 1.0), "inverse_sigmoid": (1.0, math.inf)}
        if self.decay not in ranges:
            raise InputError(f"decay {self.decay!r} is not known: choose one of {', '.join(ranges)}")
        low, high = ranges[self.decay]
        if not (low < self.k < high or (self.k == low == 1.0)):
            raise InputError(f"k is {self.k}, for {self.decay} decay it must be between {low:g} and {high:g}")
        if not 0 <= self.floor <= 1:
            raise InputError(f"floor is {self.floor}, it must be from 0 to 1")

    @public
    def probability(self, step: int) -> float:
        """The probability of reading the true symbol.

        Args:
            step: training steps done, at least 0.

        Returns:
            From floor to 1.
        """
        if step < 0:
            raise InputError(f"step is {step}, it must be at least 0")
        if self.decay == "linear":
            truth = 1 - step / self.k
        elif self.decay == "exponential":
            truth = self.k**step
        else:
            truth = 1 / (1 + math.exp(min(step / self.k - math.log(self.k), 700.0)))
        return max(self.floor, truth)


def sampled_inputs(
    step: Callable[[Any, State, Array], tuple[State, Array]],
    fixed: Any,
    state: State,
    symbols: Array,
    probability: Array,
    key: Key,
    *,
    per: str,
) -> Array:
    """The symbols that a decoder in training reads: the true ones, or those that it draws itself (scheduled sampling).

    Draws have no derivative: scheduled sampling trains on these symbols as on any others.

    Args:
        step: a decoder's step, (fixed, state, token [B]) to (state, logits [B, V]).
        fixed: its parameters and memory, the same at every step.
        state: before the first step, leaves [B, ...].
        symbols: the true ones, integer [B, T]; the first of a row is always read.
        probability: of reading the true symbol, floating [B].
        key: a typed key.
        per: "token" decides for every symbol, "sequence" for a whole row.

    Returns:
        [B, T], the dtype of symbols.

    Bengio, Vinyals, Jaitly, Shazeer 2015, arXiv:1506.03099.
    """
    k_coin, k_draw = jax.random.split(key)
    fixed, state, symbols, probability = varying_alike((fixed, state, symbols, probability))
    rows, steps = symbols.shape
    coins = jax.random.uniform(k_coin, (steps if per == "token" else 1, rows), probability.dtype)
    reads_truth = jnp.broadcast_to(coins < probability[None], (steps, rows))  # [T, B]
    chances = jax.random.uniform(k_draw, (steps, rows), jnp.float32)  # [T, B]
    first = symbols[:, 0]
    advance = hoist(step, fixed, state, first)

    def read(carry, inputs):
        (state, token), (true_symbol, truth, chance) = carry, inputs
        state, logits = advance(state, token)
        token = jnp.where(truth, true_symbol, quantile(jax.nn.softmax(logits), chance).astype(true_symbol.dtype))
        return (state, token), token

    inputs = (symbols.T, reads_truth, chances)
    if isinstance(steps, int):
        _, following = jax.lax.scan(read, (state, first), jax.tree.map(lambda a: a[1:], inputs))
    else:  # JAX scans no number of steps that might be 0, so there is a step more, whose symbol is not read
        _, following = jax.lax.scan(read, (state, first), jax.tree.map(lambda a: jnp.roll(a, -1, axis=0), inputs))
        following = following[:-1]
    return jnp.concatenate([first[None], following]).T
