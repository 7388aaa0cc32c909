"""Hidden Markov models: filter, smoother, Viterbi path and Baum-Welch, step by step or in parallel over time."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import logsumexp

from seqjax.checks import check_key, check_positive
from seqjax.errors import InputError
from seqjax.probabilistic.emissions import Emission, log_shares
from seqjax.probabilistic.rows import check_method, check_shapes, over_rows, sequences
from seqjax.types import Array, Key

IMPOSSIBLE = -1e30  # stands for log 0 inside, so that sums and gradients stay finite


class HMM(NamedTuple):
    """A Markov chain over K hidden states.

        p(s_0 = i) = exp(log_initial[i]),   p(s_t = j | s_{t-1} = i) = exp(log_transition[i, j])

    Args:
        log_initial: [K].
        log_transition: [K, K], a row for each state i before the transition.

    Example:
        >>> HMM.random(jax.random.key(0), 3).log_transition.shape
        (3, 3)

    Rabiner 1989, "A tutorial on hidden Markov models".
    """

    log_initial: Array
    log_transition: Array

    @classmethod
    def random(cls, key: Key, states: int) -> "HMM":
        """A chain of `states` states whose probabilities are drawn uniformly from those that sum to 1."""
        check_positive(states=states)
        check_key("key", key)
        first, rows = jax.random.split(key)
        alpha = jnp.ones(states)
        return cls(jnp.log(jax.random.dirichlet(first, alpha)), jnp.log(jax.random.dirichlet(rows, alpha, (states,))))

    @property
    def size(self) -> int:
        """K."""
        return self.log_initial.shape[-1]


class FilteredStates(NamedTuple):
    """The state at each step given the observations so far: log_probs [..., T, K], and log p(x) [...]."""

    log_probs: Array
    log_likelihood: Array


class SmoothedStates(NamedTuple):
    """The state at each step given all observations.

    Args:
        probs: [..., T, K], 0 at padding.
        starts: the expected number of sequences that begin in each state, over all rows, [K].
        transitions: the expected number of steps from each state to each, over all rows, [K, K].
        log_likelihood: log p(x), [...].
    """

    probs: Array
    starts: Array
    transitions: Array
    log_likelihood: Array


class StatePath(NamedTuple):
    """The likeliest states, int32 [..., T], 0 at padding, and their joint log-probability with the observations, [...]."""

    states: Array
    log_prob: Array


def hmm_filter(hmm: HMM, log_likelihoods: Array, lengths=None, *, method: str = "sequential") -> FilteredStates:
    """The distribution over hidden states at each step, given the observations up to that step.

        p(s_t | x_0 .. x_t)  ~  p(x_t | s_t) sum over i of  p(s_t | s_{t-1} = i) p(s_{t-1} = i | x_0 .. x_{t-1})

    Args:
        hmm: the chain.
        log_likelihoods: log p(x_t | s_t = k), [..., T, K]; an emission's `log_likelihoods(xs)` gives them.
        lengths: integer, [...]; None: T. After a row's end its last distribution is repeated.
        method: "sequential", one step after another, K^2 operations each; or "associative", log T rounds over all steps, K^3
            operations for each step.

    Returns:
        FilteredStates; -inf for states and sequences that are impossible.

    Raises:
        InputError: shapes that do not fit, a wrong length, or another method.

    Example:
        >>> chain = HMM(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]])))
        >>> seen = hmm_filter(chain, jnp.log(jnp.array([[0.8, 0.2], [0.8, 0.2]])))
        >>> [f"{p:.3f}" for p in jnp.exp(seen.log_probs[:, 0])]
        ['0.800', '0.919']

    Rabiner 1989; Särkkä and García-Fernández 2021, arXiv:2102.05743 (in parallel).
    """
    scores = _checked(hmm, log_likelihoods, method)
    probs, total = over_rows(_passes(method, "sum"), scores, lengths, hmm)
    return FilteredStates(jnp.where(probs < IMPOSSIBLE / 2, -jnp.inf, probs), _whole(total))


def hmm_smoother(hmm: HMM, log_likelihoods: Array, lengths=None, *, method: str = "sequential") -> SmoothedStates:
    """The distribution over hidden states at each step, given all observations, and the expected transitions.

        p(s_t = k | x) = d log p(x) / d log p(x_t | s_t = k)
        E[number of steps i -> j | x] = d log p(x) / d log_transition[i, j]

    The backward pass of the forward-backward algorithm is the gradient of its forward pass.

    Args:
        hmm: the chain.
        log_likelihoods: log p(x_t | s_t = k), [..., T, K].
        lengths: integer, [...]; None: T.
        method: "sequential" or "associative", as in `hmm_filter`.

    Returns:
        SmoothedStates. An impossible sequence has log-likelihood -inf, and meaningless probabilities.

    Raises:
        InputError: as `hmm_filter`.

    Example:
        >>> chain = HMM(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]])))
        >>> seen = hmm_smoother(chain, jnp.log(jnp.array([[0.5, 0.5], [0.8, 0.2]])))
        >>> [f"{p:.2f}" for p in seen.probs[:, 0]], f"{seen.transitions.sum():.2f}"
        (['0.74', '0.80'], '1.00')

    Eisner 2016, "Inside-outside and forward-backward algorithms are just backprop".
    """
    scores = _checked(hmm, log_likelihoods, method)

    def totals(hmm, scores):
        return over_rows(_passes(method, "sum"), scores, lengths, hmm)[1]

    total, pull = jax.vjp(totals, hmm, scores)
    # expected counts are sums of differences: rounding may leave one slightly below 0, and its logarithm would be NaN
    counts, probs = jax.tree.map(lambda a: jnp.maximum(a, 0), pull(jnp.ones_like(total)))
    return SmoothedStates(probs, counts.log_initial, counts.log_transition, _whole(total))


def viterbi(hmm: HMM, log_likelihoods: Array, lengths=None, *, method: str = "sequential") -> StatePath:
    """The likeliest sequence of hidden states.

        argmax over s of  log p(s_0) + sum over t of  log p(s_t | s_{t-1}) + log p(x_t | s_t)

    Args:
        hmm: the chain.
        log_likelihoods: log p(x_t | s_t = k), [..., T, K].
        lengths: integer, [...]; None: T.
        method: "sequential" or "associative", as in `hmm_filter`.

    Returns:
        StatePath; ties go to the first state. A log_prob of -inf means that no path is possible.

    Raises:
        InputError: as `hmm_filter`.

    Example:
        >>> chain = HMM(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]])))
        >>> viterbi(chain, jnp.log(jnp.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]]))).states.tolist()
        [0, 0, 0]

    Viterbi 1967.
    """
    scores = _checked(hmm, log_likelihoods, method)
    states, best = over_rows(_passes(method, "best"), scores, lengths, hmm)
    return StatePath(states, _whole(best))


def baum_welch(hmm: HMM, emission: Emission, xs: Array, lengths=None, *, steps: int, method: str = "sequential"):
    """Maximum-likelihood parameters by expectation maximization; no step lowers the likelihood.

    Args:
        hmm: the initial chain, for example `HMM.random`.
        emission: the initial emissions: `Categorical`, `Gaussian`, or another class with the methods of `Emission`.
        xs: observations, as the emission reads them, [..., T] or [..., T, D].
        lengths: integer, [...]; None: T.
        steps: the number of EM steps.
        method: "sequential" or "associative", as in `hmm_filter`.

    Returns:
        (hmm, emission, log_likelihoods): the parameters after `steps` steps, and the log-likelihood of all sequences before
        each step, [steps]. A state that is never visited keeps its parameters.

    Raises:
        InputError: as `hmm_filter`; steps that are not a positive integer.

    Example:
        >>> from seqjax.probabilistic import Categorical
        >>> key = jax.random.key(0)
        >>> xs = jnp.array([[0, 1, 0, 1, 0, 1, 0, 1]])
        >>> _, _, curve = baum_welch(HMM.random(key, 2), Categorical.random(key, 2, 2), xs, steps=30)
        >>> bool(curve[-1] > curve[0])
        True

    Baum, Petrie, Soules, Weiss 1970.
    """
    check_positive(steps=steps)

    def step(model, _):
        hmm, emission = model
        seen = hmm_smoother(hmm, emission.log_likelihoods(xs), lengths, method=method)
        chain = HMM(log_shares(seen.starts, hmm.log_initial), log_shares(seen.transitions, hmm.log_transition))
        return (chain, emission.fitted(xs, seen.probs)), seen.log_likelihood.sum()

    (hmm, emission), curve = jax.lax.scan(step, (hmm, emission), None, length=steps)
    return hmm, emission, curve


def hmm_sample(hmm: HMM, key: Key, steps: int) -> Array:
    """Hidden states drawn from the chain.

    Args:
        hmm: the chain.
        key: a typed key; `jax.vmap` over keys gives several sequences.
        steps: T.

    Returns:
        int32, [T].

    Raises:
        InputError: steps that are not a positive integer, or no key.

    Example:
        >>> hmm_sample(HMM.random(jax.random.key(0), 3), jax.random.key(1), 5).shape
        (5,)
    """
    check_positive(steps=steps)
    check_key("key", key)
    keys = jax.random.split(key, steps)

    def step(state, key):
        state = jax.random.categorical(key, hmm.log_transition[state]).astype(jnp.int32)
        return state, state

    start = jax.random.categorical(keys[0], hmm.log_initial).astype(jnp.int32)
    return jnp.concatenate([start[None], jax.lax.scan(step, start, keys[1:])[1]])


def _checked(hmm: HMM, log_likelihoods, method: str) -> Array:
    """The log-likelihoods, [..., T, K], at least float32."""
    check_method(method)
    if jnp.ndim(hmm.log_initial) != 1:
        raise InputError(f"HMM has log_initial of shape {jnp.shape(hmm.log_initial)}, it must be (K,), K states")
    size = hmm.log_initial.shape[0]
    check_shapes("HMM", hmm._asdict(), {"log_transition": (size, size)})
    return sequences("log_likelihoods", log_likelihoods, size, "hidden states")


@functools.cache
def _passes(method: str, path: str):
    """The function of scores [T, K], mask [T] and the chain that `over_rows` runs: one program for each method and path.

    With path "sum" it returns `_forward`'s values for the sum over paths, with "best" those of `_likeliest`.
    """
    if path == "best":
        return lambda scores, mask, hmm: _likeliest(hmm, scores, mask, method)
    return lambda scores, mask, hmm: _forward(hmm, scores, mask, method, logsumexp)


def _whole(total: Array) -> Array:
    """Log-likelihoods [...], -inf where a sequence is impossible."""
    return jnp.where(total < IMPOSSIBLE / 2, -jnp.inf, total)


def _forward(hmm: HMM, scores: Array, mask: Array, method: str, reduce) -> tuple[Array, Array]:
    """log sum (or the maximum) over all paths to each state.

    Args:
        hmm: the chain.
        scores: log p(x_t | s_t), [T, K].
        mask: bool, [T].
        method: "sequential" or "associative".
        reduce: logsumexp or jnp.max.

    Returns:
        ([T, K], each step less its `reduce`; [], the `reduce` over all paths).
    """
    initial, transition = (jnp.maximum(a.astype(scores.dtype), IMPOSSIBLE) for a in hmm)
    scores = jnp.maximum(jnp.where(mask[:, None], scores, 0), IMPOSSIBLE)
    first = initial + scores[0]  # [K]
    peak = reduce(first, axis=-1)  # []
    passes = _in_steps if method == "sequential" else _in_parallel
    rest, total = passes(first - peak, transition, scores[1:], mask[1:], reduce)
    return jnp.concatenate([(first - peak)[None], rest]), peak + total


def _in_steps(alpha, transition, scores, mask, reduce):
    """The steps after the first of `_forward`, one after another.

    Args:
        alpha: of the first step, [K].
        transition: [K, K].
        scores, mask: of the other steps, [T - 1, K] and [T - 1].
        reduce: logsumexp or jnp.max.

    Returns:
        ([T - 1, K], each step less its `reduce`; [], the sum of these).
    """

    def step(carry, now):
        alpha, total = carry
        score, real = now
        moved = reduce(alpha[:, None] + transition, axis=0) + score  # [K]
        peak = reduce(moved, axis=-1)
        alpha, total = jnp.where(real, moved - peak, alpha), total + jnp.where(real, peak, 0)  # [K], []
        return (alpha, total), alpha

    (_, total), alphas = jax.lax.scan(step, (alpha, jnp.zeros((), alpha.dtype)), (scores, mask))
    return alphas, total


def _in_parallel(alpha, transition, scores, mask, reduce):
    """`_in_steps` by prefix products of M_t = transition + score_t in the semiring of `reduce`, each less its largest entry."""
    if not len(scores):
        return jnp.zeros((0, *alpha.shape), alpha.dtype), jnp.zeros((), alpha.dtype)

    def scaled(matrices, scales):  # [n, K, K], [n]
        peak = matrices.max((-2, -1))  # [n]
        return matrices - peak[..., None, None], scales + peak

    def product(left, right):
        (a, a_scale), (b, b_scale) = left, right
        return scaled(reduce(a[..., :, :, None] + b[..., None, :, :], axis=-2), a_scale + b_scale)

    identity = jnp.where(jnp.eye(len(alpha), dtype=bool), 0, IMPOSSIBLE).astype(alpha.dtype)  # [K, K]
    matrices = jnp.where(mask[:, None, None], transition[None] + scores[:, None, :], identity[None])  # [T - 1, K, K]
    # [T - 1, K, K], [T - 1]
    products, scales = jax.lax.associative_scan(product, scaled(matrices, jnp.zeros(len(scores), alpha.dtype)))
    alphas = reduce(alpha[None, :, None] + products, axis=-2)  # [T - 1, K]
    peaks = reduce(alphas, axis=-1)  # [T - 1]
    return alphas - peaks[:, None], scales[-1] + peaks[-1]


def _likeliest(hmm: HMM, scores: Array, mask: Array, method: str) -> tuple[Array, Array]:
    """The path of the largest score, int32 [T], and that score, []; arguments as for `_forward`."""
    alphas, best = _forward(hmm, scores, mask, method, jnp.max)  # [T, K], []
    transition = jnp.maximum(hmm.log_transition.astype(scores.dtype), IMPOSSIBLE)  # [K, K]
    before = jnp.argmax(alphas[:-1, :, None] + transition[None], axis=-2)  # the best state before each, [T - 1, K]
    before = jnp.where(mask[1:, None], before, jnp.arange(alphas.shape[-1])[None])
    last = jnp.argmax(alphas[-1])  # []
    if method == "sequential":  # states: before the last step, [T - 1]
        states = jax.lax.scan(lambda state, before: (before[state], before[state]), last, before, reverse=True)[1]
    elif len(before):
        states = jax.lax.associative_scan(lambda late, early: jnp.take_along_axis(early, late, -1), before, reverse=True)[:, last]
    else:
        states = before[:, 0]
    return jnp.where(mask, jnp.append(states, last), 0).astype(jnp.int32), best
