"""Phrases that an output must or must not hold, as a finite automaton that reads the output."""

import collections
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import LARGEST, check_integers
from seqjax.decode.decoder import host_array, is_among
from seqjax.errors import InputError
from seqjax.types import Array

_MOST = 8  # demanded phrases of a row: the automaton has a state for every subset of them
_NEVER = 2**30  # symbols needed from a state that holds a banned phrase

Phrase = tuple[int, ...]


class Automaton(NamedTuple):
    """Automata over the symbols that occur in phrases, one for each row or one for all (R = 1).

    State 0 is the first. A symbol that occurs in no phrase is read as number A.

    Args:
        symbols: int32, [R, A]: the symbols that occur; 2**31 - 1 fills up.
        following: int32, [R, Q, A + 1]: the state after each of them.
        needed: int32, [R, Q]: the least number of symbols until all demanded phrases are there; 2**30 after a banned one.
    """

    symbols: Array
    following: Array
    needed: Array


def read_phrases(name: str, value: Any) -> list[list[Phrase]]:
    """The phrases of each row, or in a list of length 1 those of all rows; [] for none.

    Args:
        name: of the option, for errors.
        value: phrases, sequences of symbols; or for each row such a list; None.

    Raises:
        InputError: a phrase without symbols, or what is not a list of phrases.
    """
    if value is None:
        return []
    if not (hasattr(value, "tolist") or isinstance(value, list | tuple | set | frozenset)):
        raise InputError(f"{name} is {value!r}, it must be phrases, each a sequence of symbols, such as [[5, 6], [7]]")
    value = np.asarray(value).tolist() if hasattr(value, "tolist") else [*value]
    entries = [entry.tolist() if hasattr(entry, "tolist") else entry for entry in value]
    if not all(isinstance(entry, list | tuple) for entry in entries):
        raise InputError(f"{name} is {value!r}, it must be phrases, each a sequence of symbols, such as [[5, 6], [7]]")
    if not any(len(entry) for entry in entries):
        return []
    by_row = any(not isinstance(symbol, int | np.integer) and np.ndim(symbol) for entry in entries for symbol in entry)
    rows = entries if by_row else [entries]
    return [[_phrase(name, phrase) for phrase in row] for row in rows]


def _phrase(name: str, symbols: Any) -> Phrase:
    symbols = np.ravel(symbols).tolist() if np.ndim(symbols) == 1 else symbols
    if not isinstance(symbols, list) or not symbols:
        raise InputError(f"{name} holds {symbols!r}, it must hold phrases, each of at least one symbol")
    for symbol in symbols:
        check_integers(**{name: symbol})
        if not 0 <= symbol < LARGEST:
            raise InputError(f"{name} holds {symbol}, it must hold symbols of the vocabulary")
    return tuple(symbols)


def make_automaton(
    banned: list[list[Phrase]], demanded: list[list[Phrase]], ends: tuple[int, ...], max_length: int
) -> Automaton | None:
    """The automata of all rows; None without phrases.

    Args:
        banned, demanded: from `read_phrases`.
        ends: the end symbols.
        max_length: L of the search.

    Raises:
        InputError: phrases for different numbers of rows, demanded phrases that hold an end symbol, that do not fit
            into max_length, or that are too many.
    """
    if not banned and not demanded:
        return None
    counts = {len(phrases) for phrases in (banned, demanded)} - {0, 1}
    if len(counts) > 1:
        raise InputError(f"banned_phrases are for {len(banned)} rows, demanded for {len(demanded)}: give phrases for every row")
    rows, automata = max(len(banned), len(demanded)), []
    for row in range(rows):
        avoided, required = (tuple(phrases[row % len(phrases)]) if phrases else () for phrases in (banned, demanded))
        required = tuple(dict.fromkeys(required))
        for phrase in required:
            for end in set(ends) & {*phrase}:
                raise InputError(f"demanded holds the phrase {list(phrase)} with {end}, which ends an output: leave it out")
        if len(required) > _MOST:
            raise InputError(f"demanded has {len(required)} phrases for a row, it may have at most {_MOST}")
        automata.append(_automaton(avoided, required, ends))
        if automata[-1][2][0] > max_length:
            problem = f"demanded needs {automata[-1][2][0]} symbols, max_length is {max_length}"
            raise InputError("demanded cannot be met beside banned_phrases" if automata[-1][2][0] >= _NEVER else problem)
    size, states = (rounded(max(len(part) for part in parts)) for parts in list(zip(*automata, strict=True))[:2])
    symbols = np.full((rows, size), LARGEST - 1, np.int32)
    following = np.zeros((rows, states, size + 1), np.int32)
    needed = np.full((rows, states), _NEVER, np.int32)
    for row, (alphabet, table, need) in enumerate(automata):
        symbols[row, : len(alphabet)] = alphabet
        following[row, : len(table), : len(alphabet)] = table[:, :-1]
        following[row, : len(table), size] = table[:, -1]
        needed[row, : len(need)] = need
    return Automaton(*(host_array(array, np.int32) for array in (symbols, following, needed)))


