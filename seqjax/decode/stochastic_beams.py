"""Stochastic beam search: several outputs drawn at once, without replacement."""

import functools
from collections.abc import Sequence
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import tree
from seqjax.annotations import public
from seqjax.checks import check_key, check_length, check_positive
from seqjax.contracts import Decoder
from seqjax.decode.candidates import largest
from seqjax.decode.constraints import Constraints, Rules, check_vocabulary, make_rules, read_ends, read_limit, rows_of_limit
from seqjax.decode.decoder import buffered, host_array, is_among, size_marker, started, step_form
from seqjax.decode.probabilities import Total, add, log_probabilities, log_softmax, score_dtype
from seqjax.decode.rules import Written, constrain
from seqjax.hoisting import hoist
from seqjax.placement import automatic, varying_as
from seqjax.serial import register
from seqjax.types import Array, Key, Params, State


@register
class StochasticBeams(NamedTuple):
    """Different outputs of each row in the order in which they were drawn, the first from the decoder's distribution itself.

    Args:
        tokens, lengths, scores: as of `Decoded`, [B, N, L], [B, N], [B, N].
        perturbed: floating, [B, N], falling: the log-probabilities plus Gumbel noise; -inf for a missing output.
        log_q: floating, [B, N]: log-probabilities under the constraints, from which outputs were drawn; without any, the scores.
    """

    tokens: Array
    lengths: Array
    scores: Array
    perturbed: Array
    log_q: Array

    @property
    def weights(self) -> Array:
        """Importance weights, floating [B, N]: sum over n of weights[n] f(output n) is an unbiased estimate of E f.

            w = p / q(k),  q(k) = P(Gumbel(log p) > k) = 1 - exp(-exp(log p - k)),  k the last of the perturbed

        The last output has the weight 0; where some are missing, all possible ones are there, and every weight is p.
        """
        threshold = self.perturbed[:, -1:]  # [B, 1]; -inf where outputs are missing
        missing, present = threshold == -jnp.inf, self.perturbed > -jnp.inf
        surplus = jnp.where(missing | ~present, 0, self.log_q - threshold)
        inclusion = jnp.where(missing, 1, -jnp.expm1(-jnp.exp(surplus)))
        weights = jnp.where(present, jnp.exp(self.log_q), 0) / inclusion
        return jnp.where(~missing & (self.perturbed == threshold), 0, weights)


class _Settings(NamedTuple):
    key: Key
    ends: Array  # [E]
    limit: Array  # [] or [B]
    rules: Rules | None


class _Beams(NamedTuple):
    """K beams of each row: arrays [K, B, ...]."""

    time: Array  # []
    state: State
    at: Array | None  # states of the automaton of phrases
    token: Array
    tokens: Array  # [T, K, B]
    length: Array  # of an output that has ended; 0: it goes on
    score: Total
    log_q: Total
    perturbed: Array
    failed: Array  # [B], where the decoder gave NaN


