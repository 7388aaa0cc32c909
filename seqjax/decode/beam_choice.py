"""The choice of one step of beam search: the beams that go on, and those that end.

Shapes: B rows, K beams of a row, G groups, k beams of a group, E end symbols, V symbols.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.decode.beam_ranking import Beams, Plan, Settings
from seqjax.decode.candidates import largest, largest_of_banks
from seqjax.decode.decoder import is_among
from seqjax.decode.probabilities import Total, add
from seqjax.decode.rules import Allowed
from seqjax.types import Array


class Chosen(NamedTuple):
    """The choice of one step: the beams that go on [B, k], and those that end [B, k * E]; of all groups [B, G, ...]."""

    score: Total  # log-probability with the symbol; -inf where there is no such beam
    change: Array
    parent: Array  # the beam of the group that goes on
    symbol: Array
    ending: Array  # log-probability of each beam with each end symbol that it takes, -inf of the others
    ending_change: Array | None  # None where constraints only forbid


def choose(plan: Plan, settings: Settings, beams: Beams, log_p: Array, allowed: Allowed) -> Chosen:
    """The choice of every group, one after another: ranked by the values that rules allow, scored by log-probabilities.

    Args:
        beams: before the step.
        log_p: [K, B, V], log-probabilities of every next symbol.
        allowed: values [K, B, V]: the same, as rules change them.

    Returns:
        Chosen, [B, G, ...].
    """
    taken = jnp.zeros(log_p.shape[1:], log_p.dtype)  # [B, V]: beams of the groups so far that took the symbol
    rows = jnp.arange(log_p.shape[1])[:, None]  # [B, 1]
    ends, changes = jnp.asarray(settings.ends), settings.rules is not None and not settings.rules.forbids_alone
    choices = []
    for group in range(plan.groups):
        in_group = slice(group * plan.size, (group + 1) * plan.size)
        before, change = jax.tree.map(lambda leaf, group=group: leaf[:, group], (beams.score, beams.change))  # [B, k]
        own, competing = log_p[in_group], allowed.values[in_group]  # [k, B, V]
        values = (competing + before.rest.T[..., None]) + (before.value + change if changes else before.value).T[..., None]
        values = jnp.where(values > -jnp.inf, values, -jnp.inf)  # NaN is no candidate
        if settings.diversity is not None and group:
            values = values - jnp.broadcast_to(settings.diversity.astype(log_p.dtype) * taken, values.shape)
        needed = None if allowed.needed is None else allowed.needed[in_group]
        best, parent, symbol, takes_end = _choose_in_group(plan.size, settings, values, needed)
        is_beam = best > -jnp.inf
        score = add(jax.tree.map(lambda leaf, parent=parent: leaf[rows, parent], before), own[parent, rows, symbol])
        score = score._replace(value=jnp.where(is_beam, score.value, -jnp.inf))
        with_end = _by_row(own, ends)  # [B, k * E]
        ending = (with_end + _repeated(before.rest, ends)) + _repeated(before.value, ends)
        ending_change = None
        if changes:
            change = change[rows, parent] + (competing[parent, rows, symbol] - own[parent, rows, symbol])
            change = jnp.where(is_beam, change, 0)
            ending_change = _repeated(beams.change[:, group], ends) + _by_row(competing, ends) - with_end
            ending_change = jnp.where(takes_end, ending_change, 0)
        if settings.diversity is not None:
            taken = taken.at[rows, symbol].add(is_beam.astype(taken.dtype))
            counts = takes_end.reshape(len(rows), plan.size, len(ends)).sum(axis=1).astype(taken.dtype)  # [B, E]
            taken = taken.at[:, ends].add(counts)
        choices.append(Chosen(score, change, parent, symbol, jnp.where(takes_end, ending, -jnp.inf), ending_change))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *choices)


def _by_row(values: Array, ends: Array) -> Array:
    """The values of the end symbols: [k, B, V] to [B, k * E]."""
    columns = [jnp.take(values, ends[number], axis=2).T for number in range(ends.shape[0])]  # a gather of several is slower
    beams, rows, _ = values.shape
    return jnp.stack(columns, axis=2).reshape(rows, beams * len(columns)) if columns else jnp.zeros((rows, 0), values.dtype)


def _repeated(values: Array, ends: Array) -> Array:
    """[B, k] to [B, k * E]: each value once for every end symbol."""
    return jnp.repeat(values, ends.shape[0], axis=1)


def _choose_in_group(k: int, settings: Settings, values: Array, needed: Array | None) -> tuple[Array, Array, Array, Array]:
    """The k best candidates that do not end, and the beams whose candidates with an end symbol are among the k best of all.

    A candidate has the index parent * V + symbol; of two equal candidates, the one with the smaller index is better. With
    demanded phrases, candidates that lack the same number of symbols form a bank: each bank has its share of the k, and
    candidates that end compete with those that lack nothing.

    Args:
        k: beams of the group.
        settings: of the search.
        values: [k, B, V], the candidates.
        needed: int32 [k, B, V], the symbols that demanded phrases still need after each; None: nothing is demanded.

    Returns:
        (value, parent, symbol) [B, k], takes_end [B, k * E].
    """
    symbols, going_on, ends = values.shape[2], values, jnp.asarray(settings.ends)
    if ends.shape[0]:
        is_end = is_among(jax.lax.broadcasted_iota(jnp.int32, values.shape, 2), ends)
        going_on = jnp.where(is_end, -jnp.inf, values)
    rules = settings.rules
    if needed is None or rules is None or rules.automaton is None:
        best, index = complete, complete_index = largest(going_on, k)  # [B, k]
    else:
        count = jnp.asarray(rules.automaton.needed)[:, 0].max() + 1
        best, index, complete, complete_index = largest_of_banks(going_on, needed, k, rules.banks, count)
    with_end = _by_row(values, ends)  # [B, k * E]
    if not ends.shape[0]:
        return best, index // symbols, index % symbols, jnp.zeros(with_end.shape, bool)
    number = jax.lax.broadcasted_iota(jnp.int32, with_end.shape, 1)
    last = ends[number % ends.shape[0]] if ends.shape[0] > 1 else jnp.broadcast_to(ends, number.shape)
    end_index = number // ends.shape[0] * symbols + last
    # [B, k + k * E]: the candidates that may be better than one with an end symbol
    rival = jnp.concatenate((complete, with_end), axis=1)
    rival_index = jnp.concatenate((complete_index, end_index), axis=1)
    # [B, k * E, k + k * E]: whether the rival is better
    is_larger = rival[:, None] > with_end[..., None]
    is_equal_and_earlier = (rival[:, None] == with_end[..., None]) & (rival_index[:, None] < end_index[..., None])
    better = (is_larger | is_equal_and_earlier).sum(axis=-1)  # [B, k * E]
    return best, index // symbols, index % symbols, (better < k) & (with_end > -jnp.inf)
