"""Beam search: the best hypotheses, found by keeping many at a time.

The beams of a row stand side by side: the state has leaves [K, B, ...], `step` is mapped over K, and the memory, which all
beams of a row read, is neither copied nor moved. Beams are in G groups of k beams, G k = K; plain beam search is one group.

Shapes: B rows, K beams of a row, G groups, k beams of a group, T steps of the buffer, E end symbols, V symbols, S source
positions.
"""

import functools
from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import tree
from seqjax.annotations import public
from seqjax.checks import check_length, check_positive, check_weights, is_traced
from seqjax.contracts import Decoder
from seqjax.decode.beam_choice import choose
from seqjax.decode.beam_ranking import Beams, Ended, Plan, Settings, divisor, finish, merged, penalised
from seqjax.decode.constraints import Constraints, check_vocabulary, make_rules, read_ends, read_limit, rows_of_limit
from seqjax.decode.decoder import (
    Decoded,
    attending,
    buffered,
    host_array,
    known,
    scalar,
    size_marker,
    started,
    step_form,
)
from seqjax.decode.probabilities import Total, log_probabilities, score_dtype
from seqjax.decode.rules import Written, constrain
from seqjax.decode.sampling import shortened
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.placement import automatic, varying_as
from seqjax.types import Array, Params, State


