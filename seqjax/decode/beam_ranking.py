"""The state of a beam search, and the ranking of its hypotheses: penalties, order, and symbols read back through parents.

Shapes: B rows, K beams of a row, G groups, k beams of a group, F hypotheses of a group, N of a row, L steps, V symbols,
S source positions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.decode.constraints import Rules
from seqjax.decode.decoder import Decoded
from seqjax.decode.penalties import coverage_penalty, length_penalty
from seqjax.types import Array, State

_ENDED, _CUT_OFF, _MISSING = 0, 1, 2  # ranks of hypotheses


class Plan(NamedTuple):
    """Static settings of a search: another value compiles another program."""

    groups: int  # G
    size: int  # k
    hypotheses: int  # F
    n_best: int  # N
    max_length: int  # L


class Settings(NamedTuple):
    """Array settings of a search; None leaves a feature out of the program."""

    end: Array | None
    alpha: Array  # of the length penalty
    beta: Array | None  # of the coverage penalty
    diversity: Array | None
    early_stop: Array  # bool
    rules: Rules | None
    attended: Array | None  # bool [B, S]: the positions that coverage counts


class Ended(NamedTuple):
    """The best hypotheses that took `end`, best first, all [B, G, F]; a missing one has score -inf and length 0."""

    score: Array
    length: Array
    parent: Array  # the beam of its group that took `end`


class Beams(NamedTuple):
    """The state of the loop. A beam is live where its score is above -inf."""

    time: Array
    state: State  # leaves [K, B, ...]
    token: Array  # [K, B]
    score: Array  # [B, G, k]: log-probabilities
    parents: Array  # [L, B, G, k]: the beam of its group that each beam continued, step by step
    symbols: Array  # [L, B, G, k]: the symbol that it appended
    coverage: Array | None  # [K, B, S]
    tokens: Array | None  # [L, K, B]: the symbols of each beam so far, where a rule reads them
    ended: Ended | None


class _Pool(NamedTuple):
    """Hypotheses to be ranked, all of one shape; sorted by rank, then by cost."""

    rank: Array
    cost: Array  # the negative score
    length: Array
    last: Array  # the last symbol
    parent: Array  # the beam of its group that took the last symbol
    group: Array


def divisor(settings: Settings, length, dtype) -> Array:
    """The length penalty of hypotheses of `length` symbols: the divisor of their log-probability."""
    return length_penalty(jnp.asarray(length, jnp.int32), settings.alpha).astype(dtype)


def penalised(settings: Settings, log_p: Array, length: Array, coverage: Array | None) -> Array:
    """Scores with both penalties, log p / lp + cp: [B, G, k]."""
    score = log_p / divisor(settings, length, log_p.dtype)
    if coverage is None or settings.beta is None:
        return score
    attended = None if settings.attended is None else jnp.broadcast_to(settings.attended[None], coverage.shape)
    return score + coverage_penalty(coverage, settings.beta, attended).T.reshape(score.shape)  # from [K, B]


def merged(ended: Ended, score: Array, length: Array) -> Ended:
    """The F best of the hypotheses that had ended and of those that end now, [B, G, k]; of equals, the earlier one."""
    beam = jax.lax.broadcasted_iota(jnp.int32, score.shape, 2)
    now = Ended(score, jnp.broadcast_to(length, score.shape), beam)
    both = Ended(*(jnp.concatenate(pair, axis=-1) for pair in zip(ended, now, strict=True)))  # [B, G, F + k]
    best, index = jax.lax.top_k(both.score, ended.score.shape[-1])
    lengths, parents = (jnp.take_along_axis(leaf, index, axis=-1) for leaf in (both.length, both.parent))
    return Ended(best, jnp.where(best > -jnp.inf, lengths, 0), parents)


def finish(plan: Plan, settings: Settings, beams: Beams) -> Decoded:
    """The best hypotheses of all groups, and their symbols, read backwards from parent to parent."""
    pool = _ranked(plan, _pool(plan, settings, beams))  # leaves [B, G * F]
    length = jnp.where(pool.cost < jnp.inf, pool.length, 0)
    beams_shape = (length.shape[0], plan.groups * plan.size)  # [B, K]

    def back(step, carry):
        beam, tokens = carry  # [B, G * F], [L, B, G * F]
        time = beams.time - 1 - step
        column = pool.group * plan.size + beam
        parent = jnp.take_along_axis(beams.parents[time].reshape(beams_shape), column, axis=1)
        symbol = jnp.take_along_axis(beams.symbols[time].reshape(beams_shape), column, axis=1)
        is_before_last = time < length - 1
        emitted = jnp.where(is_before_last, symbol, jnp.where(time == length - 1, pool.last, 0))
        return jnp.where(is_before_last, parent, beam), tokens.at[time].set(emitted)

    tokens = jnp.zeros((plan.max_length, *length.shape), jnp.int32)
    _, tokens = jax.lax.fori_loop(0, beams.time, back, (pool.parent, tokens))
    decoded = Decoded(tokens.transpose(1, 2, 0), length, -pool.cost)
    return decoded if plan.groups == 1 else _distinct(decoded, plan.n_best)


def _pool(plan: Plan, settings: Settings, beams: Beams) -> _Pool:
    """The hypotheses that ended, and those cut off at max_length: leaves [B, G, F + k] ([B, G, k] without `end`)."""
    score = penalised(settings, beams.score, jnp.asarray(plan.max_length, jnp.int32), beams.coverage)
    group = jnp.arange(plan.groups, dtype=jnp.int32)[None, :, None]
    pool = _Pool(
        rank=jnp.full(score.shape, _CUT_OFF, jnp.int32),
        cost=-score,
        length=jnp.full(score.shape, plan.max_length, jnp.int32),
        last=beams.symbols[-1],
        parent=beams.parents[-1],
        group=jnp.broadcast_to(group, score.shape),
    )
    if beams.ended is not None and settings.end is not None:
        score, length, parent = beams.ended
        last = jnp.broadcast_to(settings.end, length.shape)
        ended = _Pool(jnp.full_like(length, _ENDED), -score, length, last, parent, jnp.broadcast_to(group, length.shape))
        pool = _Pool(*(jnp.concatenate(pair, axis=-1) for pair in zip(ended, pool, strict=True)))
    return pool._replace(rank=jnp.where(pool.cost < jnp.inf, pool.rank, _MISSING))


def _ranked(plan: Plan, pool: _Pool) -> _Pool:
    """The F best of each group, then all of them in order: leaves [B, G, n] to [B, G * F]."""
    best = [leaf[..., : plan.hypotheses] for leaf in jax.lax.sort(pool, num_keys=2)]  # [B, G, F]
    leaves = [leaf.reshape(leaf.shape[0], plan.groups * plan.hypotheses) for leaf in best]
    return _Pool(*(jax.lax.sort(leaves, num_keys=2) if plan.groups > 1 else leaves))


def _distinct(decoded: Decoded, n_best: int) -> Decoded:
    """The n_best of all groups' hypotheses, best first; duplicates of a better one are marked missing and come last."""
    tokens, length, score = decoded  # [B, n, L], [B, n], [B, n]
    are_equal = (tokens[:, :, None] == tokens[:, None]).all(axis=-1) & (length[:, :, None] == length[:, None])  # [B, n, n]
    is_duplicate = (are_equal & jnp.tri(are_equal.shape[1], k=-1, dtype=bool)[None]).any(axis=-1)  # [B, n]
    order = jnp.argsort(is_duplicate, axis=1)[:, :n_best]
    marked = Decoded(
        jnp.where(is_duplicate[..., None], 0, tokens),
        jnp.where(is_duplicate, 0, length),
        jnp.where(is_duplicate, -jnp.inf, score),
    )
    return Decoded(*(jnp.take_along_axis(leaf, order.reshape(*order.shape, *[1] * (leaf.ndim - 2)), axis=1) for leaf in marked))
