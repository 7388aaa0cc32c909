"""Hidden Markov models against enumeration over all paths, and the parallel forms against the sequential ones."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import InputError
from seqjax.probabilistic import HMM, Categorical, Gaussian, baum_welch, hmm_filter, hmm_sample, hmm_smoother, viterbi

METHODS = ("sequential", "associative")


def some_model(states, steps, rows=2, forbidden=False):
    """A chain and log-likelihoods [rows, steps, states] as float32; one transition that cannot happen, if wanted."""
    draw = np.random.default_rng(states)
    initial, transition = draw.dirichlet(np.ones(states)), draw.dirichlet(np.ones(states), states)
    if forbidden:
        transition[0] = np.eye(states)[1]
    scores = draw.normal(size=(rows, steps, states))
    with np.errstate(divide="ignore"):
        return HMM(jnp.log(jnp.float32(initial)), jnp.float32(np.log(transition))), jnp.float32(scores)


def enumerate_paths(hmm, scores):
    """{path: joint log-probability} in float64, for scores [T, K]."""
    initial, transition, scores = (np.asarray(a, np.float64) for a in (*hmm, scores))
    joint = {}
    for path in itertools.product(range(len(initial)), repeat=len(scores)):
        moves = sum(transition[a, b] for a, b in itertools.pairwise(path))
        joint[path] = initial[path[0]] + moves + sum(scores[t, state] for t, state in enumerate(path))
    return joint


@pytest.mark.parametrize("method", METHODS)
def test_all_of_it_equals_enumeration(method):
    hmm, scores = some_model(3, 5, forbidden=True)
    lengths = jnp.array([5, 3])
    scores = scores.at[1, 3:].set(jnp.nan)
    filtered = hmm_filter(hmm, scores, lengths, method=method)
    smoothed = hmm_smoother(hmm, scores, lengths, method=method)
    path = viterbi(hmm, scores, lengths, method=method)
    transitions = np.zeros((3, 3))
    for row, length in enumerate([5, 3]):
        joint = enumerate_paths(hmm, scores[row, :length])
        weights = np.exp(np.array(list(joint.values())))
        paths = np.array(list(joint))
        np.testing.assert_allclose(filtered.log_likelihood[row], np.log(weights.sum()), rtol=1e-5)
        for t in range(length):
            probs = np.array([weights[paths[:, t] == k].sum() for k in range(3)]) / weights.sum()
            np.testing.assert_allclose(smoothed.probs[row, t], probs, atol=1e-6)
            for a, b in itertools.product(range(3), repeat=2) if t else ():
                transitions[a, b] += weights[(paths[:, t - 1] == a) & (paths[:, t] == b)].sum() / weights.sum()
        first = np.exp(np.array(list(enumerate_paths(hmm, scores[row, :2]).values()))).reshape(3, 3).sum(0)
        np.testing.assert_allclose(jnp.exp(filtered.log_probs[row, 1]), first / first.sum(), atol=1e-6)
        best = max(joint, key=joint.__getitem__)
        assert tuple(path.states[row, :length].tolist()) == best
        np.testing.assert_allclose(path.log_prob[row], joint[best], rtol=1e-5)
    assert path.states[1, 3:].tolist() == [0, 0] and not smoothed.probs[1, 3:].any()
    np.testing.assert_allclose(smoothed.transitions, transitions, atol=1e-5)
    np.testing.assert_allclose(smoothed.starts, smoothed.probs[:, 0].sum(0), atol=1e-6)


def test_parallel_equals_sequential_over_2000_steps():
    hmm, scores = some_model(4, 2000, rows=1)
    one, other = (
        (hmm_filter(hmm, scores, method=m), hmm_smoother(hmm, scores, method=m), viterbi(hmm, scores, method=m)) for m in METHODS
    )
    np.testing.assert_allclose(jnp.exp(one[0].log_probs), jnp.exp(other[0].log_probs), atol=1e-5)
    np.testing.assert_allclose(one[0].log_likelihood, other[0].log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(one[1].probs, other[1].probs, atol=1e-5)
    np.testing.assert_array_equal(one[2].states, other[2].states)


def test_an_impossible_sequence_says_so():
    hmm = HMM(jnp.log(jnp.array([1.0, 0.0])), jnp.log(jnp.eye(2)))
    scores = jnp.log(jnp.array([[1.0, 1.0], [0.0, 1.0]]))  # must begin in state 0, must end in state 1, and never moves
    for method in METHODS:
        assert hmm_filter(hmm, scores, method=method).log_likelihood == -jnp.inf
        assert viterbi(hmm, scores, method=method).log_prob == -jnp.inf
    assert hmm_filter(hmm, scores[:1]).log_probs.tolist() == [[0, -jnp.inf]]


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_baum_welch_never_lowers_the_likelihood(kind):
    key = jax.random.key(3)
    draw = np.random.default_rng(0)
    if kind == "categorical":
        xs, emission = jnp.asarray(draw.integers(0, 4, (3, 20))), Categorical.random(key, 3, 4)
    else:
        xs = jnp.asarray(draw.normal(size=(3, 20, 2)), jnp.float32).at[1, 12:].set(jnp.nan)
        emission = Gaussian.random(key, 3, xs[:1])
    for seed in range(3):
        _, fitted, curve = baum_welch(HMM.random(jax.random.key(seed), 3), emission, xs, jnp.array([20, 12, 20]), steps=25)
        assert np.all(np.diff(curve) > -1e-3) and curve[-1] > curve[0] + 1
        assert all(jnp.isfinite(jnp.exp(a)).all() for a in fitted)


def test_baum_welch_stays_finite_where_states_die_out():
    """Cyclic chains of three places with eight states each, which EM leaves almost deterministic."""
    texts = np.tile(2 * np.arange(3) + np.array(list(itertools.product([0, 1], repeat=3))), 2)  # [8, 6]
    place = np.repeat(np.arange(3), 8)
    hmm = HMM.random(jax.random.key(0), 24)
    follows = (place[:, None] + 1) % 3 == place
    chain = HMM(*(jax.nn.log_softmax(jnp.where(m, 4 * p, -jnp.inf)) for m, p in zip((place == 0, follows), hmm, strict=True)))
    fitted, _, curve = baum_welch(chain, Categorical.random(jax.random.key(0), 24, 6), texts, steps=60)
    assert np.all(np.diff(curve) > -1e-3)
    assert jnp.isfinite(jnp.exp(fitted.log_transition)).all()


def test_baum_welch_finds_the_chain_it_was_drawn_from():
    hmm = HMM(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([[0.95, 0.05], [0.1, 0.9]])))
    emission = Gaussian(jnp.array([[-2.0], [2.0]]), jnp.ones((2, 1)))
    states = hmm_sample(hmm, jax.random.key(0), 2000)
    xs = emission.sample(jax.random.key(1), states)
    start = Gaussian(jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
    found, fitted, _ = baum_welch(HMM.random(jax.random.key(2), 2), start, xs, steps=30)
    np.testing.assert_allclose(jnp.exp(found.log_transition), jnp.exp(hmm.log_transition), atol=0.03)
    np.testing.assert_allclose(fitted.mean, emission.mean, atol=0.1)
    assert (viterbi(found, fitted.log_likelihoods(xs)).states == states).mean() > 0.97


def test_wrong_inputs_are_one_line():
    hmm, scores = some_model(3, 5)
    for call, message in [
        (lambda: hmm_filter(hmm, scores[..., :2]), r"log_likelihoods has shape \(2, 5, 2\), it must be \[..., T, 3\]"),
        (lambda: hmm_filter(hmm, scores[:, :0]), "at least one step"),
        (lambda: viterbi(hmm, scores, method="parallel"), "method is 'parallel'"),
        (lambda: hmm_smoother(hmm, scores, [5, 6]), "lengths holds 6"),
        (lambda: hmm_filter(HMM(hmm.log_initial, hmm.log_transition[:2]), scores), r"log_transition of shape \(2, 3\)"),
        (lambda: Categorical.random(jax.random.key(0), 3, 4).log_likelihoods(jnp.array([4])), "names symbol 4"),
        (lambda: Categorical.random(jax.random.key(0), 3, 4).log_likelihoods(jnp.array([0.5])), "emits symbols"),
        (lambda: baum_welch(hmm, None, scores, steps=0), "steps is 0"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
