"""Convolutions in blocks beside the plain scan: values, states and gradients; and when they are left to the other forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import S4D, explain, unroll

CELL = S4D(input_size=3, hidden_size=2, state_size=3, step_size=(0.01, 0.3))
ROWS, BLOCKS = 16, "a convolution in blocks of steps"


def random_mask(rng, shape):
    mask = rng.random(shape) < 0.8
    mask[1] = False  # a row without real steps
    return mask


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
    options = {"mask": random_mask(rng, (ROWS, steps)) if masked else None, "reverse": reverse}
    ys_weights = rng.normal(size=(ROWS, steps, 2)).astype(dtype)
    assert explain(CELL, params, xs, state, **options)[0].layout == BLOCKS

    def total(params, xs, state, **further):
        after, ys = unroll(CELL, params, xs, state, **options, **further)
        return (ys * ys_weights).sum() + (after.real**2 + after.imaginary).sum(), (after, ys)

    def run(**further):
        return jax.jit(jax.value_and_grad(lambda *args: total(*args, **further), (0, 1, 2), has_aux=True))(params, xs, state)

    tolerance = 1e-9 if dtype == "float64" else 3e-5  # of the largest entry
    for a, b in zip(jax.tree.leaves(run(remat=remat)), jax.tree.leaves(run(backend="scan")), strict=True):
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