@public
def stochastic_beam(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    key: Key,
    width: int,
    max_length: int,
    end: int | Sequence[int] | None = None,
    **constraints: Unpack[Constraints],
) -> StochasticBeams:
    """Draw different outputs of each row: a beam search over log-probabilities with Gumbel noise.

        G(y) = log p(y) + Gumbel noise;  the outputs are those of the K largest G

    That is sampling without replacement: output n is drawn from the distribution without outputs 1 to n - 1. A prefix has the
    largest perturbed value among its continuations, and theirs are drawn given that maximum, so that only K beams are kept.

    Args:
        model: a decoder (`seqjax.contracts.Decoder`).
        params: the model's parameters.
        batch: read by the model's `start`.
        key: a typed key; noise of step t and row b comes from split(fold_in(key, t), B)[b].
        width: K, outputs for each row; where fewer are possible, the others are missing.
        max_length: L, symbols of an output at most, the end symbol included.
        end: the symbol that ends an output, or several such symbols; None: all have L symbols.
        **constraints: see `Constraints`. Outputs are drawn from the distribution that they leave, normalised at every step.

    Returns:
        StochasticBeams, [B, K, ...]; `weights` makes unbiased estimates of them.

    Raises:
        InputError: a value out of its range, a symbol outside the vocabulary, or the model's own errors.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=GRU(input_size=3, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2]]), "tokens_lengths": jnp.array([2])}
        >>> drawn = stochastic_beam(model, model.init(jax.random.key(0)), prompts, key=jax.random.key(1), width=9, max_length=2)
        >>> sorted(map(tuple, drawn.tokens[0].tolist()))[:4]  # all nine outputs of two symbols
        [(0, 0), (0, 1), (0, 2), (1, 0)]

    Kool, van Hoof, Welling 2019, "Stochastic Beams and Where to Find Them", arXiv:1903.06059.
    """
    check_key("key", key, several="give jax.random.key(seed)")
    check_length(max_length)
    check_positive(width=width)
    ends = read_ends(end)
    limit = read_limit(max_length, constraints.get("max_lengths"))
    settings = _Settings(key, host_array(ends, np.int32), limit, make_rules(max_length, ends, constraints))
    memory, state, token = started(model, params, batch)
    run = functools.partial(_run, model, width, buffered(max_length))
    drawn, marker = automatic(run, params, memory, state, token, settings, rows=(state, token))
    check_vocabulary(marker.shape[0], ends, settings.rules)
    return drawn._replace(tokens=drawn.tokens[..., :max_length])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(model, width: int, buffer: int, params, memory, state, token, settings: _Settings) -> tuple[StochasticBeams, Array]:
    logits, _ = step_form(model, params, memory, state, token)
    rows, dtype = token.shape[0], score_dtype(logits)
    limit = rows_of_limit(settings.limit, rows)  # [B]
    state, token = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (width, *a.shape)), (state, token.astype(jnp.int32)))
    number, zero = jnp.zeros((width, rows), jnp.int32), jnp.zeros((width, rows), dtype)
    has_phrases = settings.rules is not None and settings.rules.automaton is not None
    root = _gumbel(settings.key, jnp.asarray(buffer, jnp.int32), (1,), rows, dtype)[0]  # [B]
    first = _Beams(
        time=jnp.zeros((), jnp.int32),
        state=state,
        at=number if has_phrases else None,
        token=token,
        tokens=jnp.zeros((buffer, width, rows), jnp.int32),
        length=number,
        score=Total(zero, zero),
        log_q=Total(zero, zero),
        perturbed=jnp.full((width, rows), -jnp.inf, dtype).at[0].set(root),
        failed=jnp.zeros(rows, bool),
    )
    first = varying_as(first, token)

    def step(fixed, beams):
        params, memory, settings = fixed
        return _step(model, params, memory, settings, limit, beams)

    last = jax.lax.while_loop(lambda beams: _is_live(beams).any(), hoist(step, (params, memory, settings), first), first)
    present = last.perturbed > -jnp.inf  # [K, B]
    is_first = jax.lax.broadcasted_iota(jnp.int32, present.shape, 0) == 0
    score = jnp.where(present, last.score.value, -jnp.inf)
    score = jnp.where(last.failed[None], jnp.where(is_first, jnp.nan, -jnp.inf), score)
    length = jnp.where(present & ~last.failed[None], last.length, 0)
    place = jax.lax.broadcasted_iota(jnp.int32, last.tokens.shape, 0)
    tokens = jnp.where(place < length[None], last.tokens, 0)  # [T, K, B]
    perturbed = jnp.where(last.failed[None], -jnp.inf, last.perturbed)
    log_q = jnp.where(perturbed > -jnp.inf, last.log_q.value, -jnp.inf)
    tokens = jnp.moveaxis(tokens, (0, 1, 2), (2, 1, 0))  # [B, K, T]
    return StochasticBeams(tokens, length.T, score.T, perturbed.T, log_q.T), size_marker(logits.shape[-1])


