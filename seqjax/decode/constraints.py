"""Constraints on the next symbol, whatever its probability; the same for every search."""

import dataclasses
import functools
from collections.abc import Collection, Set
from typing import Any, TypedDict

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqjax.checks import LARGEST, check_integers, check_positive, check_symbols
from seqjax.decode.decoder import host_array
from seqjax.errors import InputError
from seqjax.types import Array


class Constraints(TypedDict, total=False):
    """Keywords of `greedy`, `sample`, `stream` and `beam`. Scores remain those of the model's own distribution.

    Args:
        min_length: the least number of symbols of a row, `end` included; `end` is forbidden until then. Needs `end`.
        no_repeat_ngram: n; no sequence of n symbols occurs twice in an output (the prompt does not count).
        banned: symbols that are forbidden: integers in a sequence, a set or an array.
        prefix: integer [B, P], the first symbols of each output, which override the other constraints. A number below 0
            allows any symbol at its position.
        prefix_lengths: integer [B], the symbols of each prefix that count; None: all.
    """

    min_length: int
    no_repeat_ngram: int
    banned: Collection[int] | ArrayLike
    prefix: ArrayLike
    prefix_lengths: ArrayLike


_DATA = ("end", "min_length", "banned", "prefix", "prefix_lengths")


@functools.partial(jax.tree_util.register_dataclass, data_fields=_DATA, meta_fields=("ngram",))
@dataclasses.dataclass(frozen=True)
class Rules:
    """Constraints as arrays, so that another value compiles nothing. None: no such rule.

    Args:
        end: int32, [].
        min_length: int32, [].
        banned: int32, [n].
        prefix: int32, [B, P].
        prefix_lengths: int32, [B].
        ngram: n, static.
    """

    end: Array
    min_length: Array | None
    banned: Array | None
    prefix: Array | None
    prefix_lengths: Array | None
    ngram: int | None


def make_rules(
    max_length: int,
    end: int | None,
    *,
    min_length: int | None = None,
    no_repeat_ngram: int | None = None,
    banned: Collection[int] | ArrayLike | None = None,
    prefix: ArrayLike | None = None,
    prefix_lengths: ArrayLike | None = None,
) -> Rules | None:
    """The rules of a search; None where nothing is constrained.

    Args:
        max_length: L of the search.
        end: the end symbol of the search, or None.
        min_length, no_repeat_ngram, banned, prefix, prefix_lengths: see `Constraints`.

    Returns:
        Rules, or None.

    Raises:
        InputError: a value out of its range or of a wrong shape.
    """
    if min_length is not None:
        check_positive(min_length=min_length)
        if end is None:
            raise InputError(f"min_length is {min_length} and end is None: nothing ends a row before max_length, give end")
        if min_length > max_length:
            raise InputError(f"min_length is {min_length}, it must be at most max_length, {max_length}")
    if no_repeat_ngram is not None:
        check_positive(no_repeat_ngram=no_repeat_ngram)
    sequence: Any = [*banned] if isinstance(banned, Set) else banned
    symbols = [] if banned is None else np.ravel(sequence).tolist()
    for symbol in symbols:
        check_integers(banned=symbol)
        if not 0 <= symbol < LARGEST:
            raise InputError(f"banned holds {symbol}, it must hold symbols of the vocabulary")
    forced, lengths = _array("prefix", prefix), _array("prefix_lengths", prefix_lengths)
    if forced is not None and (forced.ndim != 2 or not jnp.issubdtype(forced.dtype, jnp.integer)):
        kind = f"shape {forced.shape} and dtype {forced.dtype}"
        raise InputError(f"prefix has {kind}, it must be integers [B, P]")
    if lengths is not None and (forced is None or lengths.shape != forced.shape[:1]):
        other = "there is no prefix" if forced is None else f"prefix has shape {forced.shape}"
        raise InputError(f"prefix_lengths has shape {lengths.shape}, {other}: give prefix [B, P] and its lengths [B]")
    if min_length is None and no_repeat_ngram is None and not symbols and forced is None:
        return None
    return Rules(
        end=host_array(-1 if end is None else end, np.int32),
        min_length=None if min_length is None else host_array(min_length, np.int32),
        banned=host_array(symbols, np.int32) if symbols else None,
        prefix=forced,
        prefix_lengths=lengths,
        ngram=no_repeat_ngram,
    )


