"""Beam search: the best hypotheses, found by keeping many at a time.

The beams of a row stand side by side: the state has leaves [K, B, ...], `step` is mapped over K, and the memory, which all
beams of a row read, is neither copied nor moved. Beams are in G groups of k beams, G k = K; plain beam search is one group.

Shapes: B rows, K beams of a row, G groups, k beams of a group, F hypotheses of a group, L steps, V symbols, S source
positions.
"""

import functools
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import check_end, check_positive, check_weights
from seqjax.contracts import Decoder
from seqjax.decode.beam_ranking import Beams, Ended, Plan, Settings, divisor, finish, merged, penalised
from seqjax.decode.candidates import largest
from seqjax.decode.constraints import Constraints, check_vocabulary, constrain, make_rules
from seqjax.decode.decoder import Decoded, attending, host_array, size_marker
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.types import Array, Params, State, at_least_float32


class _Chosen(NamedTuple):
    """The choice of one step: the beams that go on, and those that end, all [B, k] of a group, [B, G, k] of all groups."""

    score: Array  # log-probability with the symbol; -inf where there is no such beam
    parent: Array  # the beam of the group that goes on
    symbol: Array
    ending: Array | None  # log-probability with `end` of each beam that takes it, -inf of the others; None without `end`


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
    """Beam search: the best hypotheses found by keeping the `width` best at every step.

        score = log p(y) / ((5 + |y|) / 6) ** length_penalty + coverage_penalty * sum_s log(min(coverage_s, 1))

    At every step, each symbol after each beam is a candidate. Candidates with `end` that are among the width best by
    log-probability become hypotheses; the width best of the others are the next beams. Beams that are left after max_length
    become hypotheses too, ranked after those that ended. Ties go to the earlier beam and the smaller symbol.

    The search of a row stops when no beam beats the worst of the n_best hypotheses that ended: with the beam's score as it is
    (early_stop), or with the best score it could still reach at max_length (otherwise). Without early_stop, and with a width
    that holds all prefixes of a length, ended or not, the result is that of enumeration, under all penalties. Width 1 with
    early_stop is `greedy` (a coverage penalty may let it go on).

    Diverse beam search: each group is a search of its own, with width / groups beams and as many hypotheses; the best distinct
    ones of all groups are returned. At each step the groups choose in turn, by log-probability minus `diversity` times the
    number of beams of earlier groups that took the same symbol at this step. Scores do not include that term.

    Compiled once for each model and shape: other penalties, diversity, early_stop or values of constraints compile nothing
    (only width, groups, n_best, no_repeat_ngram, coverage on or off, or which constraints are given, do).

    Args:
        model: a decoder (`seqjax.contracts.Decoder`); where coverage_penalty is above 0, one that attends.
        params: the model's parameters.
        batch: read by the model's `start`.
        width: K, beams of a row; it may be above the vocabulary's size.
        max_length: L, symbols of a hypothesis at most, `end` included.
        end: the symbol that ends a hypothesis; None: all have L symbols.
        n_best: N, hypotheses returned of each row, at most width.
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
    check_positive(max_length=max_length)
    check_width(groups, n_best, width=width)
    check_weights(length_penalty=length_penalty, coverage_penalty=coverage_penalty, diversity=diversity)
    check_end(end)
    covers = coverage_penalty > 0
    if covers:
        attending(model, f"coverage_penalty {coverage_penalty}")
    size = width // groups
    plan = Plan(groups, size, n_best if groups == 1 else size, n_best, max_length)
    memory, state, token = model.start(params, batch)
    settings = Settings(
        end=None if end is None else host_array(end, np.int32),
        alpha=host_array(length_penalty, np.float32),
        beta=host_array(coverage_penalty, np.float32) if covers else None,
        diversity=host_array(diversity, np.float32) if groups > 1 else None,
        early_stop=host_array(early_stop, bool),
        rules=make_rules(max_length, end, **constraints),
        attended=attending(model, "coverage_penalty").attended(memory) if covers else None,
    )
    decoded, marker = _search(model, plan, params, memory, state, token, settings)
    check_vocabulary(marker.shape[0], end, settings.rules)
    return decoded


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
    beams = plan.groups * plan.size

    def copied(leaf):
        return jnp.broadcast_to(leaf[None], (beams, *leaf.shape))

    state, token = jax.tree.map(copied, (state, token.astype(jnp.int32)))
    (_, log_p), weights = jax.eval_shape(functools.partial(_read, model, settings), params, memory, state, token)

    def step(fixed, beams):
        params, memory, settings = fixed
        return _step(model, plan, params, memory, settings, beams)

    def any_is_live(beams):
        return (beams.time < plan.max_length) & (beams.score > -jnp.inf).any()

    first = _begin(plan, settings, state, token, log_p, weights)
    last = jax.lax.while_loop(any_is_live, hoist(step, (params, memory, settings), first), first)
    return finish(plan, settings, last), size_marker(log_p.shape[-1])


def _begin(plan: Plan, settings: Settings, state, token, log_p, weights) -> Beams:
    """The beams before the first step: one live beam in each group, since all beams have read the same."""
    dtype, groups = log_p.dtype, (token.shape[1], plan.groups)
    hypotheses, history = (*groups, plan.hypotheses), (plan.max_length, *groups, plan.size)  # shapes
    ended = None
    if settings.end is not None:
        no_score = jnp.full(hypotheses, -jnp.inf, dtype)
        ended = Ended(no_score, jnp.zeros(hypotheses, jnp.int32), jnp.zeros(hypotheses, jnp.int32))
    reads_tokens = settings.rules is not None and settings.rules.ngram is not None
    return Beams(
        time=jnp.zeros((), jnp.int32),
        state=state,
        token=token,
        score=jnp.full((*groups, plan.size), -jnp.inf, dtype).at[:, :, 0].set(0),
        parents=jnp.zeros(history, jnp.int32),
        symbols=jnp.zeros(history, jnp.int32),
        coverage=None if weights is None else jnp.zeros(weights.shape, dtype),
        tokens=jnp.zeros((plan.max_length, *token.shape), jnp.int32) if reads_tokens else None,
        ended=ended,
    )


def _read(model, settings: Settings, params, memory, state, token) -> tuple[tuple[State, Array], Array | None]:
    """One step of every beam: ((state, log-probabilities [K, B, V]), attention weights [K, B, S] where coverage counts)."""
    state, logits = jax.vmap(model.step, in_axes=(None, None, 0, 0))(params, memory, state, token)
    log_p = jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))
    return (state, log_p), None if settings.beta is None else jax.vmap(model.weights)(state).astype(log_p.dtype)


def _step(model, plan: Plan, params, memory, settings: Settings, beams: Beams) -> Beams:
    """Read a symbol into every beam, and choose the beams of the next step."""
    (state, log_p), weights = _read(model, settings, params, memory, beams.state, beams.token)
    coverage = None if beams.coverage is None or weights is None else beams.coverage + weights
    allowed = constrain(settings.rules, log_p, beams.tokens, beams.time)
    chosen = _choose(plan, settings, beams.score, log_p, allowed)

    length, score, ended = beams.time + 1, chosen.score, beams.ended
    if ended is not None and chosen.ending is not None:
        ended = merged(ended, penalised(settings, chosen.ending, length, coverage), length)
        # Bound: log-probabilities and the coverage penalty only fall, and the length penalty favours max_length most, so this
        # is the best score that a live beam can still reach (with early_stop: the score that it has now).
        final_length = jnp.where(settings.early_stop, length, plan.max_length)
        attainable = score.max(axis=-1) / divisor(settings, final_length, score.dtype)  # [B, G]
        is_settled = attainable <= ended.score[..., -1]  # [B, G]
        score = jnp.where(is_settled[..., None], -jnp.inf, score)

    (state, coverage, tokens) = _of_parents(plan, chosen.parent, (state, coverage, beams.tokens))
    token = _side_by_side(chosen.symbol)
    return Beams(
        time=length,
        state=state,
        token=token,
        score=score,
        parents=beams.parents.at[beams.time].set(chosen.parent),
        symbols=beams.symbols.at[beams.time].set(chosen.symbol),
        coverage=coverage,
        tokens=None if tokens is None else tokens.at[beams.time].set(token),
        ended=ended,
    )


def _choose(plan: Plan, settings: Settings, score: Array, log_p: Array, allowed: Array) -> _Chosen:
    """The choice of every group, one group after another.

    Args:
        score: [B, G, k], log-probabilities of the beams.
        log_p: [K, B, V], log-probabilities of every next symbol.
        allowed: [K, B, V], the same, -inf where a rule forbids the symbol.

    Returns:
        _Chosen, [B, G, k].
    """
    taken = jnp.zeros(log_p.shape[1:], log_p.dtype)  # [B, V]: beams of the groups so far that took the symbol
    rows = jnp.arange(log_p.shape[1])[:, None]  # [B, 1]
    choices = []
    for group in range(plan.groups):
        in_group, score_of_group = slice(group * plan.size, (group + 1) * plan.size), score[:, group]  # [B, k]
        values = allowed[in_group] + score_of_group.T[..., None]  # [k, B, V]
        if settings.diversity is not None and group:
            values = values - jnp.broadcast_to(settings.diversity.astype(log_p.dtype) * taken, values.shape)
        best, parent, symbol, takes_end = _choose_in_group(plan.size, settings.end, values)
        ending = None
        if settings.end is not None:
            with_end = jnp.take(log_p[in_group], settings.end, axis=2).T + score_of_group  # [B, k]
            ending = jnp.where(takes_end, with_end, -jnp.inf)
        if settings.diversity is not None:  # chosen with the diversity term, scored without it
            exact = score_of_group[rows, parent] + log_p[in_group][parent, rows, symbol]
            taken = taken.at[rows, symbol].add((best > -jnp.inf).astype(taken.dtype))
            if settings.end is not None:
                taken = taken.at[:, settings.end].add(takes_end.sum(axis=1).astype(taken.dtype))
            best = jnp.where(best > -jnp.inf, exact, best)
        choices.append(_Chosen(best, parent, symbol, ending))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *choices)


def _choose_in_group(k: int, end: Array | None, values: Array) -> tuple[Array, Array, Array, Array]:
    """The k best candidates that do not end, and the beams whose candidate with `end` is among the k best of all.

    A candidate has the index parent * V + symbol; of two equal candidates, the one with the smaller index is better.

    Args:
        k: beams of the group.
        end: the symbol that ends, or None.
        values: [k, B, V], the candidates.

    Returns:
        (value, parent, symbol, takes_end), all [B, k].
    """
    symbols = values.shape[2]
    if end is None:
        best, index = largest(values, k)
        return best, index // symbols, index % symbols, jnp.zeros(best.shape, bool)
    symbol = jax.lax.broadcasted_iota(jnp.int32, values.shape, 2)
    best, index = largest(jnp.where(symbol == end, -jnp.inf, values), k)  # [B, k]
    with_end = jnp.take(values, end, axis=2).T  # [B, k]: a candidate of each beam
    end_index = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32) * symbols + end, with_end.shape)
    # [B, 2k]: the candidates that may be better than one with `end`
    rival, rival_index = jnp.concatenate((best, with_end), axis=1), jnp.concatenate((index, end_index), axis=1)
    # [B, k, 2k]: whether the rival is better
    is_larger = rival[:, None] > with_end[..., None]
    is_equal_and_earlier = (rival[:, None] == with_end[..., None]) & (rival_index[:, None] < end_index[..., None])
    better = (is_larger | is_equal_and_earlier).sum(axis=-1)  # [B, k]
    return best, index // symbols, index % symbols, (better < k) & (with_end > -jnp.inf)


def _side_by_side(leaf: Array) -> Array:
    """[B, G, k] to [K, B]."""
    rows, groups, size = leaf.shape
    return leaf.reshape(rows, groups * size).T


def _of_parents(plan: Plan, parent: Array, tree: tuple[State, Array | None, Array | None]) -> Any:
    """(state, coverage, tokens) of every beam replaced by those of its parent.

    Args:
        parent: [B, G, k].
        tree: leaves [K, B, ...]; tokens [L, K, B].
    """
    first = jnp.arange(plan.groups, dtype=jnp.int32)[None, :, None] * plan.size
    beam = _side_by_side(parent + jnp.broadcast_to(first, parent.shape))  # [K, B]
    row = beam * beam.shape[1] + jax.lax.broadcasted_iota(jnp.int32, beam.shape, 1)  # [K, B], indices of [K * B]
    state, coverage, tokens = tree

    def gathered(leaf):
        return leaf.reshape(beam.size, *leaf.shape[2:])[row]

    if tokens is not None:
        tokens = tokens.reshape(tokens.shape[0], beam.size)[:, row]
    return *jax.tree.map(gathered, (state, coverage)), tokens
