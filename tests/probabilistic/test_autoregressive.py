"""Autoregressive models, against least squares and densities of NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from seqjax import InputError, unroll
from seqjax.cells.time_delay import TimeDelay
from seqjax.probabilistic import AutoRegressive, autoregressive_predict, autoregressive_sample, fit_autoregressive

XS = np.random.default_rng(0).normal(size=(2, 3, 9, 2)).astype(np.float32)
LENGTHS = np.array([[9, 5, 4], [7, 9, 8]])


def stable(taps, size, seed=0):
    """A random model of spectral radius below 1."""
    kernels = 0.6 / taps * np.linalg.qr(np.random.default_rng(seed).normal(size=(taps, size, size)))[0]
    return AutoRegressive(jnp.float32(kernels), jnp.linspace(-1, 1, size), 0.1 * jnp.eye(size))


def windows(xs, lengths, taps):
    """(The K steps before each predicted step, the latest first, and a 1; the step), a row for each."""
    rows = [(x[t - taps : t][::-1].ravel(), x[t]) for x, n in zip(xs, lengths, strict=True) for t in range(taps, n)]
    earlier, targets = map(np.array, zip(*rows, strict=True))
    return np.column_stack([earlier, np.ones(len(earlier))]).astype(np.float64), targets.astype(np.float64)


@pytest.mark.parametrize("ridge", [0.0, 2.0])
def test_the_fit_is_that_of_least_squares(ridge):
    taps = 3
    padded = np.where(np.arange(9)[:, None] < LENGTHS[..., None, None], XS, np.nan)
    model = fit_autoregressive(padded, LENGTHS, taps=taps, ridge=ridge)
    columns, targets = windows(XS.reshape(-1, 9, 2), LENGTHS.ravel(), taps)
    penalty = ridge * np.diag([1.0] * (2 * taps) + [0.0])
    solution = np.linalg.solve(columns.T @ columns + penalty, columns.T @ targets)
    np.testing.assert_allclose(model.kernels.reshape(-1, 2), solution[:-1], atol=1e-4)
    np.testing.assert_allclose(model.bias, solution[-1], atol=1e-4)
    residuals = targets - columns @ solution
    np.testing.assert_allclose(model.noise, residuals.T @ residuals / len(targets), atol=1e-4)


def test_predictions_and_likelihood():
    model = stable(3, 2)
    predictions = autoregressive_predict(model, XS, LENGTHS)
    columns, targets = windows(XS.reshape(-1, 9, 2), LENGTHS.ravel(), 3)
    means = columns @ np.concatenate([model.kernels.reshape(-1, 2), model.bias[None]])
    real = (np.arange(9) >= 3) & (np.arange(9) < LENGTHS[..., None])
    np.testing.assert_allclose(np.asarray(predictions.mean)[real], means, rtol=1e-4, atol=1e-5)
    assert not np.any(np.asarray(predictions.mean)[~real])
    total = sum(multivariate_normal(mean, np.asarray(model.noise)).logpdf(x) for mean, x in zip(means, targets, strict=True))
    np.testing.assert_allclose(predictions.log_likelihood.sum(), total, rtol=1e-4)


def test_a_model_is_found_again_from_its_own_sequences():
    model = stable(2, 2)
    xs = autoregressive_sample(model, jnp.zeros((20, 2, 2)), 500, jax.random.key(1))
    fitted = fit_autoregressive(xs, taps=2)
    for name in ("kernels", "bias", "noise"):
        np.testing.assert_allclose(getattr(fitted, name), getattr(model, name), atol=0.05)


@pytest.mark.parametrize("key", [None, 3])
def test_step_by_step_equals_in_parallel(key):
    model, start = stable(3, 2), XS[..., :4, :]
    key = None if key is None else jax.random.key(key)
    one, other = (autoregressive_sample(model, start, 2000, key, method=method) for method in ("sequential", "associative"))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_linear_network_over_delay_taps_is_such_a_model():
    model = stable(3, 2)
    cell = TimeDelay(input_size=2, hidden_size=2, taps=3, activation="linear")
    params = {"input_kernel": jnp.moveaxis(model.kernels, 0, 1).reshape(2, -1), "bias": model.bias}
    _, ys = unroll(cell, params, XS[0])
    np.testing.assert_allclose(ys[:, 2:-1], autoregressive_predict(model, XS[0]).mean[:, 3:], atol=1e-5)


def test_wrong_arguments_are_refused():
    model = stable(3, 2)
    for call, message in (
        (lambda: fit_autoregressive(XS, taps=9), "a sequence has 9 steps, 9 delay taps need at least 10"),
        (lambda: fit_autoregressive(XS, LENGTHS, taps=4), "a sequence has 4 steps, 4 delay taps need at least 5"),
        (lambda: fit_autoregressive(XS, taps=0), "taps is 0, it must be at least 1"),
        (lambda: fit_autoregressive(XS, taps=2, ridge=-1.0), "ridge is -1.0, it must be at least 0 and finite"),
        (lambda: autoregressive_predict(model, XS[..., :1]), r"xs has shape .*, it must be \[..., T, 2\]"),
        (
            lambda: autoregressive_predict(model._replace(bias=jnp.zeros(3)), XS),
            r"the model has bias of shape \(3,\)",
        ),
        (lambda: autoregressive_sample(model, XS[..., :2, :], 4), "start has 2 steps, a model of 3 delay taps needs at least 3"),
        (lambda: autoregressive_sample(model, XS, 0), "steps is 0, it must be at least 1"),
        (lambda: autoregressive_sample(model, XS, 4, method="both"), "method is 'both'"),
    ):
        with pytest.raises(InputError, match=message):
            call()