def rounded(count: int) -> int:
    """A power of two, so that phrases of other numbers and lengths seldom compile anew."""
    return max(8, 1 << (count - 1).bit_length())


@functools.lru_cache(maxsize=1024)
def _automaton(banned: tuple[Phrase, ...], demanded: tuple[Phrase, ...], ends: tuple[int, ...]) -> tuple:
    """(symbols [A], following [Q, A + 1], needed [Q]): Aho and Corasick's automaton, times the set of phrases that were met."""
    children: list[dict[int, int]] = [{}]
    met, is_bad = [0], [False]
    for number, phrase in enumerate((*banned, *demanded)):
        node = 0
        for symbol in phrase:
            if symbol not in children[node]:
                children[node][symbol] = len(children)
                children.append({})
                met.append(0)
                is_bad.append(False)
            node = children[node][symbol]
        if number < len(banned):
            is_bad[node] = True
        else:
            met[node] |= 1 << (number - len(banned))
    failure = [0] * len(children)

    def go_on(node: int, symbol: int) -> int:
        while node and symbol not in children[node]:
            node = failure[node]
        return children[node].get(symbol, 0)

    queue = collections.deque(children[0].values())
    while queue:
        node = queue.popleft()
        met[node] |= met[failure[node]]
        is_bad[node] |= is_bad[failure[node]]
        for symbol, child in children[node].items():
            failure[child] = go_on(failure[node], symbol)
            queue.append(child)

    alphabet = sorted({symbol for phrase in (*banned, *demanded) for symbol in phrase})
    number_of, following = {(0, 0): 0, None: 1}, []  # (node, phrases met); None: a banned phrase was written
    states: list[Any] = [(0, 0), None]
    for state in states:
        row = []
        for symbol in [*alphabet, -1]:
            if state is None:
                row.append(1)
                continue
            node = go_on(state[0], symbol)
            after = None if is_bad[node] else (node, state[1] | met[node])
            if after not in number_of:
                number_of[after] = len(states)
                states.append(after)
            row.append(number_of[after])
        following.append(row)

    everything = (1 << len(demanded)) - 1
    needed = [0 if state is not None and state[1] == everything else _NEVER for state in states]
    before = collections.defaultdict(list)
    for number, row in enumerate(following):
        for symbol, after in zip([*alphabet, -1], row, strict=True):
            if symbol not in ends:
                before[after].append(number)
    queue = collections.deque(number for number, need in enumerate(needed) if need == 0)
    while queue:
        after = queue.popleft()
        for number in before[after]:
            if needed[number] == _NEVER and states[number] is not None:
                needed[number] = needed[after] + 1
                queue.append(number)
    return alphabet, np.array(following, np.int32), needed


def row_numbers(automaton: Automaton, shape: tuple[int, ...]) -> Array:
    """The automaton of each row, int32, of the shape [..., B].

    Raises:
        InputError: phrases for another number of rows.
    """
    rows = automaton.symbols.shape[0]
    if rows not in (1, shape[-1]):
        raise InputError(f"the phrases are for {rows} rows, the batch has {shape[-1]}: give a list of phrases for each row")
    return jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1) if rows > 1 else jnp.zeros(shape, jnp.int32)


def read_symbol(automaton: Automaton, at: Array, token: Array) -> Array:
    """The states [..., B] after reading token [..., B]."""
    row, size = row_numbers(automaton, at.shape), automaton.symbols.shape[1]
    is_symbol = jnp.asarray(automaton.symbols)[row] == token[..., None]  # [..., B, A]
    number = jnp.where(is_symbol.any(axis=-1), is_symbol.argmax(axis=-1).astype(jnp.int32), size)
    return jnp.asarray(automaton.following)[row, at, number]


def needed_after(automaton: Automaton, at: Array, ends: Array, symbols: int) -> Array:
    """The symbols still needed after each next symbol, int32 [..., B, V]; 2**30 where an output may not go on or end with it.

    Args:
        automaton: from `make_automaton`.
        at: int32, [..., B]: the states.
        ends: int32, [E].
        symbols: V.
    """
    row = row_numbers(automaton, at.shape)
    needed = jnp.asarray(automaton.needed)
    after = needed[row[..., None], jnp.asarray(automaton.following)[row, at]]  # [..., B, A + 1]
    counts = jnp.broadcast_to(after[..., -1:], (*at.shape, symbols))  # [..., B, V]
    index = jnp.indices((*at.shape, automaton.symbols.shape[1]), sparse=True, dtype=jnp.int32)[:-1]
    counts = counts.at[(*index, jnp.asarray(automaton.symbols)[row])].set(after[..., :-1], mode="drop")
    is_end = is_among(jax.lax.broadcasted_iota(jnp.int32, counts.shape, counts.ndim - 1), ends)
    return jnp.where(is_end & (needed[row, at] > 0)[..., None], _NEVER, counts)
