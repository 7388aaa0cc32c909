"""Constraints on the outputs of a search, as its caller gives them; the same for every search."""

import dataclasses
import difflib
import functools
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike

from seqjax.checks import (
    LARGEST,
    as_number,
    check_end,
    check_integers,
    check_positive,
    check_symbols,
    check_values,
    concrete,
    is_traced,
    shown,
)
from seqjax.decode.decoder import host_array, known, scalar
from seqjax.decode.phrases import Automaton, make_automaton, read_phrases, rounded
from seqjax.errors import InputError
from seqjax.types import Array

Phrases = Sequence[Sequence[int]] | Sequence[Sequence[Sequence[int]]] | ArrayLike


class Constraints(TypedDict, total=False):
    """Keywords of `greedy`, `sample`, `stream` and `beam`. Scores remain those of the model's own distribution.

    They are applied in this order: constraint, repetition_penalty, bias, then whatever forbids symbols, then prefix.

    Args:
        min_length: the least number of symbols of a row, the end symbol included, which is forbidden until then. Needs `end`.
        max_lengths: integer [B], the limit of each row, each at most max_length.
        no_repeat_ngram: n; no sequence of n symbols occurs twice in an output (the prompt does not count).
        repetition_penalty: above 0; the log-probability of a symbol that the output holds already is multiplied by it.
        bias: {symbol: number added to its log-probability}, such as a penalty on the unknown symbol; -inf forbids it.
        banned: symbols that are forbidden: integers in a sequence, a set or an array [n].
        banned_phrases: phrases that no output holds, [[5, 6], [7]]; or such a list for each row.
        demanded: phrases that every output holds, in the same form: a symbol after which they no longer fit before the
            limit is forbidden, and so is an end symbol until all are there. `beam` keeps beams for every number of symbols
            still missing; `greedy` and `sample` write them where they are likely, or at the limit.
        prefix: integer [B, P], the first symbols of each output, which override the other constraints. A number below 0
            allows any symbol at its position.
        prefix_lengths: integer [B], the symbols of each prefix that count; None: all.
        constraint: a function (tokens int32 [B, T], step int32 [], log-probabilities [B, V]) -> log-probabilities [B, V], such
            as a grammar that gives -inf to what it forbids. The first `step` of the T tokens are the symbols so far. It is
            called while the search is compiled, once for each function object; `jax.tree_util.Partial(function, arrays)`
            passes arrays that may change.
    """

    min_length: int
    max_lengths: ArrayLike
    no_repeat_ngram: int
    repetition_penalty: float
    bias: Mapping[int, float]
    banned: Collection[int] | ArrayLike
    banned_phrases: Phrases
    demanded: Phrases
    prefix: ArrayLike
    prefix_lengths: ArrayLike
    constraint: Callable[[Array, Array, Array], Array]


_DATA = ("ends", "min_length", "penalty", "symbols", "values", "automaton", "prefix", "prefix_lengths", "constraint")


@functools.partial(jax.tree_util.register_dataclass, data_fields=_DATA, meta_fields=("ngram", "banks", "forbids_alone"))
@dataclasses.dataclass(frozen=True)
class Rules:
    """Constraints as arrays, so that another value compiles nothing. None: no such rule.

    Args:
        ends: int32, [E].
        min_length: int32, [].
        penalty: float32, [], of repetitions.
        symbols: int32, [n], symbols with a bias; 2**31 - 1 fills up.
        values: float32, [n], the biases.
        automaton: of banned and demanded phrases.
        prefix: int32, [B, P].
        prefix_lengths: int32, [B].
        constraint: a `jax.tree_util.Partial`, or another callable pytree.
        ngram: n, static.
        banks: above the symbols that demanded phrases need, a power of two; 0 where nothing is demanded; static.
        forbids_alone: True if every constraint forbids symbols and leaves the others as they are; static.
    """

    ends: Array
    min_length: Array | None
    penalty: Array | None
    symbols: Array | None
    values: Array | None
    automaton: Automaton | None
    prefix: Array | None
    prefix_lengths: Array | None
    constraint: Callable[[Array, Array, Array], Array] | None
    ngram: int | None
    banks: int
    forbids_alone: bool

    @property
    def reads_tokens(self) -> bool:
        """True if a rule reads all symbols so far."""
        return self.ngram is not None or self.penalty is not None or self.constraint is not None


def read_ends(end: Any) -> tuple[int, ...]:
    """The end symbols, in order; () for None.

    Raises:
        InputError: what is not a possible symbol.
    """
    if end is None:
        return ()
    if is_traced(end):
        raise InputError("end is traced, it must be known: give a symbol or a sequence of symbols")
    ends = [*end] if isinstance(end, Set) else np.ravel(end).tolist() if np.ndim(end) or hasattr(end, "dtype") else [end]
    for symbol in ends:
        check_end(0.5 if symbol is None else symbol)
    return tuple(sorted({int(symbol) for symbol in ends}))


