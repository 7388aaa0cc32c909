"""The output that agrees best with all others, chosen among samples."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax.errors import InputError


class Choice(NamedTuple):
    """What `minimum_bayes_risk` chose.

    Args:
        index: of the chosen candidate.
        utilities: float64, [n]: the expected utility of every candidate.
    """

    index: int
    utilities: np.ndarray


def minimum_bayes_risk(
    candidates: Sequence[Hashable],
    utility: Callable[[Any, Any], float],
    *,
    weights: Sequence[float] | None = None,
) -> Choice:
    """The candidate with the greatest expected utility, the candidates standing for the distribution.

        argmax_i sum_j w_j utility(y_i, y_j)

    Runs on the host. Equal candidates are compared once; of equal utilities the first candidate is chosen.

    Args:
        candidates: outputs for one source, usually samples: texts, or tuples of symbols. Samples that were drawn
            more than once are given more than once.
        utility: of a hypothesis against a reference, the greater the better, e.g. sentence-level chrF or BLEU.
        weights: of each candidate as a reference, not all 0; None: all alike.

    Returns:
        Choice.

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
        raise InputError(f"weights must be {len(candidates)} finite numbers, one a candidate, at least 0 and not all 0")
    places = {candidate: i for i, candidate in enumerate(dict.fromkeys(candidates))}
    of_candidate = [places[candidate] for candidate in candidates]
    mass = np.bincount(of_candidate, shares / shares.sum())
    expected = np.array([sum(w * utility(y, z) for z, w in zip(places, mass, strict=True) if w) for y in places], np.float64)
    utilities = expected[of_candidate]
    return Choice(int(utilities.argmax()), utilities)
