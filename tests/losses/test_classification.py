"""Classification losses against loops in float64, with padding that holds NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.errors import InputError

B, T, C = 3, 5, 4


@pytest.fixture
def batch(x64):
    """Logits [B, T, C], targets [B, T], mask [B, T]; where the mask is False the logits are NaN and the target is no class."""
    rng = np.random.default_rng(0)
    mask = rng.random((B, T)) < 0.7
    logits = np.where(mask[..., None], rng.normal(size=(B, T, C)) * 3, np.nan)
    return logits, np.where(mask, rng.integers(0, C, (B, T)), -1), mask


def each(logits, targets, mask, loss):
    """The sum of loss(log softmax, target) over the frames that count."""
    total = 0.0
    for b, t in np.argwhere(mask):
        log_p = logits[b, t] - np.log(np.exp(logits[b, t]).sum())
        total += loss(log_p, targets[b, t])
    return total


def check(function, batch, expected, count):
    """The value, and the gradient against central differences along a random direction."""
    logits, targets, mask = batch

    def loss(x):
        result = function(x, jnp.asarray(targets), jnp.asarray(mask))
        return result.sum, result.weight

    (value, weight), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(logits))
    assert float(value) == pytest.approx(expected(logits), rel=1e-12)
    assert float(weight) == count
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~mask].any()
    direction = np.where(np.isnan(logits), 0, np.random.default_rng(1).normal(size=logits.shape))
    step = 1e-6
    slope = (expected(logits + step * direction) - expected(logits - step * direction)) / (2 * step)
    assert float((np.asarray(gradient) * direction).sum()) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_class_weights(batch, smoothing):
    weights = [0.5, 2.0, 1.0, 0.0]

    def expected(logits):
        return each(logits, *batch[1:], lambda p, y: weights[y] * -((1 - smoothing) * p[y] + smoothing * p.mean()))

    def function(*arrays):
        return losses.cross_entropy(*arrays, smoothing=smoothing, class_weights=weights)

    check(function, batch, expected, batch[2].sum())


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.focal])
def test_weights_count_targets_in_the_sum_and_in_the_weight(batch, loss):
    logits, targets, mask = batch
    weights = np.where(mask, np.random.default_rng(3).random((B, T)), np.nan)
    result = loss(*map(jnp.asarray, batch), weights=jnp.asarray(weights))
    one = jax.jit(lambda x, target: loss(x, target).sum)
    parts = [float(one(logits[b, t], targets[b, t])) for b, t in np.argwhere(mask)]
    assert float(result.sum) == pytest.approx((parts * weights[mask]).sum())
    assert float(result.weight) == pytest.approx(weights[mask].sum())
    light = loss(jnp.asarray(logits[mask]), jnp.asarray(targets[mask]), weights=jnp.full(mask.sum(), 1e-3))
    assert float(light.mean) == pytest.approx(np.mean(parts))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(batch, gamma):
    weights = [0.5, 2.0, 1.0, 0.0]

    def expected(logits):
        return each(logits, *batch[1:], lambda p, y: -weights[y] * (1 - np.exp(p[y])) ** gamma * p[y])

    check(lambda *arrays: losses.focal(*arrays, gamma=gamma, class_weights=weights), batch, expected, batch[2].sum())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_a_certain_prediction_has_a_finite_gradient(gamma):
    gradient = jax.jit(jax.grad(lambda x: losses.focal(x, jnp.array([0]), gamma=gamma).sum))(jnp.array([[200.0, 0.0]]))
    assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("by_label", [False, True])
def test_binary_cross_entropy(batch, by_label):
    logits, _, mask = batch
    rng = np.random.default_rng(2)
    targets = np.where(np.isnan(logits), np.nan, rng.random(logits.shape) < 0.4)
    counted = mask[..., None] & (rng.random(logits.shape) < 0.5) if by_label else np.repeat(mask[..., None], C, -1)

    def expected(logits):
        p = 1 / (1 + np.exp(-logits[counted]))
        return -np.where(targets[counted] > 0, np.log(p), np.log(1 - p)).sum()

    def function(x, *_):
        return losses.binary_cross_entropy(x, jnp.asarray(targets), jnp.asarray(counted if by_label else mask))

    check(function, batch, expected, counted.sum())


def test_balanced_class_weights_have_mean_1_over_the_data():
    counts = np.array([7, 0, 2, 11])
    weights = np.array(losses.balanced_class_weights(counts))
    assert float((counts * weights).sum() / counts.sum()) == pytest.approx(1)
    np.testing.assert_allclose((counts * weights)[counts > 0], 20 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y: losses.cross_entropy(x, y, class_weights=[1.0]),
            r"class_weights is float64\[1\], it must be numbers \[4\]",
        ),
        (lambda x, y: losses.focal(x, y, gamma=-1.0), "gamma is -1.0, it must be at least 0"),
        (lambda x, y: losses.cross_entropy(x, y, weights=x), r"weights is float32\[2, 4\], it must be numbers \[2\]"),
        (lambda x, y: losses.binary_cross_entropy(x, y), r"targets is float32\[2\], it must be floating \[2, 4\]"),
        (lambda x, y: losses.binary_cross_entropy(x, x, y[:1] > 0), r"mask has shape \(1,\)"),
        (lambda x, y: losses.balanced_class_weights([-1, 2]), "counts are"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    logits, targets = jnp.zeros((2, 4)), jnp.zeros(2, jnp.int32)
    with pytest.raises(InputError, match=message):
        call(logits, targets)