def read_limit(max_length: int, max_lengths: ArrayLike | None) -> Any:
    """The most symbols of an output, int32, [] or for each row [B].

    Raises:
        InputError: limits of a wrong shape or dtype, or out of their range.
    """
    if max_lengths is None:
        return host_array(max_length, np.int32)
    limits = _integers("max_lengths", max_lengths, "[B]", 1)
    right = f"1 to max_length, {max_length}"
    check_values("max_lengths", limits, right, lambda known: (known >= 1) & (known <= max_length))
    values = concrete(limits)
    return jnp.clip(limits, 1, max_length).astype(jnp.int32) if values is None else values.astype(np.int32)


def rows_of_limit(limit: Array, rows: int) -> Array:
    """The limit of each row, int32 [B].

    Raises:
        InputError: limits for another number of rows.
    """
    limit = jnp.asarray(limit)
    if limit.ndim and limit.shape[0] != rows:
        raise InputError(f"max_lengths has {limit.shape[0]} rows, the batch {rows}: give one for each row")
    return jnp.broadcast_to(limit, (rows,))


def make_rules(max_length: int, ends: tuple[int, ...], constraints: Mapping[str, Any]) -> Rules | None:
    """The rules of a search; None where nothing is constrained.

    Args:
        max_length: L of the search.
        ends: the end symbols of the search.
        constraints: see `Constraints`; max_lengths is read by `read_limit`.

    Raises:
        InputError: an unknown name, or a value out of its range or of a wrong shape.
    """
    if not constraints:
        return None
    _check_names(constraints)
    options = {name: value for name, value in constraints.items() if value is not None}
    if "min_length" in options:
        _check_least(max_length, ends, **options)
    if "no_repeat_ngram" in options:
        check_positive(no_repeat_ngram=options["no_repeat_ngram"])
    if "repetition_penalty" in options:
        for penalty in known(repetition_penalty=options["repetition_penalty"]).values():
            if not 0 < penalty < np.inf:
                raise InputError(f"repetition_penalty is {penalty}, it must be above 0 and finite (1: none)")
    biases = _biases(**options)
    banned, demanded = (read_phrases(name, options.get(name)) for name in ("banned_phrases", "demanded"))
    for symbol in {symbol for row in demanded for phrase in row for symbol in phrase if biases.get(symbol) == -np.inf}:
        raise InputError(f"demanded names symbol {symbol}, which is banned")
    prefix, prefix_lengths = _prefix(max_length, **options)
    constraint: Any = options.get("constraint")
    if constraint is not None and not callable(constraint):
        raise InputError(f"constraint is {constraint!r}, it must be a function of (tokens, step, log-probabilities)")
    own: Any = Partial(constraint) if constraint is not None and jax.tree_util.all_leaves([constraint]) else constraint
    if not {*options} - {"max_lengths", "banned", "bias", "banned_phrases", "demanded"} and not (biases or banned or demanded):
        return None
    fill = [LARGEST - 1] * (rounded(len(biases)) - len(biases)) if biases else []
    penalty, automaton = options.get("repetition_penalty"), make_automaton(banned, demanded, ends, max_length)
    return Rules(
        ends=host_array(ends, np.int32),
        min_length=host_array(options["min_length"], np.int32) if "min_length" in options else None,
        penalty=None if penalty is None else scalar(penalty, np.float32),
        symbols=host_array([*biases, *fill], np.int32) if biases else None,
        values=host_array([*biases.values(), *[0.0] * len(fill)], np.float32) if biases else None,
        automaton=automaton,
        prefix=prefix,
        prefix_lengths=prefix_lengths,
        constraint=own,
        ngram=options.get("no_repeat_ngram"),
        banks=rounded(int(automaton.needed[:, 0].max()) + 1) if automaton is not None and demanded else 0,
        forbids_alone=penalty is None and constraint is None and all(bias == -np.inf for bias in biases.values()),
    )


def _check_names(constraints: Mapping[str, Any]):
    names = [*Constraints.__annotations__]
    for name in constraints:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            right = f"did you mean {close[0]}?" if close else f"the constraints are {', '.join(names)}"
            raise InputError(f"{name} is no option of this search: {right}")