@public
def beam(
    model: Decoder,
    params: Params,
    batch: dict,
    *,
    width: int,
    max_length: int,
    end: int | Sequence[int] | None = None,
    n_best: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    early_stop: bool = True,
    groups: int = 1,
    diversity: float = 0.0,
    **constraints: Unpack[Constraints],
) -> Decoded:
    """Beam search: the best hypotheses found by keeping the `width` best at every step.

        score = log p(y) / ((5 + |y|) / 6) ** length_penalty + coverage_penalty * sum_s log(min(coverage_s, 1))

    At every step, each symbol after each beam is a candidate. Candidates with an end symbol that are among the width best by
    log-probability become hypotheses, of which the width best are kept; the width best of the others are the next beams.
    Beams that are left after max_length become hypotheses too, ranked after those that ended. Ties go to the earlier beam and
    the smaller symbol.

    The search of a row stops when `width` hypotheses have ended and no beam beats the worst of them: with the beam's score as
    it is (early_stop), or with the best score it could still reach at max_length (otherwise). n_best only cuts the list: the
    first of n_best=4 is the output of n_best=1. Without early_stop, and with a width that holds all prefixes of a length,
    ended or not, the result is that of enumeration, under all penalties and constraints that raise no log-probability. Width
    1 with early_stop is `greedy` (a coverage penalty may let it go on).

    A constraint that changes log-probabilities other than to -inf (bias, repetition_penalty, a function of your own) affects
    which hypotheses are kept and their order, but not their scores.

    Diverse beam search: each group is a search of its own, with width / groups beams and as many hypotheses; the best distinct
    ones of all groups are returned. At each step the groups choose in turn, by log-probability minus `diversity` times the
    number of beams of earlier groups that took the same symbol at this step. Scores do not include that term.

    It is compiled once for each model and shape: another n_best, other penalties, diversity, early_stop or values of
    constraints compile nothing. Another width, groups, no_repeat_ngram, coverage on or off, another set of constraints, or a
    max_length above the next power of two does. Penalties and diversity may be traced.

    Args:
        model: a decoder (`seqjax.contracts.Decoder`); where coverage_penalty is above 0, one that attends.
        params: the model's parameters.
        batch: read by the model's `start`.
        width: K, beams of a row; it may be above the vocabulary's size.
        max_length: L, symbols of a hypothesis at most, the end symbol included.
        end: the symbol that ends a hypothesis, or several such symbols; None: all have L symbols.
        n_best: N, hypotheses returned for each row, at most width.
        length_penalty: alpha, at least 0.
        coverage_penalty: beta, at least 0.
        early_stop: stop the search of a row when no beam is better now, though the length penalty could favour one later.
        groups: G; it divides width.
        diversity: at least 0.
        **constraints: see `Constraints`.

    Returns:
        Decoded: tokens [B, N, L], lengths [B, N], scores [B, N], best first: those that ended by score, then those cut off.
        A missing hypothesis (groups may find the same ones) has score -inf and length 0.

    Raises:
        InputError: a value out of its range, n_best above width, groups that do not divide width, a symbol outside the
            vocabulary, no attention weights where coverage_penalty needs them, or the model's own errors.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "tokens_lengths": jnp.array([2, 1])}
        >>> decoded = beam(model, model.init(jax.random.key(0)), prompts, width=4, max_length=7, end=0, n_best=2)
        >>> decoded.tokens.shape, bool((decoded.scores[:, 0] >= decoded.scores[:, 1]).all())
        ((2, 2, 7), True)

    Wu et al. 2016 (penalties); Vijayakumar et al. 2016 (groups).
    """
    check_length(max_length)
    check_width(groups, n_best, width=width)
    check_weights(**known(length_penalty=length_penalty, coverage_penalty=coverage_penalty, diversity=diversity))
    known(early_stop=early_stop)
    covers = is_traced(coverage_penalty) or coverage_penalty > 0
    if covers:
        attending(model, f"coverage_penalty {coverage_penalty}")
    ends = read_ends(end)
    plan = Plan(groups, width // groups, buffered(max_length))
    memory, state, token = started(model, params, batch)
    settings = Settings(
        ends=host_array(ends, np.int32),
        limit=read_limit(max_length, constraints.get("max_lengths")),
        alpha=scalar(length_penalty, np.float32),
        beta=scalar(coverage_penalty, np.float32) if covers else None,
        diversity=scalar(diversity, np.float32) if groups > 1 else None,
        early_stop=scalar(early_stop, bool),
        rules=make_rules(max_length, ends, constraints),
        attended=attending(model, "coverage_penalty").attended(memory) if covers else None,
    )
    search = functools.partial(_search, model, plan)
    decoded, marker = automatic(search, params, memory, state, token, settings, rows=(state, token))
    check_vocabulary(marker.shape[0], ends, settings.rules)
    return decoded if (plan.buffer, n_best) == (max_length, width) else shortened(decoded, max_length, n_best)


def check_width(groups: int, n_best: int = 1, **named: int) -> None:
    """Raise InputError unless a width, given by its name, is a multiple of `groups` and at least `n_best`."""
    [(name, width)] = named.items()
    check_positive(**named, n_best=n_best, groups=groups)
    if n_best > width:
        raise InputError(f"n_best is {n_best} and {name} {width}: a search of {width} beams gives at most {width} hypotheses")
    if width % groups:
        raise InputError(f"{name} is {width}, it must be a multiple of groups, {groups}")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(model, plan: Plan, params, memory, state, token, settings: Settings) -> tuple[Decoded, Array]:
    logits, weights = step_form(model, params, memory, state, token, attends=settings.beta is not None)
    limit = rows_of_limit(settings.limit, token.shape[0])

    def step(fixed, beams):
        params, memory, settings = fixed
        return _step(model, plan, params, memory, settings, beams)

    def any_is_live(beams):
        return _is_live(settings, beams).any()

    first = varying_as(_begin(plan, settings, state, token, score_dtype(logits), weights), token)
    last = jax.lax.while_loop(any_is_live, hoist(step, (params, memory, settings), first), first)
    return finish(plan, settings, last, limit), size_marker(logits.shape[-1])


def _is_live(settings: Settings, beams: Beams) -> Array:
    """True for the beams that a step continues, bool [B, G, k]."""
    below = beams.time < jnp.asarray(settings.limit)  # [] or [B]
    return (beams.score.value > -jnp.inf) & (below[:, None, None] if below.ndim else below)


def _begin(plan: Plan, settings: Settings, state, token, dtype, weights) -> Beams:
    """The beams before the first step: one live beam in each group, since all beams have read the same."""
    beams, rows = plan.groups * plan.size, token.shape[0]
    shape = (rows, plan.groups, plan.size)
    history, rules = (plan.buffer, *shape), settings.rules
    changes = rules is not None and not rules.forbids_alone
    state, token = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (beams, *leaf.shape)), (state, token.astype(jnp.int32)))
    number, zero = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, dtype)
    return Beams(
        time=jnp.zeros((), jnp.int32),
        state=state,
        at=None if rules is None or rules.automaton is None else jnp.zeros(token.shape, jnp.int32),
        token=token,
        score=Total(jnp.full(shape, -jnp.inf, dtype).at[:, :, 0].set(0), zero),
        change=zero,
        parents=jnp.zeros(history, jnp.int32),
        symbols=jnp.zeros(history, jnp.int32),
        coverage=None if weights is None else jnp.zeros((beams, *weights.shape), dtype),
        tokens=jnp.zeros((plan.buffer, *token.shape), jnp.int32) if rules is not None and rules.reads_tokens else None,
        ended=Ended(zero - jnp.inf, zero if changes else None, number, number) if settings.ends.shape[0] else None,
        reached=jnp.zeros(rows, jnp.int32),
        failed=jnp.zeros(rows, bool),
    )


def _read(model, settings: Settings, params, memory, state, token) -> tuple[State, Array, Array | None]:
    """One step of every beam: (state, log-probabilities [K, B, V], attention weights [K, B, S] where coverage counts)."""
    step = model.step if settings.beta is None else model.attend
    state, logits, *weights = jax.vmap(step, in_axes=(None, None, 0, 0))(params, memory, state, token)
    log_p = log_probabilities(model, logits)
    return state, log_p, weights[0].astype(log_p.dtype) if weights else None


