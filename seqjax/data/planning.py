"""Plans of batches by length, for items of one or several sides: few static shapes, and every item once an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from seqjax.errors import InputError

Shape = tuple[int, ...]
Plan = list[tuple[Shape, np.ndarray]]


def quantile_shapes(lengths: np.ndarray, count: int, *, what: str) -> tuple[Shape, ...]:
    """Batch shapes in rising order, no side shrinking; every item fits the last.

        shape_n = quantile(1 - (1 - n / count)^2) of each side's lengths

    The square puts more shapes among the rare long items, which would otherwise be padded most.

    Args:
        lengths: integers, [N, sides].
        count: the number of quantiles; equal shapes are merged.
        what: the plural of the items' name, for the error message.

    Returns:
        At most `count` shapes, each with one integer of at least 1 a side.

    Raises:
        InputError: there is no item, or count is below 1.

    Example:
        >>> quantile_shapes(np.arange(1, 101)[:, None], 3, what="clips")
        ((56,), (89,), (100,))
    """
    if count < 1 or not len(lengths):
        raise InputError(f"there are {len(lengths)} {what} and {count} buckets: give at least 1 of each")
    points = 1 - (1 - np.arange(1, count + 1) / count) ** 2
    sides = [np.maximum(np.quantile(side, points, method="higher"), 1).tolist() for side in lengths.T]
    return tuple(sorted(set(zip(*sides, strict=True))))


def checked_shapes(shapes: Sequence[Sequence[int]]) -> tuple[Shape, ...]:
    """Shapes as tuples of ints, refused unless they rise.

    Args:
        shapes: integers, one sequence a shape, one number a side.

    Returns:
        The shapes.

    Raises:
        InputError: a number is below 1, a side shrinks, or a shape is not larger than the one before.

    Example:
        >>> checked_shapes([[1, 2], [3, 2]])
        ((1, 2), (3, 2))
    """
    chain = tuple(tuple(map(int, shape)) for shape in shapes)
    shrinks = any(a >= b or any(x > y for x, y in zip(a, b, strict=True)) for a, b in pairwise(chain))
    if not chain or min(map(min, chain)) < 1 or shrinks:
        raise InputError(
            f"shapes are {shapes}: each must be larger than the one before, neither side may shrink, and all must be at least 1"
        )
    return chain


def buckets_of(lengths: np.ndarray, shapes: Sequence[Shape]) -> np.ndarray:
    """The index of the first shape that each item fits.

    Args:
        lengths: integers, [N, sides].
        shapes: returned by `checked_shapes`.

    Returns:
        int, [N]; `len(shapes)` for an item that fits none.

    Example:
        >>> buckets_of(np.array([[1], [5], [2], [9]]), ((2,), (5,))).tolist()
        [0, 1, 0, 2]
    """
    sides = [np.searchsorted([shape[n] for shape in shapes], side) for n, side in enumerate(lengths.T)]
    return np.max(sides, axis=0)


def deal(order: np.ndarray, buckets: np.ndarray, shapes: Sequence[Shape], batch_size: int) -> Plan:
    """Ordered items cut into batches: the remainder of a shape goes to the next longer one, and -1 fills up the last batch.

    Args:
        order: indices of items, in the order in which a shape's batches take them.
        buckets: int, [N], returned by `buckets_of`.
        shapes: returned by `checked_shapes`.
        batch_size: B.

    Returns:
        [(shape, indices of items [B]), ...].

    Example:
        >>> deal(np.arange(3), np.array([0, 1, 0]), ((2,), (5,)), 2)
        [((2,), array([0, 2])), ((5,), array([ 1, -1]))]
    """
    batches, remaining = [], order[:0]
    for n, shape in enumerate(shapes):
        remaining = np.concatenate([remaining, order[buckets[order] == n]])
        full = len(remaining) - len(remaining) % batch_size
        batches += [(shape, rows) for rows in remaining[:full].reshape(-1, batch_size)]
        remaining = remaining[full:]
    if len(remaining):
        filled = np.concatenate([remaining, np.full(batch_size - len(remaining), -1)])
        batches.append((shapes[buckets[remaining].max()], filled))
    return batches


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlans:
    """The batches of every epoch: each shape's items shuffled and dealt, then the batches shuffled, all from (seed, epoch).

    Args:
        buckets: int, [N], the index of each item's shape.
        shapes: returned by `checked_shapes`.
        batch_size: B.
        seed: at least 0.

    Example:
        >>> plans = EpochPlans(buckets=np.array([0, 1, 0]), shapes=((2,), (5,)), batch_size=2, seed=0)
        >>> sorted(shape for shape, rows in plans.plan(0))
        [(2,), (5,)]
    """

    buckets: np.ndarray
    shapes: tuple[Shape, ...]
    batch_size: int
    seed: int
    _plans: dict[int, Plan] = field(default_factory=dict, init=False, repr=False)

    def plan(self, epoch: int) -> Plan:
        """(shape, indices of items [B]) for every batch of an epoch; threads may ask for neighbouring epochs at once."""
        plan = self._plans.get(epoch)
        if plan is None:
            generator = np.random.default_rng((self.seed, epoch))
            order = generator.permutation(len(self.buckets))
            batches = deal(order, self.buckets, self.shapes, self.batch_size)
            plan = [batches[n] for n in generator.permutation(len(batches))]
            self._plans[epoch] = plan
            for other in [n for n in list(self._plans) if abs(n - epoch) > 1]:
                self._plans.pop(other, None)
        return plan
