"""Search that chooses one symbol after another: the likeliest, or a draw.

The model is a decoder (`seqjax.contracts.Decoder`); it is static under jit, so it must be hashable.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.annotations import public
from seqjax.categorical import quantile
from seqjax.checks import LARGEST, check_integers, check_key, check_length, check_positive, is_traced
from seqjax.contracts import Decoder
from seqjax.decode.constraints import Constraints, Rules, check_vocabulary, make_rules, read_ends, read_limit, rows_of_limit
from seqjax.decode.decoder import (
    Decoded,
    buffered,
    host_array,
    is_among,
    known,
    scalar,
    size_marker,
    started,
    step_form,
)
from seqjax.decode.filters import Filters, apply_filters
from seqjax.decode.probabilities import Total, add, relative, score_dtype
from seqjax.decode.rules import Written, constrain
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.placement import automatic, varying_as
from seqjax.types import Array, Key, Params, State

_COLDEST, _HOTTEST = float(np.finfo(np.float32).tiny), 1e30  # below: the likeliest symbol; above: as at 1e30, uniform


class _Draw(NamedTuple):
    """Settings of a draw, as arrays, so that another value compiles nothing."""

    key: Key
    temperature: Array
    filters: Filters


class _Settings(NamedTuple):
    """Settings of a search: how a symbol is drawn (None: the likeliest), and when and with which symbols a row ends."""

    draw: _Draw | None
    ends: Array  # [E]
    limit: Array  # [] or [B]
    rules: Rules | None


class _Rows(NamedTuple):
    """The state of the loop. Row b is live where length[b] > time. N samples of a row have an axis in front, but for time."""

    time: Array
    state: State
    at: Array | None  # [B], states of the automaton of phrases
    token: Array  # [B]
    length: Array  # [B]
    score: Total  # [B]
    tokens: Array  # [T, B]


_OF_SAMPLES = _Rows._make((None, *[0] * 6))  # axes of N samples, for vmap


@public
def greedy(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | Sequence[int] | None = None,
    **constraints: Unpack[Constraints],
) -> Decoded:
    """The likeliest symbol at every step: `sample` at temperature 0.

    Args:
        model: a decoder (`seqjax.contracts.Decoder`).
        params: the model's parameters.
        batch: read by the model's `start`, e.g. {"tokens": [B, T], "tokens_lengths": [B]}.
        max_length: L, the most symbols of a row.
        end: the symbol that ends a row, or several such symbols; None: every row has L symbols.
        **constraints: see `Constraints`. Where no symbol is possible, the row ends without one, with score -inf.

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


