"""Standardisation: floats and bytes, and the refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import InputError, Standardize, unroll


def test_features_have_mean_0_and_scale_1():
    xs = np.random.default_rng(0).normal((1, -2, 3), (2, 1, 0.5), size=(2, 50, 3)).astype(np.float32)
    cell = Standardize(xs.mean((0, 1)), xs.std((0, 1)))
    _, ys = unroll(cell, {}, xs)
    np.testing.assert_allclose(np.mean(ys, (0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(ys, (0, 1)), 1, rtol=1e-5)
    assert hash(cell) == hash(Standardize(xs.mean((0, 1)), xs.std((0, 1))))


def test_bytes_of_frames_become_floats():
    xs = np.random.default_rng(0).integers(0, 256, (1, 2, 4, 4, 3)).astype(np.uint8)
    _, ys = unroll(Standardize((0.0, 128.0, 255.0), (1.0, 64.0, 5.0), (4, 4, 3)), {}, xs)
    assert ys.dtype == jnp.float32
    np.testing.assert_allclose(ys, (xs - np.array([0, 128, 255])) / np.array([1, 64, 5]), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Standardize((0.0,), (0.0,)), "a scale of 0.0, it must be finite and above 0"),
        (lambda: Standardize((float("nan"),), (1.0,)), r"Standardize\.mean\[0\] is nan, it must be a number"),
        (lambda: Standardize((0.0, 1.0), (1.0,)), r"2 means and 1 scales for features of shape \(2,\)"),
        (lambda: Standardize((0.0,), (1.0,), (4, 4, 3)), r"1 means and 1 scales for features of shape \(4, 4, 3\)"),
        (
            lambda: unroll(Standardize((0.0,), (1.0,)), {}, np.zeros((1, 2), np.int32)),
            "integer tokens are none: embed them first",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, line):
    with pytest.raises(InputError, match=line):
        make()