def _is_live(beams: _Beams) -> Array:
    """True for the beams that go on, bool [K, B]."""
    return (beams.perturbed > -jnp.inf) & (beams.length == 0) & ~beams.failed[None]


def _gumbel(key: Key, time: Array, shape: tuple[int, ...], rows: int, dtype) -> Array:
    """Gumbel noise of a step, [*shape, B], a row's from its own key."""
    keys = jax.random.split(jax.random.fold_in(key, time), rows)
    return jax.vmap(lambda key: jax.random.gumbel(key, shape, dtype), out_axes=-1)(keys)


def _step(model, params, memory, settings: _Settings, limit: Array, beams: _Beams) -> _Beams:
    """Read a symbol into every beam, and keep the beams with the largest perturbed log-probabilities."""
    state, logits = jax.vmap(model.step, in_axes=(None, None, 0, 0))(params, memory, beams.state, beams.token)
    log_p = log_probabilities(model, logits)  # [K, B, V]
    allowed = constrain(settings.rules, log_p, Written(beams.tokens, beams.token, beams.time, limit, beams.at))
    log_q, live = log_softmax(allowed.values), _is_live(beams)  # [K, B, V], [K, B]
    failed = beams.failed | (jnp.isnan(log_q[..., 0]) & live).any(axis=0)
    width, rows, symbols = log_q.shape
    noise = jnp.moveaxis(_gumbel(settings.key, beams.time, (width, symbols), rows, log_q.dtype), -1, 1)
    total = beams.log_q.value[..., None] + log_q
    children = _below(beams.perturbed[..., None], total + noise)
    is_first = jax.lax.broadcasted_iota(jnp.int32, log_q.shape, 2) == 0
    kept = jnp.where(is_first, beams.perturbed[..., None], -jnp.inf)  # an output that has ended stays as it is
    candidates = jnp.where(live[..., None], children, kept)
    perturbed, index = largest(jnp.where(jnp.isnan(candidates), -jnp.inf, candidates), width)  # [B, K]
    perturbed, index = perturbed.T, index.T  # [K, B]
    parent, symbol = index // symbols, index % symbols
    row = jnp.broadcast_to(jnp.arange(rows, dtype=jnp.int32), parent.shape)
    part = (state, allowed.at, beams.length, beams.score, beams.log_q, live)
    state, at, length, score, q_total, grows = jax.tree.map(lambda leaf: leaf[parent, row], part)
    tokens = beams.tokens[:, parent, row]  # [T, K, B]

    def grown(sums: Total, terms: Array) -> Total:
        return tree.where(grows, add(sums, terms[parent, row, symbol]), sums)

    ended = is_among(symbol, settings.ends) | (beams.time + 1 >= limit)[None]
    return _Beams(
        time=beams.time + 1,
        state=state,
        at=at,
        token=symbol,
        tokens=tokens.at[beams.time].set(jnp.where(grows, symbol, 0)),
        length=jnp.where(grows & ended, beams.time + 1, length),
        score=grown(score, log_p),
        log_q=grown(q_total, log_q),
        perturbed=perturbed,
        failed=failed,
    )


def _below(largest_of_all: Array, values: Array) -> Array:
    """Perturbed values [..., V] given that their largest is `largest_of_all` [..., 1] (Kool et al., appendix B.3).

    -log(exp(-T) - exp(-Z) + exp(-G)),  Z the largest of the values G, T the largest that they must have
    """
    top = values.max(axis=-1, keepdims=True)
    below = jnp.minimum(values - jnp.where(top == -jnp.inf, 0, top), 0)  # G - Z
    v = largest_of_all - values + jnp.log1p(-jnp.exp(below))  # at the largest value: -inf
    result = largest_of_all - jnp.maximum(v, 0) - jnp.log1p(jnp.exp(-jnp.abs(v)))
    return jnp.where(values == -jnp.inf, -jnp.inf, result)
