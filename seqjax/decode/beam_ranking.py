"""The state of a beam search, and the ranking of its hypotheses: penalties, order, and symbols read back through parents.

Shapes: B rows, K beams of a row, G groups, k beams of a group, T steps of the buffer, E end symbols, V symbols, S source
positions. A group keeps as many hypotheses as it has beams.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.decode.constraints import Rules
from seqjax.decode.decoder import Decoded
from seqjax.decode.penalties import coverage_penalty, length_penalty
from seqjax.decode.probabilities import Total
from seqjax.placement import varying_as
from seqjax.types import Array, State

_ENDED, _CUT_OFF, _MISSING = 0, 1, 2  # ranks of hypotheses


class Plan(NamedTuple):
    """Static settings of a search: another value compiles another program."""

    groups: int  # G
    size: int  # k
    buffer: int  # T


class Settings(NamedTuple):
    """Array settings of a search; None leaves a feature out of the program."""

    ends: Array  # [E]
    limit: Array  # [] or [B]: the most symbols of an output
    alpha: Array  # of the length penalty
    beta: Array | None  # of the coverage penalty
    diversity: Array | None
    early_stop: Array  # bool
    rules: Rules | None
    attended: Array | None  # bool [B, S]: the positions that coverage counts


class Ended(NamedTuple):
    """The best hypotheses that took an end symbol, best first, all [B, G, k]; a missing one has score -inf and length 0."""

    score: Array  # the value that the search maximises
    change: Array | None  # the part of the log-probability that constraints added; None where they only forbid
    length: Array
    choice: Array  # the beam of its group that took an end symbol, times E, plus the end symbol's number


class Beams(NamedTuple):
    """The state of the loop. A beam is live where its score is above -inf and its row is not at its limit."""

    time: Array
    state: State  # leaves [K, B, ...]
    at: Array | None  # [K, B], states of the automaton of phrases
    token: Array  # [K, B]
    score: Total  # [B, G, k]: log-probabilities
    change: Array  # [B, G, k]: what constraints added to them; 0 where they only forbid
    parents: Array  # [T, B, G, k]: the beam of its group that each beam continued, step by step
    symbols: Array  # [T, B, G, k]: the symbol that it appended
    coverage: Array | None  # [K, B, S]
    tokens: Array | None  # [T, K, B]: the symbols of each beam so far, where a rule reads them
    ended: Ended | None
    reached: Array  # [B]: symbols of the first beam when it was last live
    failed: Array  # bool [B]: a live beam's logits were NaN


class _Pool(NamedTuple):
    """Hypotheses to be ranked, all of one shape; sorted by rank, then by cost."""

    rank: Array
    cost: Array  # the negative score
    change: Array
    length: Array
    last: Array  # the last symbol
    parent: Array  # the beam of its group that took the last symbol
    group: Array


def divisor(settings: Settings, length, dtype) -> Array:
    """The length penalty of hypotheses of `length` symbols: the divisor of their log-probability."""
    return length_penalty(jnp.asarray(length, jnp.int32), settings.alpha).astype(dtype)


def penalised(settings: Settings, log_p: Array, length: Array, coverage: Array | None) -> Array:
    """Scores with both penalties, log p / lp + cp: [B, G, k], or [B, G, k * E] for hypotheses that end with each of E symbols."""
    score = log_p / divisor(settings, length, log_p.dtype)
    if coverage is None or settings.beta is None:
        return score
    attended = None if settings.attended is None else jnp.broadcast_to(settings.attended[None], coverage.shape)
    penalty = coverage_penalty(coverage, settings.beta, attended).T  # [B, K]
    rows, groups, size = score.shape
    beams = penalty.shape[1] // groups
    penalty = jnp.broadcast_to(penalty.reshape(rows, groups, beams, 1), (rows, groups, beams, size // beams))
    return score + penalty.reshape(score.shape)


def merged(ended: Ended, now: Ended) -> Ended:
    """The k best of the hypotheses that had ended and of those that end now; of equals, the earlier one."""
    both = jax.tree.map(lambda *pair: jnp.concatenate(pair, axis=-1), ended, now)  # [B, G, k + k E]
    best, index = jax.lax.top_k(both.score, ended.score.shape[-1])
    chosen = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, index, axis=-1), both._replace(score=None))
    return chosen._replace(score=best, length=jnp.where(best > -jnp.inf, chosen.length, 0))


def finish(plan: Plan, settings: Settings, beams: Beams, limit: Array) -> Decoded:
    """The best hypotheses of all groups, [B, K, T], and their symbols, read backwards from parent to parent."""
    pool = _ranked(plan, _pool(settings, beams, limit))  # leaves [B, G * k]
    pool = _with_unfinished(beams, pool)
    length = pool.length
    beams_shape = (length.shape[0], plan.groups * plan.size)  # [B, K]

    def back(step, carry):
        beam, tokens = carry  # [B, G * k], [T, B, G * k]
        time = beams.time - 1 - step
        column = pool.group * plan.size + beam
        parent = jnp.take_along_axis(beams.parents[time].reshape(beams_shape), column, axis=1)
        symbol = jnp.take_along_axis(beams.symbols[time].reshape(beams_shape), column, axis=1)
        is_before_last = time < length - 1
        emitted = jnp.where(is_before_last, symbol, jnp.where(time == length - 1, pool.last, 0))
        return jnp.where(is_before_last, parent, beam), tokens.at[time].set(emitted)

    tokens = varying_as(jnp.zeros((plan.buffer, *length.shape), jnp.int32), length)
    _, tokens = jax.lax.fori_loop(0, beams.time, back, (pool.parent, tokens))
    own = -pool.cost - jnp.where(pool.change == 0, 0, pool.change / divisor(settings, length, pool.change.dtype))
    decoded = Decoded(tokens.transpose(1, 2, 0), length, own)
    return decoded if plan.groups == 1 else _distinct(decoded)


def _pool(settings: Settings, beams: Beams, limit: Array) -> _Pool:
    """The hypotheses that ended, and those cut off at their limit: leaves [B, G, 2 k] ([B, G, k] without end symbols)."""
    row = jnp.broadcast_to(limit[:, None, None], beams.score.value.shape)
    score = penalised(settings, beams.score.value + beams.change, row, beams.coverage)
    group = jax.lax.broadcasted_iota(jnp.int32, score.shape, 1)
    at = jnp.broadcast_to(row - 1, score.shape)[None]
    pool = _Pool(
        rank=jnp.full(score.shape, _CUT_OFF, jnp.int32),
        cost=-score,
        change=beams.change,
        length=row,
        last=jnp.take_along_axis(beams.symbols, at, axis=0)[0],
        parent=jnp.take_along_axis(beams.parents, at, axis=0)[0],
        group=group,
    )
    if beams.ended is not None:
        score, change, length, choice = beams.ended
        change, ends = jnp.zeros_like(score) if change is None else change, jnp.asarray(settings.ends)
        last, parent = ends[choice % ends.shape[0]], choice // ends.shape[0]
        ended = _Pool(jnp.full_like(length, _ENDED), -score, change, length, last, parent, group)
        pool = _Pool(*(jnp.concatenate(pair, axis=-1) for pair in zip(ended, pool, strict=True)))
    cost = jnp.where(beams.failed[:, None, None], jnp.inf, pool.cost)
    return pool._replace(cost=cost, rank=jnp.where(cost < jnp.inf, pool.rank, _MISSING))


def _ranked(plan: Plan, pool: _Pool) -> _Pool:
    """The k best of each group, then all of them in order: leaves [B, G, n] to [B, G * k]; missing ones have length 0."""
    best = [leaf[..., : plan.size] for leaf in jax.lax.sort(pool, num_keys=2)]  # [B, G, k]
    leaves = [leaf.reshape(leaf.shape[0], plan.groups * plan.size) for leaf in best]
    pool = _Pool(*(jax.lax.sort(leaves, num_keys=2) if plan.groups > 1 else leaves))
    is_missing = pool.rank == _MISSING
    return pool._replace(length=jnp.where(is_missing, 0, pool.length), change=jnp.where(is_missing, 0, pool.change))


def _with_unfinished(beams: Beams, pool: _Pool) -> _Pool:
    """The pool where a row without hypotheses has the symbols of its first beam, with score -inf, or NaN if its logits were."""
    is_empty = pool.rank[:, 0] == _MISSING  # [B]
    at = jnp.maximum(beams.reached - 1, 0)[None]  # [1, B]
    last, parent = (jnp.take_along_axis(leaf[:, :, 0, 0], at, axis=0)[0] for leaf in (beams.symbols, beams.parents))
    cost = jnp.where(beams.failed, jnp.nan, jnp.inf).astype(pool.cost.dtype)
    values = {"length": beams.reached, "last": last, "parent": parent, "group": jnp.zeros_like(last), "cost": cost}
    first = {name: jnp.where(is_empty, value, getattr(pool, name)[:, 0]) for name, value in values.items()}
    return pool._replace(**{name: getattr(pool, name).at[:, 0].set(value) for name, value in first.items()})


def _distinct(decoded: Decoded) -> Decoded:
    """All groups' hypotheses, best first; duplicates of a better one are marked missing and come last."""
    tokens, length, score = decoded  # [B, n, T], [B, n], [B, n]
    are_equal = (tokens[:, :, None] == tokens[:, None]).all(axis=-1) & (length[:, :, None] == length[:, None])  # [B, n, n]
    is_duplicate = (are_equal & jnp.tri(are_equal.shape[1], k=-1, dtype=bool)[None]).any(axis=-1)  # [B, n]
    order = jnp.argsort(is_duplicate, axis=1)
    marked = Decoded(
        jnp.where(is_duplicate[..., None], 0, tokens),
        jnp.where(is_duplicate, 0, length),
        jnp.where(is_duplicate, -jnp.inf, score),
    )
    return Decoded(*(jnp.take_along_axis(leaf, order.reshape(*order.shape, *[1] * (leaf.ndim - 2)), axis=1) for leaf in marked))
