"""The best hypotheses, found by keeping many at a time.

The beams of a row stand side by side: the state has leaves [K, B, ...], `step` is mapped over K, and the memory, which all
beams of a row read, is neither copied nor moved. Beams are in groups, [B, G, k], G k = K; plain beam search is one group.
"""

import functools
from typing import Any, NamedTuple, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import check_end, check_positive, check_weights
from seqjax.contracts import AttendingDecoder, Decoder
from seqjax.decode.constraints import Constraints, Rules, check_vocabulary, constrain, make_rules
from seqjax.decode.decoder import Decoded
from seqjax.decode.options import check_attends, number, size_told
from seqjax.decode.penalties import coverage_penalty, length_penalty
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.types import Array, Params, State, at_least_float32


class _Plan(NamedTuple):
    """What is compiled in."""

    groups: int
    size: int  # k, beams of a group
    kept: int  # F, hypotheses of a group
    n_best: int
    max_length: int
    early_stop: bool


class _Settings(NamedTuple):
    """What is not. None: compiled without."""

    end: Array | None
    alpha: Array
    beta: Array | None
    diversity: Array | None
    rules: Rules | None
    attended: Array | None  # bool [B, S]: the places that coverage counts


class _Ended(NamedTuple):
    """The best hypotheses that took `end`, best first, all [B, G, F]; a missing one has score -inf and length 0."""

    score: Array
    length: Array
    parent: Array  # the beam, of its group, that took it


class _Beams(NamedTuple):
    """The hypotheses that still grow: those with a score above -inf."""

    time: Array
    state: State  # leaves [K, B, ...]
    token: Array  # [K, B]
    score: Array  # [B, G, k]: log-probabilities
    trail: Array  # [L, B, G, k]: parent * V + symbol
    coverage: Array | None  # [K, B, S]
    tokens: Array | None  # [L, K, B], where a rule reads them
    ended: _Ended | None


def beam(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    width: int,
    max_length: int,
    end: int | None = None,
    n_best: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    early_stop: bool = True,
    groups: int = 1,
    diversity: float = 0.0,
    **constraints: Unpack[Constraints],
) -> Decoded:
    """Beam search: the best hypotheses among those that keeping `width` at every step finds.

        score = log p(y) / ((5 + |y|) / 6) ** length_penalty + coverage_penalty * sum_s log(min(coverage_s, 1))

    At every step, every beam's every symbol is a candidate. Those with `end` that are among the width best by log-probability
    are hypotheses; the width best of the others grow on. Beams still growing after max_length are hypotheses too, but they
    come after those that have ended. Ties go to the earlier beam and the smaller symbol.

    A row is searched until nothing that grows beats the worst of the n_best that have ended: as it stands (early_stop), or
    as it could at most become, at max_length (otherwise). Without early_stop, and with a width that holds all prefixes of a
    length, ended or not, the result is that of enumeration, under all penalties. Width 1 with early_stop is `greedy` (a
    coverage penalty may let it go on).

    Diverse beam search: each group is a search of its own, of width / groups beams, for as many hypotheses; of all of them
    the best that differ are returned. One after another, the groups choose their candidates by log-probability less
    `diversity` times the number of beams of earlier groups that took the symbol at this step. Scores have no part of it.

    Compiled once for each model and shape: other penalties, diversity or values of constraints compile nothing (only
    width, groups, n_best, early_stop, no_repeat_ngram, coverage on or off, or which constraints are given, do).

    Args:
        model: a decoder (`seqjax.contracts.Decoder`); where coverage_penalty is above 0, one that attends.
        params: of the model.
        batch: what the model's `start` reads.
        width: K, beams of a row; it may be above the vocabulary's size.
        max_length: L, symbols of a hypothesis at most, `end` included.
        end: the symbol that ends a hypothesis; None: all have L symbols.
        n_best: N, hypotheses returned of each row, at most width.
        length_penalty: alpha, at least 0.
        coverage_penalty: beta, at least 0.
        early_stop: whether a row's search ends when what grows is no better now, though a length penalty could help it later.
        groups: G; it divides width.
        diversity: at least 0.
        **constraints: see `Constraints`.

    Returns:
        Decoded: tokens [B, N, L], lengths [B, N], scores [B, N], best first: what ended by score, then what was cut off. A
        hypothesis that there is not (groups may find the same ones) has score -inf and length 0.

    Raises:
        InputError: a value out of its range, n_best above width, groups that do not divide width, a symbol outside the
            vocabulary, no attention weights where coverage_penalty needs them, or what the model refuses.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "tokens_lengths": jnp.array([2, 1])}
        >>> found = beam(model, model.init(jax.random.key(0)), prompts, width=4, max_length=7, end=0, n_best=2)
        >>> found.tokens.shape, bool((found.scores[:, 0] >= found.scores[:, 1]).all())
        ((2, 2, 7), True)

    Wu et al. 2016 (penalties); Vijayakumar et al. 2016 (groups).
    """
    check_positive(max_length=max_length)
    check_width(groups, n_best, width=width)
    check_weights(length_penalty=length_penalty, coverage_penalty=coverage_penalty, diversity=diversity)
    check_end(end)
    covers = coverage_penalty > 0
    if covers:
        check_attends(model, f"coverage_penalty {coverage_penalty}")
    of_group = width // groups
    plan = _Plan(groups, of_group, n_best if groups == 1 else of_group, n_best, max_length, bool(early_stop))
    settings = _Settings(
        end=None if end is None else number(end, np.int32),
        alpha=number(length_penalty, np.float32),
        beta=number(coverage_penalty, np.float32) if covers else None,
        diversity=number(diversity, np.float32) if groups > 1 else None,
        rules=make_rules(max_length, end, **constraints),
        attended=None,
    )
    memory, state, token = model.start(params, batch)
    if covers:
        settings = settings._replace(attended=cast(AttendingDecoder, model).attended(memory))
    found, size = _search(model, plan, params, memory, state, token, settings)
    check_vocabulary(size, end, settings.rules)
    return found


