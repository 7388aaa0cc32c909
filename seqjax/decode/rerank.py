"""Minimum Bayes risk: the choice of the output that agrees best with the others."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_number, shown
from seqjax.errors import InputError


class Reranked(NamedTuple):
    """The result of `minimum_bayes_risk`.

    Args:
        index: the index of the best candidate.
        utilities: float64, [n]: the expected utility of every candidate.
    """

    index: int
    utilities: np.ndarray


@public
def minimum_bayes_risk(
    candidates: Sequence[Any],
    utility: Callable[[Any, Any], float],
    *,
    weights: Sequence[float] | None = None,
) -> Reranked:
    """The candidate with the greatest expected utility, under the distribution of the candidates themselves.

        argmax_i sum_j w_j utility(y_i, y_j)

    Runs on the host. Equal candidates are compared once; if utilities are equal, the first candidate is chosen.

    Args:
        candidates: outputs for one input, usually samples: texts, or sequences of symbols, also as rows of an array. Give a
            sample that was drawn more than once as often as it was drawn.
        utility: a function of (hypothesis, reference); greater is better. Sentence-level chrF or BLEU, for example.
        weights: the weight of each candidate as a reference, not all 0; None: equal weights.

    Returns:
        Reranked.

    Raises:
        InputError: no candidates, weights that do not fit them, or a utility that is not a number.

    Example:
        >>> def overlap(hypothesis, reference):
        ...     return len({*hypothesis.split()} & {*reference.split()})
        >>> minimum_bayes_risk(["no", "a black train", "the black train", "a train on tracks"], overlap).index
        1

    Kumar, Byrne 2004; Eikema, Aziz 2020 (over samples).
    """
    if isinstance(candidates, str):
        raise InputError("candidates is one text: give a list of texts")
    if not len(candidates):
        raise InputError("there are no candidates to choose from: give at least one")
    shares = np.ones(len(candidates)) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (len(candidates),) or not (np.isfinite(shares) & (shares >= 0)).all() or not shares.sum() > 0:
        raise InputError(f"weights must be {len(candidates)} finite numbers, one for each candidate, at least 0 and not all 0")
    distinct: dict[Any, Any] = {}
    keys = [_key(candidate) for candidate in candidates]
    for key, candidate in zip(keys, candidates, strict=True):
        distinct.setdefault(key, candidate)
    number_of = {key: number for number, key in enumerate(distinct)}
    indices = [number_of[key] for key in keys]
    mass = np.bincount(indices, shares / shares.sum())
    outputs = list(distinct.values())
    expected = [sum(w * _number(utility(y, z)) for z, w in zip(outputs, mass, strict=True) if w) for y in outputs]
    utilities = np.array(expected, np.float64)[indices]
    if np.isnan(utilities).any():
        raise InputError(f"the utility of candidate {int(np.isnan(utilities).argmax())} is NaN: it must be a number")
    return Reranked(int(utilities.argmax()), utilities)


def _number(value: Any) -> float:
    if (number := as_number(value)) is None:
        raise InputError(f"the utility is {shown(value)}, it must be a function that returns a number")
    return number


def _key(candidate: Any) -> Any:
    """A value that is equal for equal candidates and can be hashed: lists and arrays become tuples."""
    if hasattr(candidate, "tolist"):
        candidate = candidate.tolist()
    return tuple(map(_key, candidate)) if isinstance(candidate, list | tuple) else candidate