def _array(name: str, value) -> Any:
    """Nested lists as a NumPy array; an array or None as it is."""
    if value is None or isinstance(value, Array):
        return value
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths: pad them, and give prefix_lengths") from None


def check_vocabulary(size: int, end: int | None, rules: Rules | None):
    """Raise InputError where `end` or a rule names a symbol outside the vocabulary of `size` symbols."""
    check_symbols(size, end=() if end is None else end)
    if rules is not None:
        check_symbols(size, banned=() if rules.banned is None else rules.banned, prefix=_forced_symbols(rules))


def _forced_symbols(rules: Rules) -> np.ndarray:
    """All symbols that the prefixes force; an empty array while the prefixes are traced."""
    prefix, lengths = rules.prefix, rules.prefix_lengths
    if prefix is None or isinstance(prefix, jax.core.Tracer) or isinstance(lengths, jax.core.Tracer):
        return np.zeros(0, np.int32)
    prefix = np.asarray(prefix)
    counts = prefix >= 0  # [B, P]
    if lengths is not None:
        counts &= np.arange(prefix.shape[1]) < np.asarray(lengths)[:, None]
    return prefix[counts]


def constrain(rules: Rules | None, logits: Array, tokens: Array | None, time: Array) -> Array:
    """Logits with -inf for every symbol that may not come next; all are -inf if no symbol may.

    Args:
        rules: from `make_rules`; None: the logits are returned as they are.
        logits: floating, [..., B, V].
        tokens: int32, [L, ..., B], the symbols so far, at the steps before `time`; read only where `rules.ngram` is given.
        time: int32, [], the step, from 0.

    Returns:
        [..., B, V], the dtype of logits.

    Raises:
        InputError: a prefix for another number of rows.

    Example:
        >>> rules = make_rules(5, 0, min_length=2, banned=(3,))
        >>> constrain(rules, jnp.zeros((1, 4)), None, jnp.array(0)).tolist()
        [[-inf, 0.0, 0.0, -inf]]
    """
    if rules is None:
        return logits
    symbol = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    never, unconstrained = jnp.asarray(-jnp.inf, logits.dtype), logits
    if rules.banned is not None:
        banned = jnp.zeros(logits.shape[-1], bool).at[rules.banned].set(True, mode="drop")
        logits = jnp.where(jnp.broadcast_to(banned, logits.shape), never, logits)
    if rules.min_length is not None:
        logits = jnp.where((symbol == rules.end) & (time + 1 < rules.min_length), never, logits)
    if rules.ngram is not None and tokens is not None and rules.ngram <= tokens.shape[0]:
        logits = _without_repeats(logits, tokens, time, rules.ngram)
    if rules.prefix is not None:
        forced = jnp.broadcast_to(_forced(rules, time, logits.shape[-2]), logits.shape[:-1])[..., None]  # [..., B, 1]
        logits = jnp.where(forced < 0, logits, jnp.where(symbol == forced, unconstrained, never))
    return logits


def _without_repeats(logits: Array, tokens: Array, time: Array, n: int) -> Array:
    """Forbid every symbol that followed an earlier occurrence of the last n - 1 symbols.

    Args:
        logits: [..., B, V].
        tokens: [L, ..., B].
    """
    starts = tokens.shape[0] - n + 1
    start = jax.lax.broadcasted_iota(jnp.int32, (starts, *tokens.shape[1:]), 0)  # [starts, ..., B]
    is_repeat = start + (n - 1) < time  # the n-gram at `start` is complete, and its first n - 1 symbols are the last ones
    for i in range(n - 1):
        last = jax.lax.dynamic_index_in_dim(tokens, time - (n - 1) + i, 0)
        is_repeat &= tokens[i : i + starts] == jnp.broadcast_to(last, is_repeat.shape)
    follower = jnp.where(is_repeat, tokens[n - 1 :], logits.shape[-1])  # V, which is dropped, where there is no repeat
    rows = jnp.indices(tokens.shape[1:], sparse=True, dtype=jnp.int32)
    index = (*(jnp.broadcast_to(row[None], follower.shape) for row in rows), follower)
    return logits.at[index].set(-jnp.inf, mode="drop")


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