def _check_least(max_length: int, ends: tuple[int, ...], *, min_length: int, max_lengths: Any = None, **_):
    check_positive(min_length=min_length)
    if not ends:
        raise InputError(f"min_length is {min_length} and end is None: nothing ends a row before max_length, give end")
    if min_length > max_length:
        raise InputError(f"min_length is {min_length}, it must be at most max_length, {max_length}")
    limits = None if max_lengths is None else concrete(_array("max_lengths", max_lengths))
    if limits is not None and min_length > limits.min(initial=max_length):
        raise InputError(f"min_length is {min_length}, it must be at most every one of max_lengths")


def _biases(*, banned: Any = None, bias: Mapping[int, float] | None = None, **_) -> dict[int, float]:
    """{symbol: number added to its log-probability}."""
    if bias is not None and not isinstance(bias, Mapping):
        raise InputError(f"bias is a {type(bias).__name__}, it must be a dict {{symbol: number added to its log-probability}}")
    sequence: Any = [*banned] if isinstance(banned, Set | range) else () if banned is None else banned
    shape = np.shape(_array("banned", sequence))
    if len(shape) > 1:
        raise InputError(f"banned has shape {shape}, it must be symbols [n], each forbidden; banned_phrases forbids sequences")
    biases = {**(bias or {}), **dict.fromkeys(np.ravel(sequence).tolist(), -np.inf)}
    for symbol, value in biases.items():
        name = "bias" if symbol in (bias or {}) else "banned"
        check_integers(**{name: symbol})
        if not 0 <= symbol < LARGEST - 1:
            raise InputError(f"{name} holds {symbol}, it must hold symbols of the vocabulary")
        if (number := as_number(value)) is None or not number < np.inf:
            raise InputError(
                f"bias of symbol {symbol} is {shown(value)}, it must be a finite number, or -inf to forbid the symbol"
            )
    return {int(symbol): float(value) for symbol, value in biases.items()}


def _prefix(max_length: int, *, prefix: Any = None, prefix_lengths: Any = None, **_) -> tuple[Any, Any]:
    if prefix is None:
        if prefix_lengths is not None:
            raise InputError(f"prefix_lengths is {shown(prefix_lengths)}, but there is no prefix: give prefix [B, P]")
        return None, None
    forced = _integers("prefix", prefix, "[B, P]", 2)
    lengths = None if prefix_lengths is None else _integers("prefix_lengths", prefix_lengths, "[B]", 1)
    if lengths is not None and lengths.shape != forced.shape[:1]:
        shapes = f"prefix_lengths has shape {lengths.shape}, prefix has shape {forced.shape}"
        raise InputError(f"{shapes}: give prefix [B, P] and its lengths [B]")
    places = forced.shape[1]
    if lengths is not None:
        right = f"0 to {places}, the places of prefix"
        check_values("prefix_lengths", lengths, right, lambda known: (known >= 0) & (known <= places))
    counts = _counting(forced, lengths)
    if counts is not None and counts[:, max_length:].any():
        raise InputError(f"prefix has {places} symbols, more than max_length, {max_length}: give a shorter one")
    return forced, lengths


def _integers(name: str, value: Any, shape: str, axes: int) -> Any:
    """An integer array of `axes` axes; nested lists become a NumPy array."""
    array = _array(name, value)
    if array.ndim != axes or not (jnp.issubdtype(array.dtype, jnp.integer) or not array.size):
        raise InputError(f"{name} has shape {array.shape} and dtype {array.dtype}, it must be integers {shape}")
    return array


def _array(name: str, value: Any) -> Any:
    if isinstance(value, Array):
        return value
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths: pad them, or give banned_phrases or prefix_lengths") from None


def _counting(prefix: Any, lengths: Any) -> np.ndarray | None:
    """True for the symbols of a prefix that are forced, bool [B, P]; None where they are not known here."""
    symbols, counts = concrete(prefix), None if lengths is None else concrete(lengths)
    if symbols is None or (lengths is not None and counts is None):
        return None
    return symbols >= 0 if counts is None else (symbols >= 0) & (np.arange(prefix.shape[1]) < counts[:, None])


def check_vocabulary(size: int, ends: tuple[int, ...], rules: Rules | None):
    """Raise InputError where an end symbol or a rule names a symbol outside the vocabulary of `size` symbols."""
    check_symbols(size, end=ends)
    if rules is None:
        return
    if rules.symbols is not None:
        named = np.asarray(rules.symbols)
        check_symbols(size, **{"banned" if rules.forbids_alone else "bias": named[named < LARGEST - 1]})
    if rules.automaton is not None:
        named = np.asarray(rules.automaton.symbols)
        check_symbols(size, phrases=named[named < LARGEST - 1])
    if rules.prefix is not None and (counts := _counting(rules.prefix, rules.prefix_lengths)) is not None:
        check_symbols(size, prefix=np.asarray(rules.prefix)[counts])