def check_width(groups: int, n_best: int = 1, **named: int) -> None:
    """Raises unless groups divide the number of beams, which is at least n_best; it is called by the name it is given."""
    [(name, width)] = named.items()
    check_positive(**named, n_best=n_best, groups=groups)
    if n_best > width:
        raise InputError(f"n_best is {n_best} and {name} {width}: a search of {width} beams gives at most {width} hypotheses")
    if width % groups:
        raise InputError(f"{name} is {width}, it must be a multiple of groups, {groups}")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(model, plan: _Plan, params, memory, state, token, settings: _Settings) -> tuple[Decoded, Array]:
    state, token = jax.tree.map(lambda leaf: _copies(leaf, plan.groups * plan.size), (state, token.astype(jnp.int32)))
    (_, logits), weights = jax.eval_shape(functools.partial(_read, model, settings), params, memory, state, token)

    def step(fixed, beams):
        params, memory, settings = fixed
        return _grow(model, plan, params, memory, settings, beams)

    def growing(beams):
        return (beams.time < plan.max_length) & (beams.score > -jnp.inf).any()

    beams = _begin(plan, settings, state, token, logits, weights)
    grow = hoist(step, (params, memory, settings), beams)
    symbols = logits.shape[-1]
    return _finish(plan, settings, jax.lax.while_loop(growing, grow, beams), symbols), size_told(symbols)


def _copies(leaf: Array, beams: int) -> Array:
    return jnp.broadcast_to(leaf[None], (beams, *leaf.shape))


