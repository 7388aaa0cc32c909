"""Search that chooses one symbol after another: the likeliest, or a draw.

The model is a decoder (`seqjax.contracts.Decoder`); it is static under jit, so it must be hashable.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.categorical import quantile
from seqjax.checks import check_end, check_integers, check_positive
from seqjax.contracts import Decoder
from seqjax.decode.constraints import Constraints, Rules, check_vocabulary, constrain, make_rules
from seqjax.decode.decoder import Decoded, host_array, size_marker
from seqjax.decode.filters import Filters, apply_filters
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.types import Array, Key, Params, State, at_least_float32

_COLDEST, _HOTTEST = float(np.finfo(np.float32).tiny), 1e30  # below: the likeliest symbol; above: as at 1e30, uniform


class _Draw(NamedTuple):
    """Settings of a draw, as arrays, so that another value compiles nothing."""

    key: Key
    temperature: Array
    filters: Filters


class _Settings(NamedTuple):
    """Settings of a search: how a symbol is drawn (None: the likeliest), the symbol that ends a row (-1: none), and rules."""

    draw: _Draw | None
    end: Array
    rules: Rules | None


class _Rows(NamedTuple):
    """The state of the loop. Row b is live where length[b] > time."""

    time: Array
    state: State
    token: Array  # [B]
    length: Array  # [B]
    score: Array  # [B]
    tokens: Array  # [L, B]


def greedy(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | None = None,
    **constraints: Unpack[Constraints],
) -> Decoded:
    """The likeliest symbol at every step: `sample` at temperature 0.

    Args:
        model: a decoder (`seqjax.contracts.Decoder`).
        params: the model's parameters.
        batch: read by the model's `start`, e.g. {"tokens": [B, T], "tokens_lengths": [B]}.
        max_length: L, symbols a row at most.
        end: the symbol that ends a row; None: every row has L symbols.
        **constraints: see `Constraints`. Where they leave no symbol, the row ends without one, with score -inf.

    Returns:
        Decoded: tokens [B, L], lengths [B], scores [B].

    Raises:
        InputError: a value out of its range, a symbol outside the vocabulary, or the model's own errors.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "tokens_lengths": jnp.array([2, 1])}
        >>> greedy(model, model.init(jax.random.key(0)), prompts, max_length=7).tokens.shape
        (2, 7)
    """
    return _decoded(model, params, batch, max_length, end, None, constraints)


def sample(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | None = None,
    key: Key,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    **constraints: Unpack[Constraints],
) -> Decoded:
    """Draw every symbol from the model's distribution, at a temperature and through filters.

        p ~ softmax(logits / temperature), then top_k, top_p, min_p, typical_p, each on the symbols that are left
        symbol: the first i with p_1 + ... + p_i > u, u uniform in [0, 1)

    Compiled once for each model and shape: another prompt of the same shape, key, temperature or value of an option
    compiles nothing (only temperature 0, another no_repeat_ngram, or another set of options does).

    Args:
        model: a decoder (`seqjax.contracts.Decoder`).
        params: the model's parameters.
        batch: read by the model's `start`, e.g. {"tokens": [B, T], "tokens_lengths": [B]}.
        max_length: L, symbols a row at most.
        end: the symbol that ends a row; None: every row has L symbols. The loop ends when all rows have.
        key: a typed key; u of step t and row b comes from split(fold_in(key, t), B)[b].
        temperature: at least 0; 0 takes the likeliest symbol, as `greedy` does.
        top_k: at least 1, the number of symbols kept; None keeps all.
        top_p: 0 < top_p <= 1, the probability kept; None keeps all.
        min_p: 0 < min_p <= 1, the least probability kept, relative to the likeliest symbol's; None keeps all.
        typical_p: 0 < typical_p <= 1, the probability kept, in symbols whose surprise is nearest to the entropy; None
            keeps all.
        **constraints: see `Constraints`; applied before the filters. Where they leave no symbol, the row ends without one,
            with score -inf.

    Returns:
        Decoded: tokens [B, L], lengths [B], scores [B].

    Raises:
        InputError: a value out of its range, a symbol outside the vocabulary, or the model's own errors.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "tokens_lengths": jnp.array([2, 1])}
        >>> sample(model, model.init(jax.random.key(0)), prompts, max_length=7, key=jax.random.key(1)).lengths.tolist()
        [7, 7]
    """
    draw = _draw(key, temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    return _decoded(model, params, batch, max_length, end, draw, constraints)


def stream(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | None = None,
    key: Key,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    **constraints: Unpack[Constraints],
) -> Iterator[np.ndarray]:
    """The symbols of `sample` for the same arguments, each as soon as it is drawn.

    Args:
        model, params, batch, max_length, end, key, temperature, top_k, top_p, min_p, typical_p: as for `sample`.
        **constraints: as for `sample`.

    Returns:
        An iterator of int32 arrays [B], the columns of `Decoded.tokens`; it ends after L, or when all rows have.

    Raises:
        InputError: as `sample`; at the call, not at the first symbol.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompt = {"tokens": jnp.array([[1, 2]]), "tokens_lengths": jnp.array([2])}
        >>> len(list(stream(model, model.init(jax.random.key(0)), prompt, max_length=7, key=jax.random.key(1))))
        7
    """
    draw = _draw(key, temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    settings = _settings(max_length, end, draw, constraints)
    memory, state, token = model.start(params, batch)
    first, uniforms, marker = _begin(model, max_length, params, memory, state, token, settings)
    check_vocabulary(marker.shape[0], end, settings.rules)

    def symbols():
        rows = first
        while _any_is_live(rows):
            rows = _advance_once(model, params, memory, rows, settings, uniforms)
            yield np.asarray(rows.token)

    return symbols()


def check_draw(*, temperature: float, top_k: int | None, **shares: float | None) -> None:
    """Raise InputError unless temperature >= 0, top_k >= 1 or None, and every share above 0 and at most 1, or None."""
    if not temperature >= 0:
        raise InputError(f"temperature is {temperature}, it must be at least 0 (0: always the likeliest symbol)")
    if top_k is not None:
        check_integers(top_k=top_k)
        if top_k < 1:
            raise InputError(f"top_k is {top_k}, it must be at least 1 (None: all symbols)")
    for name, share in shares.items():
        if share is not None and not 0 < share <= 1:
            raise InputError(f"{name} is {share}, it must be above 0 and at most 1 (None: all symbols)")


def _settings(max_length: int, end: int | None, draw: _Draw | None, constraints: Constraints) -> _Settings:
    check_positive(max_length=max_length)
    check_end(end)
    return _Settings(draw, host_array(-1 if end is None else end, np.int32), make_rules(max_length, end, **constraints))


def _decoded(model, params, batch, max_length: int, end: int | None, draw: _Draw | None, constraints: Constraints) -> Decoded:
    settings = _settings(max_length, end, draw, constraints)
    decoded, marker = _run(model, max_length, params, *model.start(params, batch), settings)
    check_vocabulary(marker.shape[0], end, settings.rules)
    return decoded


def _draw(key, temperature, *, top_k, **shares) -> _Draw | None:
    if not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key):
        raise InputError("key is not a typed key: give jax.random.key(seed)")
    check_draw(temperature=temperature, top_k=top_k, **shares)
    if temperature < _COLDEST:
        return None
    filters = Filters(
        top_k=None if top_k is None else host_array(min(top_k, 2**31 - 1), np.int32),
        **{name: None if share is None else host_array(share, np.float32) for name, share in shares.items()},
    )
    return _Draw(key, host_array(min(temperature, _HOTTEST), np.float32), filters)


def _begin(model, max_length, params, memory, state, token, settings: _Settings) -> tuple[_Rows, Array | None, Array]:
    """The rows before the first step, one uniform number per step and row [L, B], and the vocabulary's `size_marker`."""
    _, logits = jax.eval_shape(model.step, params, memory, state, token)
    rows = token.shape[0]
    first = _Rows(
        time=jnp.zeros((), jnp.int32),
        state=state,
        token=token.astype(jnp.int32),
        length=jnp.full(rows, max_length, jnp.int32),
        score=jnp.zeros(rows, at_least_float32(logits.dtype)),
        tokens=jnp.zeros((max_length, rows), jnp.int32),
    )
    uniforms = None if settings.draw is None else _uniforms(settings.draw.key, max_length, rows)
    return first, uniforms, size_marker(logits.shape[-1])


