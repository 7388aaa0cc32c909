"""The ranking losses against the loop that the paper prints, in float64, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.errors import InputError

B, T, C = 6, 24, 4


def loop(p, targets, mask, measure):
    """The equations frame by frame; also the gaps of every maximum and hinge, which tell that no kink is near."""
    total, gaps = 0.0, []
    for b in range(len(p)):
        for t in range(1, p.shape[1]):
            if not (mask[b, t] and mask[b, t - 1]):
                continue
            if targets[b, t] == targets[b, t - 1]:
                start = t
                while start and mask[b, start - 1] and targets[b, start - 1] == targets[b, t]:
                    start -= 1
                seen = [measure(p[b, u], targets[b, t]) for u in range(start, t)]
                loss = max(seen) - measure(p[b, t], targets[b, t])
                gaps += [max(seen) - value for value in seen if value != max(seen)]
            else:
                loss = measure(p[b, t], targets[b, t - 1])
            gaps.append(abs(loss))
            total += max(0.0, loss)
    return total, gaps


def margin(p, label):
    return p[label] - np.delete(p, label).max()


KINDS = [(losses.score_ranking, lambda p, label: p[label]), (losses.margin_ranking, margin)]


def softmax(logits):
    e = np.exp(logits - np.nanmax(logits, axis=-1, keepdims=True, initial=-np.inf, where=~np.isnan(logits)))
    return e / e.sum(-1, keepdims=True)


def data(seed):
    """Rows of activities of 1 to 8 frames; one row is padding only, one has no padding, the others have holes and padding."""
    rng = np.random.default_rng(seed)
    rows = [np.repeat(rng.integers(0, C, T), rng.integers(1, 9, T))[:T] for _ in range(B)]
    mask = (rng.random((B, T)) < 0.9) & (np.arange(T) < rng.integers(T // 2, T + 1, (B, 1)))
    mask[0], mask[1] = False, True
    logits = np.where(mask[..., None], rng.normal(size=(B, T, C)) * 2, np.nan)
    return logits, np.where(mask, rows, -1), mask


@pytest.mark.parametrize(("function", "measure"), KINDS, ids=["score", "margin"])
def test_ranking_losses_are_the_papers_equations(x64, function, measure):
    value_and_grad = jax.jit(jax.value_and_grad(lambda x, *rest: function(x, *rest).sum))
    for seed in range(3):
        logits, targets, mask = data(seed)
        value, gradient = value_and_grad(jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(mask))
        expected, gaps = loop(softmax(logits), targets, mask, measure)
        assert expected > 1 and float(value) == pytest.approx(expected, rel=1e-12)
        gradient = np.asarray(gradient)
        assert np.isfinite(gradient).all() and not gradient[~mask].any()
        step = 1e-7
        assert min(gaps) > 100 * step, "a kink is near: take another seed"
        for k in range(3):
            direction = np.random.default_rng(k).normal(size=logits.shape)
            above, below = (loop(softmax(logits + s * direction), targets, mask, measure)[0] for s in (step, -step))
            slope = (above - below) / (2 * step)
            assert float(np.where(mask[..., None], gradient * direction, 0).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    result = function(jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(mask))
    assert float(result.weight) == mask.sum() and result.sum.dtype == jnp.float64


@pytest.mark.parametrize(("function", "measure"), KINDS, ids=["score", "margin"])
def test_of_equal_highest_scores_the_earliest_has_the_gradient(function, measure):
    p = np.array([[[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]], np.float32)
    gradient = jax.jit(jax.grad(lambda x: function(x, jnp.zeros((1, 3), jnp.int32)).sum))(np.log(p))
    assert float(gradient[0, 0, 0]) > 0 > float(gradient[0, 2, 0]) and not gradient[0, 1].any()


@pytest.mark.parametrize(("function", "measure"), KINDS, ids=["score", "margin"])
def test_a_single_frame_and_no_frame_have_no_loss(function, measure):
    for steps in (0, 1):
        result = function(jnp.zeros((2, steps, 3)), jnp.zeros((2, steps), jnp.int32))
        assert float(result.sum) == 0 and float(result.weight) == 2 * steps


def test_bfloat16_scores_are_summed_in_float32():
    result = losses.score_ranking(jnp.zeros((1, 2, 3), jnp.bfloat16), jnp.array([[0, 1]]))
    assert result.sum.dtype == jnp.float32 and float(result.sum) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (2, 3), (2, 3)), r"logits is float32\[2, 3\], it must be floating \[B, T, C\]"),
        (((2, 3, 1), (2, 3), (2, 3)), "at least 2 classes"),
        (((2, 3, 4), (2, 4), (2, 4)), r"targets is int32\[2, 4\], it must be integer \[2, 3\]"),
        (((2, 3, 4), (2, 3), (2, 4)), r"mask is bool\[2, 4\], it must be bool \[2, 3\]"),
    ],
)
def test_wrong_shapes_are_refused(shapes, message):
    logits, targets, mask = shapes
    with pytest.raises(InputError, match=message):
        losses.margin_ranking(jnp.zeros(logits), jnp.zeros(targets, jnp.int32), jnp.ones(mask, bool))