def _begin(plan: _Plan, settings: _Settings, state, token, logits, weights) -> _Beams:
    """Before the first step one beam of each group grows: all have read the same."""
    dtype, groups = logits.dtype, (token.shape[1], plan.groups)
    kept, ended = (*groups, plan.kept), None
    if settings.end is not None:
        ended = _Ended(jnp.full(kept, -jnp.inf, dtype), jnp.zeros(kept, jnp.int32), jnp.zeros(kept, jnp.int32))
    reads = settings.rules is not None and settings.rules.ngram is not None
    return _Beams(
        time=jnp.zeros((), jnp.int32),
        state=state,
        token=token,
        score=jnp.full((*groups, plan.size), -jnp.inf, dtype).at[:, :, 0].set(0),
        trail=jnp.zeros((plan.max_length, *groups, plan.size), jnp.int32),
        coverage=None if weights is None else jnp.zeros(weights.shape, dtype),
        tokens=jnp.zeros((plan.max_length, *token.shape), jnp.int32) if reads else None,
        ended=ended,
    )


def _read(model, settings: _Settings, params, memory, state, token) -> tuple[tuple[State, Array], Array | None]:
    """A step of every beam: ((state, log-probabilities [K, B, V]), attention weights [K, B, S] where coverage counts)."""
    state, logits = jax.vmap(model.step, in_axes=(None, None, 0, 0))(params, memory, state, token)
    log_p = jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))
    return (state, log_p), None if settings.beta is None else jax.vmap(model.weights)(state).astype(log_p.dtype)


def _grow(model, plan: _Plan, params, memory, settings: _Settings, beams: _Beams) -> _Beams:
    (state, log_p), weights = _read(model, settings, params, memory, beams.state, beams.token)
    coverage = None if beams.coverage is None or weights is None else beams.coverage + weights
    allowed = constrain(settings.rules, log_p, beams.tokens, beams.time)
    score, trail, closing = _choose(plan, settings, beams.score, log_p, allowed)

    ended = beams.ended
    if ended is not None and closing is not None:
        final = _penalised(settings, closing, beams.time + 1, coverage)
        ended = _merged(ended, final, beams.time + 1)
        # No penalty is kinder than max_length's to what grows: log-probabilities and coverage's part only fall.
        length = beams.time + 1 if plan.early_stop else plan.max_length
        done = score.max(axis=-1) / _divisor(settings, length, score.dtype) <= ended.score[..., -1]
        score = jnp.where(done[..., None], -jnp.inf, score)

    parent, token = _divided(trail, log_p.shape[-1])
    (state, coverage, tokens) = _of_parents(plan, parent, (state, coverage, beams.tokens))
    token = _side_by_side(token)
    return _Beams(
        time=beams.time + 1,
        state=state,
        token=token,
        score=score,
        trail=beams.trail.at[beams.time].set(trail),
        coverage=coverage,
        tokens=None if tokens is None else tokens.at[beams.time].set(token),
        ended=ended,
    )


def _choose(plan: _Plan, settings: _Settings, live: Array, log_p: Array, allowed: Array) -> tuple[Array, Array, Array | None]:
    """What grows on, and what ends: each group's in turn.

    Args:
        live: [B, G, k], log-probabilities so far.
        log_p: [K, B, V], of every next symbol.
        allowed: the same, -inf where a rule forbids it.

    Returns:
        (score [B, G, k], trail [B, G, k], closing [B, G, k]): of the chosen, and of what ends, -inf where nothing does.
    """
    k, symbols, rows = plan.size, log_p.shape[-1], jnp.arange(log_p.shape[1])[:, None]
    symbol = jax.lax.broadcasted_iota(jnp.int32, (k, *log_p.shape[1:]), 2)
    taken = jnp.zeros(log_p.shape[1:], log_p.dtype)
    scores, trails, closings = [], [], []
    for group in range(plan.groups):
        own = slice(group * k, (group + 1) * k)
        values = allowed[own] + live[:, group].T[..., None]
        if settings.diversity is not None and group:
            values = values - jnp.broadcast_to(settings.diversity.astype(log_p.dtype) * taken, values.shape)
        grows = values if settings.end is None else jnp.where(symbol == settings.end, -jnp.inf, values)
        best, trail = _largest(grows, k)
        parent, token = _divided(trail, symbols)

        closes = None
        if settings.end is not None:
            ends = jnp.take(values, settings.end, axis=2).T
            at = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32) * symbols + settings.end, ends.shape)
            rival, place = jnp.concatenate((best, ends), axis=1), jnp.concatenate((trail, at), axis=1)
            ahead = (rival[:, None] > ends[..., None]) | ((rival[:, None] == ends[..., None]) & (place[:, None] < at[..., None]))
            closes = (ahead.sum(axis=-1) < k) & (ends > -jnp.inf)
            ends = jnp.take(log_p[own], settings.end, axis=2).T + live[:, group]
            closings.append(jnp.where(closes, ends, -jnp.inf))
        if settings.diversity is not None:  # what was chosen by one measure is scored by another
            exact = live[:, group][rows, parent] + log_p[own][parent, rows, token]
            taken = taken.at[rows, token].add((best > -jnp.inf).astype(taken.dtype))
            if closes is not None:
                taken = taken.at[:, settings.end].add(closes.sum(axis=1).astype(taken.dtype))
            best = jnp.where(best > -jnp.inf, exact, best)
        scores.append(best)
        trails.append(trail)
    return jnp.stack(scores, 1), jnp.stack(trails, 1), jnp.stack(closings, 1) if closings else None