def _step(model, plan: Plan, params, memory, settings: Settings, beams: Beams) -> Beams:
    """Read a symbol into every beam, and choose the beams of the next step."""
    state, log_p, weights = _read(model, settings, params, memory, beams.state, beams.token)
    limit = rows_of_limit(settings.limit, beams.token.shape[1])
    coverage = None if beams.coverage is None or weights is None else beams.coverage + weights
    allowed = constrain(settings.rules, log_p, Written(beams.tokens, beams.token, beams.time, limit, beams.at))
    chosen = choose(plan, settings, beams, log_p, allowed)

    is_nan = jnp.isnan(log_p[..., 0])  # [K, B]; a row of log-probabilities is NaN as a whole
    if settings.rules is not None and settings.rules.constraint is not None:
        is_nan |= jnp.isnan(allowed.values).any(axis=-1)
    failed = beams.failed | (is_nan & _side_by_side(_is_live(settings, beams))).any(axis=0)
    length, score, change, ended = beams.time + 1, chosen.score, chosen.change, beams.ended
    score = score._replace(value=jnp.where(failed[:, None, None], -jnp.inf, score.value))
    parent, reached = chosen.parent, jnp.where(score.value[:, 0].max(axis=-1) > -jnp.inf, length, beams.reached)
    if ended is not None:
        value = chosen.ending if chosen.ending_change is None else chosen.ending + chosen.ending_change
        value = penalised(settings, value, length, coverage)  # [B, G, k * E]
        number = jax.lax.broadcasted_iota(jnp.int32, value.shape, 2)
        ended = merged(ended, Ended(value, chosen.ending_change, jnp.full_like(number, length), number))
        # Bound: log-probabilities and the coverage penalty only fall, and the length penalty favours the limit most, so this
        # is the best score that a live beam can still reach (with early_stop: the score that it has now).
        final_length = jnp.where(settings.early_stop, length, limit)[:, None]  # [B, 1]
        best = (score.value + change).max(axis=-1)  # [B, G]
        is_settled = best / jnp.broadcast_to(divisor(settings, final_length, best.dtype), best.shape) <= ended.score[..., -1]
        score = score._replace(value=jnp.where(is_settled[..., None], -jnp.inf, score.value))
    if settings.limit.ndim:  # a row at its limit stays as it is
        is_over = beams.time >= limit  # [B]
        old = (beams.score, beams.change, jax.lax.broadcasted_iota(jnp.int32, parent.shape, 2), beams.reached, beams.ended)
        score, change, parent, reached, ended = tree.where(is_over, old, (score, change, parent, reached, ended))
        if coverage is not None and beams.coverage is not None:
            coverage = jnp.where(jnp.broadcast_to(is_over[None, :, None], coverage.shape), beams.coverage, coverage)

    (state, coverage, at, tokens) = _of_parents(plan, parent, (state, coverage, allowed.at, beams.tokens))
    token = _side_by_side(chosen.symbol)
    return Beams(
        time=length,
        state=state,
        at=at,
        token=token,
        score=score,
        change=change,
        parents=beams.parents.at[beams.time].set(parent),
        symbols=beams.symbols.at[beams.time].set(chosen.symbol),
        coverage=coverage,
        tokens=None if tokens is None else tokens.at[beams.time].set(token),
        ended=ended,
        reached=reached,
        failed=failed,
    )


def _side_by_side(leaf: Array) -> Array:
    """[B, G, k] to [K, B]."""
    rows, groups, size = leaf.shape
    return leaf.reshape(rows, groups * size).T


def _of_parents(plan: Plan, parent: Array, parts: tuple[State, Array | None, Array | None, Array | None]) -> Any:
    """(state, coverage, at, tokens) of every beam replaced by those of its parent.

    Args:
        parent: [B, G, k].
        parts: leaves [K, B, ...]; tokens [T, K, B].
    """
    first = jnp.arange(plan.groups, dtype=jnp.int32)[None, :, None] * plan.size
    beam = _side_by_side(parent + jnp.broadcast_to(first, parent.shape))  # [K, B]
    row = beam * beam.shape[1] + jax.lax.broadcasted_iota(jnp.int32, beam.shape, 1)  # [K, B], indices of [K * B]
    state, coverage, at, tokens = parts

    def gathered(leaf):
        return leaf.reshape(beam.size, *leaf.shape[2:])[row]

    if tokens is not None:
        tokens = tokens.reshape(tokens.shape[0], beam.size)[:, row]
    return *jax.tree.map(gathered, (state, coverage, at)), tokens
