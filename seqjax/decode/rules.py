"""The rules of a search at one step: which symbols may come next, and with which log-probabilities they compete."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.decode.constraints import Rules
from seqjax.decode.decoder import is_among
from seqjax.decode.phrases import needed_after, read_symbol
from seqjax.errors import InputError
from seqjax.types import Array


class Written(NamedTuple):
    """The outputs so far, as rules read them.

    Args:
        tokens: int32, [T, ..., B], the symbols at the steps before `time`; None where no rule reads them.
        token: int32, [..., B], the last symbol.
        time: int32, [], the step, from 0.
        limit: int32, [B], the most symbols of each row.
        at: int32, [..., B], the states of the automaton before `token`; None without one.
    """

    tokens: Array | None
    token: Array
    time: Array
    limit: Array
    at: Array | None


class Allowed(NamedTuple):
    """The choice of a step.

    Args:
        values: floating, [..., B, V]: log-probabilities, -inf for every symbol that may not come next.
        at: int32, [..., B], the states of the automaton after the last symbol; None without one.
        needed: int32, [..., B, V], the symbols that demanded phrases still need after each symbol; None if nothing is demanded.
    """

    values: Array
    at: Array | None
    needed: Array | None


def constrain(rules: Rules | None, log_p: Array, written: Written) -> Allowed:
    """The log-probabilities with which the next symbols compete; all are -inf if no symbol may follow.

    Args:
        rules: from `make_rules`; None: the log-probabilities as they are.
        log_p: floating, [..., B, V].
        written: the outputs so far.

    Raises:
        InputError: a prefix or phrases for another number of rows, or a constraint that returns another shape.
    """
    if rules is None:
        return Allowed(log_p, None, None)
    symbol = jax.lax.broadcasted_iota(jnp.int32, log_p.shape, log_p.ndim - 1)
    never, values = jnp.asarray(-jnp.inf, log_p.dtype), log_p
    if rules.constraint is not None and written.tokens is not None:
        values = _own(rules.constraint, values, written.tokens, written.time)
    if rules.penalty is not None and written.tokens is not None:
        repeats = _repeats(written.tokens, written.time, 1, log_p.shape[-1])
        values = jnp.where(repeats, values * rules.penalty.astype(values.dtype), values)
    if rules.symbols is not None and rules.values is not None:
        bias = jnp.zeros(log_p.shape[-1], log_p.dtype)
        bias = bias.at[rules.symbols].add(jnp.asarray(rules.values).astype(log_p.dtype), mode="drop")
        values = values + jnp.broadcast_to(bias, values.shape)
    if rules.ngram is not None and written.tokens is not None and rules.ngram <= written.tokens.shape[0]:
        values = jnp.where(_repeats(written.tokens, written.time, rules.ngram, log_p.shape[-1]), never, values)
    at = needed = None
    if rules.automaton is not None and written.at is not None:
        at = jnp.where(written.time > 0, read_symbol(rules.automaton, written.at, written.token), written.at)
        needed = needed_after(rules.automaton, at, rules.ends, log_p.shape[-1])
        left = jnp.broadcast_to((written.limit - written.time - 1)[:, None], needed.shape)
        values = jnp.where(needed <= left, values, never)
    if rules.min_length is not None:
        values = jnp.where(is_among(symbol, rules.ends) & (written.time + 1 < rules.min_length), never, values)
    if rules.prefix is not None:
        forced = jnp.broadcast_to(_forced(rules, written.time, log_p.shape[-2]), log_p.shape[:-1])[..., None]  # [..., B, 1]
        values = jnp.where(forced < 0, values, jnp.where(symbol == forced, log_p, never))
    return Allowed(values, at, needed if rules.banks else None)


def _own(constraint, log_p: Array, tokens: Array, time: Array) -> Array:
    """The caller's own constraint, one call for each beam: log_p [..., B, V]. An impossible symbol stays impossible."""

    def apply(tokens, step, log_p):
        values = constraint(tokens, step, log_p)
        if not hasattr(values, "shape") or values.shape != log_p.shape:
            right = f"it must return log-probabilities {list(log_p.shape)}, as it was given"
            raise InputError(f"constraint returns {getattr(values, 'shape', values)}, {right}")
        return jnp.where(log_p == -jnp.inf, log_p, values.astype(log_p.dtype))

    for _ in range(log_p.ndim - 2):
        apply = jax.vmap(apply, in_axes=(0, None, 0))
    return apply(jnp.moveaxis(tokens, 0, -1), time, log_p)  # tokens [..., B, T]


def _repeats(tokens: Array, time: Array, n: int, symbols: int) -> Array:
    """True for every symbol that followed an earlier occurrence of the last n - 1 symbols.

    Args:
        tokens: [T, ..., B].
        time: the step.
        n: at least 1, at most T.
        symbols: V.

    Returns:
        bool [..., B, V].
    """
    starts = tokens.shape[0] - n + 1
    start = jax.lax.broadcasted_iota(jnp.int32, (starts, *tokens.shape[1:]), 0)  # [starts, ..., B]
    is_repeat = start + (n - 1) < time  # the n-gram at `start` is complete, and its first n - 1 symbols are the last ones
    for i in range(n - 1):
        last = jax.lax.dynamic_index_in_dim(tokens, time - (n - 1) + i, 0)
        is_repeat &= tokens[i : i + starts] == jnp.broadcast_to(last, is_repeat.shape)
    follower = jnp.where(is_repeat, tokens[n - 1 :], symbols)  # V, which is dropped, where there is no repeat
    rows = jnp.indices(tokens.shape[1:], sparse=True, dtype=jnp.int32)
    index = (*(jnp.broadcast_to(row[None], follower.shape) for row in rows), follower)
    return jnp.zeros((*tokens.shape[1:], symbols), bool).at[index].set(True, mode="drop")


def _forced(rules: Rules, time: Array, rows: int) -> Array:
    """The symbol that each row must take at this step, int32 [B]; -1 allows any symbol."""
    prefix = jnp.asarray(rules.prefix).astype(jnp.int32)
    if prefix.shape[0] != rows:
        raise InputError(f"prefix has {prefix.shape[0]} rows, the batch {rows}: give one for each row")
    steps = prefix.shape[1]
    if not steps:
        return jnp.full(rows, -1, jnp.int32)
    now = jax.lax.dynamic_index_in_dim(prefix, time, 1, keepdims=False)
    lengths = steps if rules.prefix_lengths is None else jnp.minimum(jnp.asarray(rules.prefix_lengths, jnp.int32), steps)
    return jnp.where(time < lengths, now, -1)