def _largest(values: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row, ties to the smaller place: values [n, B, V] to ([B, k], places beam * V + symbol).

    They are in those k blocks whose own largest are the largest: a maximum over every symbol costs a tenth of a top-k.
    """
    beams, rows, symbols = values.shape
    size = 1 << symbols.bit_length() // 2  # about sqrt(V): as many blocks as symbols in one
    blocks = -(-symbols // size)
    padded = jnp.pad(values, ((0, 0), (0, 0), (0, blocks * size - symbols)), constant_values=-jnp.inf)
    tops = padded.reshape(beams, rows, blocks, size).max(axis=-1)
    _, block = jax.lax.top_k(tops.transpose(1, 0, 2).reshape(rows, beams * blocks), k)
    block = jnp.sort(block, axis=1)[..., None]
    within = block % blocks * size + jax.lax.broadcasted_iota(jnp.int32, (rows, k, size), 2)
    beam, symbol = jnp.broadcast_to(block // blocks, within.shape), jnp.minimum(within, symbols - 1)
    row = jax.lax.broadcasted_iota(jnp.int32, within.shape, 0)
    found = jnp.where(within < symbols, values[beam, row, symbol], -jnp.inf).reshape(rows, k * size)
    best, at = jax.lax.top_k(found, k)
    return best, jnp.take_along_axis((beam * symbols + symbol).reshape(rows, k * size), at, axis=1)


def _divided(trail: Array, symbols: int) -> tuple[Array, Array]:
    """(parent, symbol)."""
    return trail // symbols, trail % symbols


def _side_by_side(of_groups: Array) -> Array:
    """[B, G, k] to [K, B]."""
    rows, groups, size = of_groups.shape
    return of_groups.reshape(rows, groups * size).T


def _of_parents(plan: _Plan, parent: Array, tree: Any) -> Any:
    """Every beam's own becomes its parent's: leaves [K, B, ...] and, of symbols, [L, K, B]."""
    first = jnp.arange(plan.groups, dtype=jnp.int32)[None, :, None] * plan.size
    beam = _side_by_side(parent + jnp.broadcast_to(first, parent.shape))
    row = beam * beam.shape[1] + jax.lax.broadcasted_iota(jnp.int32, beam.shape, 1)
    state, coverage, tokens = tree

    def moved(leaf):
        return leaf.reshape(beam.size, *leaf.shape[2:])[row]

    if tokens is not None:
        tokens = tokens.reshape(tokens.shape[0], beam.size)[:, row]
    return *jax.tree.map(moved, (state, coverage)), tokens


def _divisor(settings: _Settings, length, dtype) -> Array:
    return length_penalty(jnp.asarray(length, jnp.int32), settings.alpha).astype(dtype)


def _penalised(settings: _Settings, score: Array, length: Array, coverage: Array | None) -> Array:
    """log p / lp + cp, [B, G, k]."""
    final = score / _divisor(settings, length, score.dtype)
    if coverage is None or settings.beta is None:
        return final
    attended = None if settings.attended is None else jnp.broadcast_to(settings.attended[None], coverage.shape)
    part = coverage_penalty(coverage, settings.beta, attended)
    return final + part.T.reshape(score.shape)


def _merged(ended: _Ended, final: Array, length: Array) -> _Ended:
    """The best of what had ended and of what ends now; of equals, what ended first."""
    scores = jnp.concatenate((ended.score, final), axis=-1)
    lengths = jnp.concatenate((ended.length, jnp.broadcast_to(length, final.shape)), axis=-1)
    beam = jax.lax.broadcasted_iota(jnp.int32, final.shape, 2)
    parents = jnp.concatenate((ended.parent, beam), axis=-1)
    best, at = jax.lax.top_k(scores, ended.score.shape[-1])
    lengths, parents = (jnp.take_along_axis(of, at, axis=-1) for of in (lengths, parents))
    return _Ended(best, jnp.where(best > -jnp.inf, lengths, 0), parents)


def _finish(plan: _Plan, settings: _Settings, beams: _Beams, symbols: int) -> Decoded:
    """The hypotheses of all groups in order, and their symbols, read backwards along the trail."""
    cut = _penalised(settings, beams.score, jnp.asarray(plan.max_length, jnp.int32), beams.coverage)
    parent, symbol = _divided(beams.trail[-1], symbols)
    pool = [jnp.ones_like(symbol), -cut, jnp.full_like(symbol, plan.max_length), symbol, parent]
    if beams.ended is not None and settings.end is not None:
        score, length, parent = beams.ended
        first = [jnp.zeros_like(length), -score, length, jnp.broadcast_to(settings.end, length.shape), parent]
        pool = [jnp.concatenate(pair, axis=-1) for pair in zip(first, pool, strict=True)]
    pool[0] = jnp.where(pool[1] < jnp.inf, pool[0], 2)  # 0: ended, 1: cut off, 2: there is none
    group = jnp.broadcast_to(jnp.arange(plan.groups, dtype=jnp.int32)[None, :, None], pool[0].shape)
    pool = [of[..., : plan.kept] for of in jax.lax.sort((*pool, group), num_keys=2)]
    pool = [of.reshape(of.shape[0], plan.groups * plan.kept) for of in pool]
    if plan.groups > 1:
        pool = jax.lax.sort(pool, num_keys=2)
    _, cost, length, last, parent, group = pool
    length = jnp.where(cost < jnp.inf, length, 0)

    def back(step, carry):
        beam, tokens = carry
        time = beams.time - 1 - step
        trail = beams.trail[time].reshape(length.shape[0], plan.groups * plan.size)
        before, symbol = _divided(jnp.take_along_axis(trail, group * plan.size + beam, axis=1), symbols)
        within = time < length - 1
        emitted = jnp.where(within, symbol, jnp.where(time == length - 1, last, 0))
        return jnp.where(within, before, beam), tokens.at[time].set(emitted)

    tokens = jnp.zeros((plan.max_length, *length.shape), jnp.int32)
    _, tokens = jax.lax.fori_loop(0, beams.time, back, (parent, tokens))
    found = Decoded(tokens.transpose(1, 2, 0), length, -cost)
    return found if plan.groups == 1 else _different(found, plan.n_best)


def _different(found: Decoded, n_best: int) -> Decoded:
    """The n_best of all groups' hypotheses, best first; what a better one equals is none, and comes last."""
    tokens, length, score = found
    alike = (tokens[:, :, None] == tokens[:, None]).all(axis=-1) & (length[:, :, None] == length[:, None])
    again = (alike & jnp.tri(alike.shape[1], k=-1, dtype=bool)[None]).any(axis=-1)
    first = jnp.argsort(again, axis=1)[:, :n_best]
    kept = Decoded(jnp.where(again[..., None], 0, tokens), jnp.where(again, 0, length), jnp.where(again, -jnp.inf, score))
    return Decoded(*(jnp.take_along_axis(of, first.reshape(*first.shape, *[1] * (of.ndim - 2)), axis=1) for of in kept))