@functools.partial(jax.jit, static_argnums=(1, 2))
def _uniforms(key: Key, steps: int, rows: int) -> Array:
    """Uniform numbers in [0, 1), float32 [L, B], for all steps at once: a small draw in the loop costs more than its step."""

    def draw_step(time):
        return jax.vmap(jax.random.uniform)(jax.random.split(jax.random.fold_in(key, time), rows))

    return jax.vmap(draw_step)(jnp.arange(steps))


def _first_true(mask: Array) -> Array:
    """The index of each row's first True, or the last index: bool [B, V] to int32 [B]. Faster than argmax on CPUs."""
    indices = jax.lax.broadcasted_iota(jnp.int32, mask.shape, 1)
    return jnp.where(mask, indices, mask.shape[1] - 1).min(axis=1)


def _drawn(below_best: Array, draw: _Draw, uniform: Array) -> Array:
    """One symbol a row, from logits [B, V] whose largest is 0 (so that no temperature overflows): int32 [B]."""
    scaled = below_best / draw.temperature.astype(below_best.dtype)
    return quantile(jnp.exp(apply_filters(scaled, draw.filters)), uniform)


def _advance(model, params, memory, rows: _Rows, settings: _Settings, uniforms: Array | None) -> _Rows:
    """One step of every row; rows that have ended emit 0, and keep their length and score."""
    state, logits = model.step(params, memory, rows.state, rows.token)
    logits = logits.astype(rows.score.dtype)  # [B, V]
    below_best = logits - logits.max(axis=1, keepdims=True)  # [B, V], the largest 0
    allowed, is_possible = below_best, None
    if settings.rules is not None:  # the largest of the allowed ones becomes 0 again
        allowed = constrain(settings.rules, below_best, rows.tokens, rows.time)
        best = allowed.max(axis=1, keepdims=True)  # [B, 1]
        is_possible = best[:, 0] > -jnp.inf
        allowed = allowed - jnp.where(is_possible[:, None], best, 0)
    draw = settings.draw
    # [B]
    token = _first_true(allowed == 0) if draw is None or uniforms is None else _drawn(allowed, draw, uniforms[rows.time])
    log_p = jnp.take_along_axis(below_best, token[:, None], axis=1)[:, 0] - jnp.log(jnp.exp(below_best).sum(axis=1))
    is_live = rows.length > rows.time
    length = jnp.where(is_live & (token == settings.end), rows.time + 1, rows.length)
    if is_possible is not None:
        token, log_p = jnp.where(is_possible, token, 0), jnp.where(is_possible, log_p, -jnp.inf)
        length = jnp.where(is_live & ~is_possible, rows.time, length)
    emitted = jnp.where(is_live, token, 0)
    return _Rows(
        time=rows.time + 1,
        state=state,
        token=emitted,
        length=length,
        score=jnp.where(is_live, rows.score + log_p, rows.score),
        tokens=rows.tokens.at[rows.time].set(emitted),
    )


_advance_once = jax.jit(_advance, static_argnums=0)


def _any_is_live(rows: _Rows) -> Array:
    return (rows.length > rows.time).any()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(model, max_length: int, params, memory, state, token, settings: _Settings) -> tuple[Decoded, Array]:
    def advance(fixed, rows):
        params, memory, *others = fixed
        return _advance(model, params, memory, rows, *others)

    first, uniforms, marker = _begin(model, max_length, params, memory, state, token, settings)
    step = hoist(advance, (params, memory, settings, uniforms), first)
    last = jax.lax.while_loop(_any_is_live, step, first)
    return Decoded(last.tokens.T, last.length, last.score), marker