@public
def sample(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | Sequence[int] | None = None,
    key: Key,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    samples: int | None = None,
    **constraints: Unpack[Constraints],
) -> Decoded:
    """Draw every symbol from the model's distribution, at a temperature and through filters.

        p ~ softmax(logits / temperature), then top_k, top_p, min_p, typical_p, each on the symbols that are left
        symbol: the first i with p_1 + ... + p_i > u, u uniform in [0, 1)

    It is compiled once for each model and shape: another prompt of the same shape, key, temperature or value of an option
    compiles nothing. Temperature 0, another no_repeat_ngram, samples or set of options does, and so does a max_length above
    the next power of two. All numbers but max_length and samples may be traced.

    Args:
        model: a decoder (`seqjax.contracts.Decoder`).
        params: the model's parameters.
        batch: read by the model's `start`, e.g. {"tokens": [B, T], "tokens_lengths": [B]}.
        max_length: L, the most symbols of a row.
        end: the symbol that ends a row, or several such symbols; None: every row has L symbols. The loop ends when all rows
            have.
        key: a typed key; u of step t and row b comes from split(fold_in(key, t), B)[b].
        temperature: at least 0; 0 takes the likeliest symbol, as `greedy` does.
        top_k: at least 1, the number of symbols kept; None keeps all.
        top_p: 0 < top_p <= 1, the probability kept; None keeps all.
        min_p: 0 < min_p <= 1, the least probability kept, relative to the likeliest symbol's; None keeps all.
        typical_p: 0 < typical_p <= 1, the probability kept, in symbols whose surprise is nearest to the entropy; None
            keeps all.
        samples: N, draws for each row in one call, which reads the batch once: draw n is that of the key split(key, N)[n].
            None: one, without an axis for it.
        **constraints: see `Constraints`; applied before the filters. Where no symbol is possible, the row ends without one,
            with score -inf.

    Returns:
        Decoded: tokens [B, L], lengths [B], scores [B]; with samples tokens [B, N, L], lengths [B, N], scores [B, N].

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
    if samples is not None:
        check_positive(samples=samples)
    return _decoded(model, params, batch, max_length, end, draw, constraints, samples)


@public
def stream(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    max_length: int,
    end: int | Sequence[int] | None = None,
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
    ends, settings = _settings(max_length, end, draw, constraints)
    memory, state, token = started(model, params, batch)
    begin = functools.partial(_begin_once, model, buffered(max_length), None)
    first, uniforms, marker = automatic(begin, params, memory, state, token, settings, rows=(state, token))
    check_vocabulary(marker.shape[0], ends, settings.rules)

    def symbols():
        rows, advance = first, functools.partial(_advance_once, model)
        while _any_is_live(rows):
            rows = automatic(advance, params, memory, rows, settings, uniforms, rows=(rows.state, rows.token))
            yield np.asarray(rows.token)

    return symbols()


def check_draw(*, temperature: Any, top_k: Any, **shares: Any) -> None:
    """Raise InputError unless temperature >= 0, top_k >= 1 or None, and every share above 0 and at most 1, or None."""
    for value in known(temperature=temperature).values():
        if not value >= 0:
            raise InputError(f"temperature is {value}, it must be at least 0 (0: always the likeliest symbol)")
    if top_k is not None:
        for value in known(top_k=top_k).values():
            check_integers(top_k=value)
            if value < 1:
                raise InputError(f"top_k is {value}, it must be at least 1 (None: all symbols)")
    for name, value in known(**{name: share for name, share in shares.items() if share is not None}).items():
        if not 0 < value <= 1:
            raise InputError(f"{name} is {value}, it must be above 0 and at most 1 (None: all symbols)")


def _settings(max_length: int, end: Any, draw: _Draw | None, constraints: Constraints) -> tuple[tuple[int, ...], _Settings]:
    check_length(max_length)
    ends = read_ends(end)
    rules = make_rules(max_length, ends, constraints)
    limit = read_limit(max_length, constraints.get("max_lengths"))
    filled = [*ends, *[-1] * ((1 << max(len(ends) - 1, 0).bit_length()) - len(ends))]  # -1: no symbol
    return ends, _Settings(draw, host_array(filled, np.int32), limit, rules)


def _decoded(
    model, params, batch, max_length: int, end: Any, draw: _Draw | None, constraints: Constraints, samples: int | None = None
) -> Decoded:
    ends, settings = _settings(max_length, end, draw, constraints)
    buffer = buffered(max_length)
    memory, state, token = started(model, params, batch)
    run = functools.partial(_run, model, buffer, samples)
    decoded, marker = automatic(run, params, memory, state, token, settings, rows=(state, token))
    check_vocabulary(marker.shape[0], ends, settings.rules)
    return decoded if buffer == max_length else shortened(decoded, max_length)


@functools.partial(jax.jit, static_argnums=(1, 2))
def shortened(decoded: Decoded, length: int, n_best: int | None = None) -> Decoded:
    """The first `length` places of every output, of the first `n_best` outputs."""
    tokens, lengths, scores = decoded if n_best is None else jax.tree.map(lambda leaf: leaf[:, :n_best], decoded)
    return Decoded(tokens[..., :length], lengths, scores)


def _draw(key, temperature, *, top_k, **shares) -> _Draw | None:
    check_key("key", key, several="give jax.random.key(seed), and samples for several draws")
    check_draw(temperature=temperature, top_k=top_k, **shares)
    if not is_traced(temperature):
        if temperature < _COLDEST:
            return None
        temperature = min(temperature, _HOTTEST)
    filters = Filters(
        top_k=None if top_k is None else scalar(top_k if is_traced(top_k) else min(top_k, LARGEST - 1), np.int32),
        **{name: None if share is None else scalar(share, np.float32) for name, share in shares.items()},
    )
    return _Draw(key, scalar(temperature, np.float32), filters)


def _begin(
    model, buffer: int, samples: int | None, params, memory, state, token, settings: _Settings
) -> tuple[_Rows, Array | None, Array]:
    """The rows before the first step, one uniform number per step and row, and the vocabulary's `size_marker`.

    Uniform numbers are [T, B], of N samples [T, N, B].
    """
    logits, _ = step_form(model, params, memory, state, token)
    rows, has_phrases = token.shape[0], settings.rules is not None and settings.rules.automaton is not None
    zero = jnp.zeros(rows, score_dtype(logits))
    first = _Rows(
        time=jnp.zeros((), jnp.int32),
        state=state,
        at=jnp.zeros(rows, jnp.int32) if has_phrases else None,
        token=token.astype(jnp.int32),
        length=rows_of_limit(settings.limit, rows),
        score=Total(zero, zero),
        tokens=jnp.zeros((buffer, rows), jnp.int32),
    )
    if samples is not None:
        others = first._replace(time=None)
        others = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (samples, *leaf.shape)), others)
        first = others._replace(time=first.time)
    uniforms = None if settings.draw is None else _uniforms(settings.draw.key, buffer, rows, samples)
    return first, uniforms, size_marker(logits.shape[-1])


_begin_once = jax.jit(_begin, static_argnums=(0, 1, 2))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _uniforms(key: Key, steps: int, rows: int, samples: int | None) -> Array:
    """Uniform numbers in [0, 1), float32 [T, B] or [T, N, B], for all steps at once: a small draw in the loop costs more."""

    def draw_step(key, time):
        keys = jax.random.split(jax.random.fold_in(key, time), rows)
        return jax.vmap(lambda key: jax.random.uniform(key, dtype=jnp.float32))(keys)

    if samples is None:
        return jax.vmap(functools.partial(draw_step, key))(jnp.arange(steps))
    keys = jax.random.split(key, samples)
    return jax.vmap(lambda time: jax.vmap(lambda key: draw_step(key, time))(keys))(jnp.arange(steps))


def _first_true(mask: Array) -> Array:
    """The index of each row's first True, or the last index: bool [B, V] to int32 [B]. Faster than argmax on CPUs."""
    indices = jax.lax.broadcasted_iota(jnp.int32, mask.shape, 1)
    return jnp.where(mask, indices, mask.shape[1] - 1).min(axis=1)


