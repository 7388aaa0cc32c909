"""Linear-Gaussian models against one large Gaussian, and the parallel forms against the sequential ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import InputError
from seqjax.probabilistic import LinearGaussian, fit_linear_gaussian, kalman_filter, linear_gaussian_sample, rts_smoother

METHODS = ("sequential", "associative")


def some_model(states=2, features=3):
    draw = np.random.default_rng(0)

    def covariance(size):
        root = draw.normal(size=(size, size))
        return jnp.float32(root @ root.T / size + 0.3 * np.eye(size))

    transition = jnp.float32(0.9 * np.linalg.qr(draw.normal(size=(states, states)))[0])
    mean, emission = jnp.float32(draw.normal(size=states)), jnp.float32(draw.normal(size=(features, states)))
    return LinearGaussian(mean, covariance(states), transition, covariance(states), emission, covariance(features))


def dense(model, xs, observed):
    """Mean and covariance of all hidden vectors given the observed steps, and log p(x), from the joint Gaussian in float64."""
    mean, covariance, a, q, c, r = (np.asarray(array, np.float64) for array in model)
    steps, n, m = len(xs), len(mean), len(c)
    means, blocks = [mean], {(0, 0): covariance}
    for t in range(1, steps):
        means.append(a @ means[-1])
        for s in range(t):
            blocks[t, s] = a @ blocks[t - 1, s]
            blocks[s, t] = blocks[t, s].T
        blocks[t, t] = a @ blocks[t - 1, t - 1] @ a.T + q
    mu, sigma = np.concatenate(means), np.block([[blocks[t, s] for s in range(steps)] for t in range(steps)])
    which = [t for t in range(steps) if observed[t]]
    big = np.zeros((len(which) * m, steps * n))
    for i, t in enumerate(which):
        big[i * m : (i + 1) * m, t * n : (t + 1) * n] = c
    spread = big @ sigma @ big.T + np.kron(np.eye(len(which)), r)
    apart = np.concatenate([np.asarray(xs[t], np.float64) for t in which]) - big @ mu
    gain = sigma @ big.T @ np.linalg.inv(spread)
    log_p = -0.5 * (apart @ np.linalg.solve(spread, apart) + np.linalg.slogdet(2 * np.pi * spread)[1])
    mean, covariance = mu + gain @ apart, sigma - gain @ big @ sigma
    return mean.reshape(steps, n), covariance.reshape(steps, n, steps, n), log_p


@pytest.mark.parametrize("method", METHODS)
def test_moments_equal_those_of_the_joint_gaussian(method):
    model = some_model()
    xs = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    xs[0, 2] = np.nan  # a missing observation
    xs[1, 4:] = np.inf  # padding
    filtered = kalman_filter(model, xs, [6, 4], method=method)
    smoothed = rts_smoother(model, xs, [6, 4], method=method)
    for row, length in enumerate([6, 4]):
        real = xs[row, :length]
        observed = ~np.isnan(real).any(-1)
        mean, covariance, log_p = dense(model, real, observed)
        np.testing.assert_allclose(smoothed.mean[row, :length], mean, atol=2e-5)
        for t in range(length):
            np.testing.assert_allclose(smoothed.covariance[row, t], covariance[t, :, t], atol=2e-5)
        for t in range(length - 1):
            np.testing.assert_allclose(smoothed.lagged[row, t], covariance[t + 1, :, t], atol=2e-5)
        np.testing.assert_allclose([smoothed.log_likelihood[row], filtered.log_likelihood[row]], [log_p, log_p], rtol=1e-5)
        mean, covariance, _ = dense(model, real[:2], observed[:2])
        np.testing.assert_allclose(filtered.mean[row, 1], mean[1], atol=2e-5)
        np.testing.assert_allclose(filtered.covariance[row, 1], covariance[1, :, 1], atol=2e-5)
    assert np.isfinite(smoothed.mean).all()


@pytest.mark.slow
def test_parallel_equals_sequential_over_2000_steps():
    model = some_model()
    xs = linear_gaussian_sample(model, jax.random.key(0), 2000)[1]
    one, other = (rts_smoother(model, xs, method=method) for method in METHODS)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-5 * float(jnp.abs(one.mean).max()))
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-5)
    np.testing.assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-5)


@pytest.mark.slow
def test_fitting_never_lowers_the_likelihood_and_predicts_like_the_truth():
    truth = some_model()
    xs = jax.vmap(lambda key: linear_gaussian_sample(truth, key, 100)[1])(jax.random.split(jax.random.key(1), 4))
    model, curve = fit_linear_gaussian(LinearGaussian.random(jax.random.key(2), 2, 3), xs, steps=60)
    assert np.all(np.diff(curve) > -1e-2)
    assert curve[-1] >= kalman_filter(truth, xs).log_likelihood.sum() - 5
    lengths = jnp.array([100, 50, 2, 1])
    padded = jnp.where((jnp.arange(100)[None] < lengths[:, None])[..., None], xs, jnp.nan)
    _, curve = fit_linear_gaussian(model, padded, lengths, steps=60)  # as many steps: the same loop
    assert np.isfinite(curve).all() and np.all(np.diff(curve) > -1e-2)


def test_wrong_inputs_are_one_line():
    model = some_model()
    for call, message in [
        (
            lambda: kalman_filter(model, jnp.zeros((5, 2))),
            r"xs has shape \(5, 2\), it must be \[..., T, 3\]",
        ),
        (lambda: rts_smoother(model, jnp.zeros((5, 3)), method="fast"), "method is 'fast'"),
        (lambda: kalman_filter(model._replace(transition=jnp.eye(3)), jnp.zeros((5, 3))), r"transition of shape \(3, 3\)"),
        (lambda: fit_linear_gaussian(model, jnp.zeros((1, 3)), steps=3), "at least two steps"),
        (lambda: linear_gaussian_sample(model, 0, 3), "key is 0"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
