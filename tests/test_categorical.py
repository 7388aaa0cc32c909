"""A draw inverts the cumulative distribution at a uniform number, in small and in large vocabularies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.categorical import quantile

draw = jax.jit(quantile)


@pytest.mark.parametrize("symbols", [1, 5, 512, 513, 4000])
def test_it_is_the_inverse_of_the_cumulative_distribution(symbols, x64):
    rng = np.random.default_rng(symbols)
    p, chance = rng.exponential(size=(300, symbols)) ** 3, rng.random(300)
    drawn = draw(jnp.asarray(p), jnp.asarray(chance))
    assert drawn.dtype == jnp.int32
    sums = p.cumsum(1)
    assert drawn.tolist() == [int(np.searchsorted(row, u * row[-1], side="right")) for row, u in zip(sums, chance, strict=True)]


@pytest.mark.parametrize("symbols", [5, 3000])
def test_frequencies_are_the_probabilities(symbols):
    p = np.zeros(symbols, np.float32)
    p[[0, 2, 3]] = 0.1, 0.6, 0.3
    chances = (jnp.arange(1000.0) + 0.5) / 1000
    drawn = draw(jnp.tile(jnp.asarray(p), (1000, 1)), chances)
    np.testing.assert_allclose(np.bincount(drawn, minlength=symbols) / 1000, p, atol=0.002)


@pytest.mark.parametrize("symbols", [300, 20_000])
@pytest.mark.parametrize("kind", ["some", "one", "tiny"])
def test_a_symbol_of_probability_0_is_never_drawn(symbols, kind):
    """Not even for the least and the greatest uniform number, or where sums are rounded."""
    rng = np.random.default_rng(0)
    p = rng.random((400, symbols)).astype(np.float32)
    if kind == "some":
        p *= rng.random(p.shape) < 0.1
    else:
        p *= 1e-30 if kind == "tiny" else 0
        p[np.arange(400), rng.integers(0, symbols, 400)] = 1
    top = np.nextafter(np.float32(1), np.float32(0))
    for chance in (np.zeros(400), np.full(400, top), rng.random(400)):
        drawn = draw(jnp.asarray(p), jnp.asarray(chance, jnp.float32))
        assert (p[np.arange(400), drawn] > 0).all()
