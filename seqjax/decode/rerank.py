"""Minimum Bayes risk: the choice of the output that agrees best with the others."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax.errors import InputError


class Reranked(NamedTuple):
    """The result of `minimum_bayes_risk`.

    Args:
        index: the index of the best candidate.
        utilities: float64, [n]: the expected utility of every candidate.
    """

    index: int
    utilities: np.ndarray


def minimum_bayes_risk(
    candidates: Sequence[Hashable],
    utility: Callable[[Any, Any], float],
    *,
    weights: Sequence[float] | None = None,
) -> Reranked:
    """The candidate with the greatest expected utility, under the distribution of the candidates themselves.

        argmax_i sum_j w_j utility(y_i, y_j)

    Runs on the host. Equal candidates are compared once; if utilities are equal, the first candidate is chosen.

    Args:
        candidates: outputs for one input, usually samples: texts, or tuples of symbols. A sample drawn more than once is
            given more than once.
        utility: a function of (hypothesis, reference); greater is better. Sentence-level chrF or BLEU, for example.
        weights: the weight of each candidate as a reference, not all 0; None: equal weights.

    Returns:
        Reranked.

    Raises:
        InputError: no candidates, or weights that do not fit them.

    Example:
        >>> def overlap(hypothesis, reference):
        ...     return len({*hypothesis.split()} & {*reference.split()})
        >>> minimum_bayes_risk(["no", "a black train", "the black train", "a train on tracks"], overlap).index
        1

    Kumar, Byrne 2004; Eikema, Aziz 2020 (over samples).
    """
    if not candidates:
        raise InputError("there are no candidates to choose from: give at least one")
    shares = np.ones(len(candidates)) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (len(candidates),) or not (np.isfinite(shares) & (shares >= 0)).all() or not shares.sum() > 0:
        raise InputError(f"weights must be {len(candidates)} finite numbers, one for each candidate, at least 0 and not all 0")
    index_of = {candidate: i for i, candidate in enumerate(dict.fromkeys(candidates))}  # distinct candidates
    indices = [index_of[candidate] for candidate in candidates]
    mass = np.bincount(indices, shares / shares.sum())
    expected = [sum(w * utility(y, z) for z, w in zip(index_of, mass, strict=True) if w) for y in index_of]
    utilities = np.array(expected, np.float64)[indices]
    return Reranked(int(utilities.argmax()), utilities)
