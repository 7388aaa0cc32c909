"""One symbol after another: the likeliest, or drawn.

A decoder is anything with

    start(params, batch) -> (memory, state, token)              token [B]: what the first step reads
    step(params, memory, state, token) -> (state, logits)       logits [B, V]

`memory` stays the same at every step. The model is static under jit, so it must be hashable.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.decode.hypothesis import Decoded
from seqjax.decode.truncation import truncate
from seqjax.errors import InputError
from seqjax.types import Array, Key, Params, State, at_least_float32


class _Settings(NamedTuple):
    """All that a draw depends on but the model. Arrays, so that another value compiles nothing."""

    key: Key
    temperature: Array
    top_k: Array | None
    top_p: Array | None
    end: Array  # -1: no symbol ends a row


class _Rows(NamedTuple):
    """The rows while they grow."""

    time: Array
    state: State
    token: Array
    ended: Array
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
    return sample(model, params, batch, max_length=max_length, end=end, key=jax.random.key(0), temperature=0.0)


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

    Compiled once for each model and shape: another prompt of the same shape, key, temperature, top_k or top_p
    compiles nothing (only giving or leaving out top_k, or top_p, does).

    Args:
        model: a decoder, with `start` and `step`.
        params: of the model.
        batch: what the model's `start` reads, e.g. {"tokens": [B, T], "lengths": [B]}.
        max_length: L, symbols a row at most.
        end: the symbol that ends a row; None: every row has L symbols. The loop ends when all rows have.
        key: a typed key; step t of row b uses split(fold_in(key, t), B)[b].
        temperature: at least 0; 0 is the likeliest symbol.
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
        rows = _begin(model, params, memory, state, token)
        while int(rows.time) < max_length and not bool(rows.ended.all()):
            rows, emitted = _advance(model, params, memory, rows, settings)
            yield np.asarray(emitted)

    return symbols()


def _settings(max_length, end, key, temperature, top_k, top_p) -> _Settings:
    for name, value in {"max_length": max_length, "top_k": top_k}.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer | None):
            raise InputError(f"{name} is {value!r}, it must be an integer")
    if not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key):
        raise InputError("key is not a typed key: give jax.random.key(seed)")
    if max_length < 1:
        raise InputError(f"max_length is {max_length}, it must be at least 1")
    if not temperature >= 0:
        raise InputError(f"temperature is {temperature}, it must be at least 0 (0: always the likeliest symbol)")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, it must be at least 1 (None: all symbols)")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}, it must be above 0 and at most 1 (None: all symbols)")
    number = functools.partial(jnp.asarray, dtype=jnp.float32)
    return _Settings(
        key=key,
        temperature=number(temperature),
        top_k=None if top_k is None else jnp.asarray(min(top_k, 2**31 - 1), jnp.int32),
        top_p=None if top_p is None else number(top_p),
        end=jnp.asarray(-1 if end is None else end, jnp.int32),
    )


def _begin(model, params, memory, state, token) -> _Rows:
    _, logits = jax.eval_shape(model.step, params, memory, state, token)
    zero = jnp.zeros(token.shape[:1], jnp.int32)
    score = jnp.zeros(token.shape[:1], at_least_float32(logits.dtype))
    return _Rows(jnp.zeros((), jnp.int32), state, token.astype(jnp.int32), zero > 0, zero, score)


def _draw(logits: Array, settings: _Settings, time: Array) -> Array:
    """One symbol a row, [B, V] to int32 [B]."""
    temperature = settings.temperature.astype(logits.dtype)
    cold = temperature == 0
    below_best = logits - logits.max(axis=-1, keepdims=True)  # so that no temperature overflows
    scaled = below_best / jnp.where(cold, jnp.ones((), logits.dtype), temperature)
    keys = jax.random.split(jax.random.fold_in(settings.key, time), logits.shape[0])
    drawn = jax.vmap(jax.random.categorical)(keys, truncate(scaled, settings.top_k, settings.top_p))
    return jnp.where(cold, jnp.argmax(logits, axis=-1), drawn).astype(jnp.int32)


@functools.partial(jax.jit, static_argnums=0)
def _advance(model, params, memory, rows: _Rows, settings: _Settings) -> tuple[_Rows, Array]:
    """One step of every row; rows that have ended emit 0 and stay as they are."""
    state, logits = model.step(params, memory, rows.state, rows.token)
    logits = logits.astype(rows.score.dtype)
    token = _draw(logits, settings, rows.time)
    gain = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), token[:, None], axis=-1)[:, 0]
    live = ~rows.ended
    emitted = jnp.where(live, token, 0)
    grown = _Rows(
        time=rows.time + 1,
        state=state,
        token=emitted,
        ended=rows.ended | (token == settings.end),
        length=rows.length + live.astype(jnp.int32),
        score=jnp.where(live, rows.score + gain, rows.score),
    )
    return grown, emitted


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(model, max_length: int, params, memory, state, token, settings: _Settings) -> Decoded:
    def growing(carry):
        rows, _ = carry
        return (rows.time < max_length) & ~rows.ended.all()

    def grow(carry):
        rows, tokens = carry
        grown, emitted = _advance(model, params, memory, rows, settings)
        return grown, jax.lax.dynamic_update_slice_in_dim(tokens, emitted[:, None], rows.time, axis=1)

    rows = _begin(model, params, memory, state, token)
    tokens = jnp.zeros((token.shape[0], max_length), jnp.int32)
    rows, tokens = jax.lax.while_loop(growing, grow, (rows, tokens))
    return Decoded(tokens, rows.length, rows.score)
