"""One symbol after another: the likeliest, or drawn.

A decoder is anything with

    start(params, batch) -> (memory, state, token)              token [B]: what the first step reads
    step(params, memory, state, token) -> (state, logits)       logits [B, V]

`memory` is any pytree, the same at every step. The model is static under jit, so it must be hashable.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.decode.hypothesis import Decoded
from seqjax.decode.truncation import truncate
from seqjax.errors import InputError
from seqjax.types import Array, Key, Params, State, at_least_float32

_COLDEST, _HOTTEST = float(np.finfo(np.float32).tiny), 1e30  # temperatures: the likeliest symbol, any symbol


class _Draw(NamedTuple):
    """All that a draw depends on but the logits. Arrays, so that another value compiles nothing."""

    key: Key
    temperature: Array
    top_k: Array | None
    top_p: Array | None


class _Settings(NamedTuple):
    """What is chosen: a symbol drawn, or the likeliest (no draw); and the symbol that ends a row (-1: none does)."""

    draw: _Draw | None
    end: Array


class _Rows(NamedTuple):
    """The rows while they grow. Row b still does where length[b] > time."""

    time: Array
    state: State
    token: Array
    length: Array
    score: Array


def greedy(model, params: Params, batch: dict, *, max_length: int, end: int | None = None) -> Decoded:
    """The likeliest symbol at every step: `sample` at temperature 0.

    Args:
        model: a decoder, with `start` and `step`.
        params: of the model.
        batch: what the model's `start` reads, e.g. {"tokens": [B, T], "lengths": [B]}.
        max_length: L, symbols a row at most.
        end: the symbol that ends a row; None: every row has L symbols.

    Returns:
        Decoded: tokens [B, L], lengths [B], scores [B].

    Raises:
        InputError: max_length below 1, or what the model refuses.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "lengths": jnp.array([2, 1])}
        >>> greedy(model, model.init(jax.random.key(0)), prompts, max_length=7).tokens.shape
        (2, 7)
    """
    _check_length(max_length)
    memory, state, token = model.start(params, batch)
    return _run(model, max_length, params, memory, state, token, _Settings(None, _end(end)))


def sample(
    model,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | None = None,
    key: Key,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Decoded:
    """Draws every symbol from the model's distribution, sharpened or flattened, its tail cut off or not.

        p ~ softmax(logits / temperature), then top_k, then top_p of what top_k has left
        symbol: the first i with p_1 + ... + p_i > u, u uniform in [0, 1)

    Compiled once for each model and shape: another prompt of the same shape, key, temperature, top_k or top_p
    compiles nothing (only temperature 0, or giving or leaving out top_k, or top_p, does).

    Args:
        model: a decoder, with `start` and `step`.
        params: of the model.
        batch: what the model's `start` reads, e.g. {"tokens": [B, T], "lengths": [B]}.
        max_length: L, symbols a row at most.
        end: the symbol that ends a row; None: every row has L symbols. The loop ends when all rows have.
        key: a typed key; u of step t and row b comes from split(fold_in(key, t), B)[b].
        temperature: at least 0; 0 is the likeliest symbol, as of `greedy`.
        top_k: at least 1, the number of symbols kept; None keeps all.
        top_p: 0 < top_p <= 1, the probability kept; None keeps all.

    Returns:
        Decoded: tokens [B, L], lengths [B], scores [B].

    Raises:
        InputError: a value out of its range, or what the model refuses.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "lengths": jnp.array([2, 1])}
        >>> sample(model, model.init(jax.random.key(0)), prompts, max_length=7, key=jax.random.key(1)).lengths.tolist()
        [7, 7]
    """
    settings = _settings(max_length, end, key, temperature, top_k, top_p)
    memory, state, token = model.start(params, batch)
    return _run(model, max_length, params, memory, state, token, settings)


def stream(
    model,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | None = None,
    key: Key,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[np.ndarray]:
    """`sample`, a step at a time: the same symbols for the same arguments, each as soon as it is drawn.

    Args:
        model, params, batch, max_length, end, key, temperature, top_k, top_p: as for `sample`.

    Returns:
        An iterator of int32 arrays [B], the columns of `Decoded.tokens`; it ends after L, or when all rows have.

    Raises:
        InputError: as `sample`, at the call, before the first symbol is asked for.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompt = {"tokens": jnp.array([[1, 2]]), "lengths": jnp.array([2])}
        >>> len(list(stream(model, model.init(jax.random.key(0)), prompt, max_length=7, key=jax.random.key(1))))
        7
    """
    settings = _settings(max_length, end, key, temperature, top_k, top_p)
    memory, state, token = model.start(params, batch)

    def symbols():
        rows, chances = _begin(model, max_length, params, memory, state, token, settings)
        while _growing(rows):
            rows, emitted = _advance(model, params, memory, rows, settings, chances)
            yield np.asarray(emitted)

    return symbols()


def _check_length(max_length):
    _check_integers(max_length=max_length)
    if max_length < 1:
        raise InputError(f"max_length is {max_length}, it must be at least 1")


def _check_integers(**values):
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name} is {value!r}, it must be an integer")


def _number(value, dtype) -> Any:
    """Of NumPy: to make an array on the device costs as much as several steps."""
    return np.asarray(value, dtype)


def _end(end: int | None) -> Array:
    return _number(-1 if end is None else end, np.int32)


def _settings(max_length, end, key, temperature, top_k, top_p) -> _Settings:
    _check_length(max_length)
    if top_k is not None:
        _check_integers(top_k=top_k)
    if not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key):
        raise InputError("key is not a typed key: give jax.random.key(seed)")
    if not temperature >= 0:
        raise InputError(f"temperature is {temperature}, it must be at least 0 (0: always the likeliest symbol)")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, it must be at least 1 (None: all symbols)")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}, it must be above 0 and at most 1 (None: all symbols)")
    if temperature < _COLDEST:
        return _Settings(None, _end(end))
    draw = _Draw(
        key=key,
        temperature=_number(min(temperature, _HOTTEST), np.float32),
        top_k=None if top_k is None else _number(min(top_k, 2**31 - 1), np.int32),
        top_p=None if top_p is None else _number(top_p, np.float32),
    )
    return _Settings(draw, _end(end))


def _begin(model, max_length, params, memory, state, token, settings: _Settings) -> tuple[_Rows, Array | None]:
    """The rows before the first step, and what chance says to each at every step, [L, B]."""
    _, logits = jax.eval_shape(model.step, params, memory, state, token)
    rows = token.shape[0]
    score = jnp.zeros(rows, at_least_float32(logits.dtype))
    length = jnp.full(rows, max_length, jnp.int32)
    begun = _Rows(jnp.zeros((), jnp.int32), state, token.astype(jnp.int32), length, score)
    return begun, None if settings.draw is None else _chances(settings.draw.key, max_length, rows)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _chances(key: Key, steps: int, rows: int) -> Array:
    """Uniform in [0, 1), float32 [L, B]. For all steps at once: small draws in a loop cost more than the step they are for."""

    def at(time):
        return jax.vmap(jax.random.uniform)(jax.random.split(jax.random.fold_in(key, time), rows))

    return jax.vmap(at)(jnp.arange(steps))


def _first(found: Array) -> Array:
    """The first True of each row, the last place where there is none: [B, V] to int32 [B]. Faster than argmax on CPUs."""
    places = jax.lax.broadcasted_iota(jnp.int32, found.shape, 1)
    return jnp.where(found, places, found.shape[1] - 1).min(axis=1)


def _drawn(below_best: Array, draw: _Draw, chance: Array) -> Array:
    """One symbol a row, from logits [B, V] whose largest is 0 (so that no temperature overflows): int32 [B]."""
    scaled = below_best / draw.temperature.astype(below_best.dtype)
    p = jnp.exp(truncate(scaled, draw.top_k, draw.top_p))
    possible, summed = p > 0, jnp.cumsum(p, axis=1)
    # A sum in blocks may round up between two symbols: what is not possible is left out by name.
    whole = jnp.where(possible, summed, 0).max(axis=1)
    return _first(possible & (summed > (chance.astype(p.dtype) * whole)[:, None]))


@functools.partial(jax.jit, static_argnums=0)
def _advance(model, params, memory, rows: _Rows, settings: _Settings, chances: Array | None) -> tuple[_Rows, Array]:
    """One step of every row; rows that have ended emit 0 and stay as they are."""
    state, logits = model.step(params, memory, rows.state, rows.token)
    logits = logits.astype(rows.score.dtype)
    below_best = logits - logits.max(axis=1, keepdims=True)
    draw = settings.draw
    token = _first(below_best == 0) if draw is None or chances is None else _drawn(below_best, draw, chances[rows.time])
    gain = jnp.take_along_axis(below_best, token[:, None], axis=1)[:, 0] - jnp.log(jnp.exp(below_best).sum(axis=1))
    live = rows.length > rows.time
    emitted = jnp.where(live, token, 0)
    grown = _Rows(
        time=rows.time + 1,
        state=state,
        token=emitted,
        length=jnp.where(live & (token == settings.end), rows.time + 1, rows.length),
        score=jnp.where(live, rows.score + gain, rows.score),
    )
    return grown, emitted


def _growing(rows: _Rows) -> Array:
    return (rows.length > rows.time).any()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(model, max_length: int, params, memory, state, token, settings: _Settings) -> Decoded:
    def grow(carry):
        rows, tokens = carry
        grown, emitted = _advance(model, params, memory, rows, settings, chances)
        return grown, tokens.at[rows.time].set(emitted)

    rows, chances = _begin(model, max_length, params, memory, state, token, settings)
    tokens = jnp.zeros((max_length, token.shape[0]), jnp.int32)
    rows, tokens = jax.lax.while_loop(lambda carry: _growing(carry[0]), grow, (rows, tokens))
    return Decoded(tokens.T, rows.length, rows.score)
