"""Convolutions in blocks beside the plain scan: values, states and gradients; and when they are left to the other forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import S4D, explain, unroll

CELL = S4D(input_size=3, hidden_size=2, state_size=3, step_size=(0.01, 0.3))
ROWS, BLOCKS = 16, "a convolution in blocks of steps"


def masks(rng, shape):
    """Of rows with real steps at random, and of rows that are padded behind; each has a row without real steps."""
    at_random, behind = rng.random(shape) < 0.8, np.arange(shape[1]) < rng.integers(0, shape[1], (shape[0], 1))
    at_random[1] = behind[2] = False
    return [at_random, behind]


@pytest.mark.parametrize(
    ("steps", "masked", "reverse", "remat", "dtype"),
    [
        (71, False, True, None, "float64"),
        (67, True, False, None, "float64"),
        pytest.param(64, True, True, 20, "float32", marks=pytest.mark.slow),
    ],
)
def test_equals_the_plain_scan(steps, masked, reverse, remat, dtype, x64):
    rng = np.random.default_rng(steps)
    params = jax.tree.map(lambda a: jnp.asarray(a, dtype), CELL.init(jax.random.key(0)))
    xs = jnp.asarray(rng.normal(size=(ROWS, steps, 3)), dtype)
    state = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), dtype), CELL.initial_state(params, (ROWS,)))
    ys_weights = rng.normal(size=(ROWS, steps, 2)).astype(dtype)

    def runner(**options):
        def total(params, xs, state, mask):
            after, ys = unroll(CELL, params, xs, state, mask=mask, reverse=reverse, **options)
            return (ys * ys_weights).sum() + (after.real**2 + after.imaginary).sum(), (after, ys)

        return jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))

    in_blocks, plain = runner(remat=remat), runner(backend="scan")
    tolerance = 1e-9 if dtype == "float64" else 3e-5  # of the largest entry
    for mask in masks(rng, (ROWS, steps)) if masked else [None]:
        assert explain(CELL, params, xs, state, mask=mask, reverse=reverse)[0].layout == BLOCKS
        results = (jax.tree.leaves(run(params, xs, state, mask)) for run in (in_blocks, plain))
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, float(jnp.abs(b).max())))


def test_resets_states_short_sequences_and_other_readouts_are_left_to_other_forms():
    params = CELL.init(jax.random.key(0))
    xs = jnp.ones((16, 100, 3))

    def form(cell, xs=xs, **options):
        return explain(cell, params, xs, **options)[0].layout

    assert form(CELL, lengths=jnp.arange(16)) == BLOCKS
    assert BLOCKS not in (
        form(CELL, reset=jnp.zeros((16, 100), bool)),
        form(CELL, collect="states"),
        form(CELL, xs[:, :10]),
        form(CELL, xs[:1]),
        form(Doubled(**dataclasses.asdict(CELL))),
    )


@dataclasses.dataclass(frozen=True)
class Doubled(S4D):
    """Its outputs are not those of its system."""

    def readout(self, params, h, z):
        return 2 * super().readout(params, h, z)