def _drawn(below_best: Array, draw: _Draw, uniform: Array) -> Array:
    """One symbol a row, from logits [B, V] whose largest is 0 (so that no temperature overflows): int32 [B]."""
    temperature = draw.temperature.astype(below_best.dtype)
    is_cold = temperature < _COLDEST  # known only here where the temperature is traced: the first of the likeliest
    scaled = below_best / jnp.clip(temperature, _COLDEST, _HOTTEST)
    return quantile(jnp.exp(apply_filters(scaled, draw.filters)), jnp.where(is_cold, 0, uniform))


def _advance(model, params, memory, rows: _Rows, settings: _Settings, uniform: Array | None) -> _Rows:
    """One step of every row; rows that have ended emit 0, and keep their length and score."""
    state, logits = model.step(params, memory, rows.state, rows.token)
    below, log_sum = relative(model, logits)  # [B, V], [B, 1]
    competing, best, at = below, None, None
    if settings.rules is not None:  # the largest of the allowed ones becomes 0 again
        written = Written(rows.tokens, rows.token, rows.time, rows_of_limit(settings.limit, rows.token.shape[0]), rows.at)
        values, at, _ = constrain(settings.rules, below - log_sum, written)
        best = values.max(axis=1, keepdims=True)  # [B, 1]
        competing = values - jnp.where(best > -jnp.inf, best, 0)
    draw = settings.draw
    # [B]
    token = _first_true(competing == 0) if draw is None or uniform is None else _drawn(competing, draw, uniform)
    log_p = (jnp.take_along_axis(below, token[:, None], axis=1) - log_sum)[:, 0]
    if best is not None:
        log_p = jnp.where(best[:, 0] > -jnp.inf, log_p, best[:, 0])
    is_live, is_possible = rows.length > rows.time, log_p > -jnp.inf  # neither -inf nor NaN
    length = jnp.where(is_live & is_possible & is_among(token, settings.ends), rows.time + 1, rows.length)
    length = jnp.where(is_live & ~is_possible, rows.time, length)
    emitted = jnp.where(is_live & is_possible, token, 0)
    score = jax.tree.map(functools.partial(jnp.where, is_live), add(rows.score, log_p), rows.score)
    return _Rows(rows.time + 1, state, at, emitted, length, score, rows.tokens.at[rows.time].set(emitted))


@functools.partial(jax.jit, static_argnums=0)
def _advance_once(model, params, memory, rows: _Rows, settings: _Settings, uniforms: Array | None) -> _Rows:
    return _advance(model, params, memory, rows, settings, None if uniforms is None else uniforms[rows.time])


def _any_is_live(rows: _Rows) -> Array:
    return (rows.length > rows.time).any()


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(model, buffer: int, samples: int | None, params, memory, state, token, settings: _Settings) -> tuple[Decoded, Array]:
    def advance(fixed, rows):
        params, memory, settings, uniforms = fixed
        uniform = None if uniforms is None else uniforms[rows.time]

        def one(rows, uniform):
            return _advance(model, params, memory, rows, settings, uniform)

        if samples is None:
            return one(rows, uniform)
        return jax.vmap(one, in_axes=(_OF_SAMPLES, 0), out_axes=_OF_SAMPLES)(rows, uniform)

    first, uniforms, marker = _begin(model, buffer, samples, params, memory, state, token, settings)
    first = varying_as(first, token)
    step = hoist(advance, (params, memory, settings, uniforms), first)
    last = jax.lax.while_loop(_any_is_live, step, first)
    tokens, length, score = last.tokens, last.length, last.score.value  # with samples [N, T, B], [N, B], [N, B]
    return Decoded(jnp.moveaxis(tokens, -1, 0), jnp.moveaxis(length, -1, 0), jnp.moveaxis(score, -1, 0)), marker
