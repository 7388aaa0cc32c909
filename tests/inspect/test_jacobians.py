"""The flow of gradients through time, against products of Jacobians written out."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from seqjax import GRU, LSTM, Bidirectional, Dense, Dropout, Elman, InputError, RecurrentDropout, Stack, unroll
from seqjax.inspect import flow_curves, gradient_flow

XS = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def test_an_elman_network_against_numpy():
    """J[t] = diag(1 - h[t]^2) W^T."""
    cell = Elman(input_size=3, hidden_size=4)
    params = cell.init(jax.random.key(0))
    flow = gradient_flow(cell, params, XS)
    _, hs = unroll(cell, params, XS)
    for row, states in enumerate(np.asarray(hs)):
        derivative, norms = np.eye(4), []
        for t in range(4, -1, -1):
            norms.append(np.linalg.norm(derivative, 2))
            jacobian = (1 - states[t] ** 2)[:, None] * np.asarray(params["recurrent_kernel"]).T
            np.testing.assert_allclose(flow.singular_values[row, t], np.linalg.svd(jacobian)[1], rtol=1e-4, atol=1e-6)
            derivative = derivative @ jacobian
        np.testing.assert_allclose(flow.norms[row], norms[::-1], rtol=1e-4)
        np.testing.assert_allclose(flow.leaf_norms["h"][row], norms[::-1], rtol=1e-4)


@pytest.mark.parametrize(
    "cell",
    [
        LSTM(input_size=3, hidden_size=4),
        Stack((GRU(input_size=3, hidden_size=2), Dropout(0.3), Elman(input_size=2, hidden_size=2))),
        RecurrentDropout(LSTM(input_size=3, hidden_size=2), 0.3),
    ],
    ids=["lstm", "stack", "noisy"],
)
def test_any_cell_against_automatic_differentiation(cell):
    """The derivative of the last state by the first, of the whole and of each part of the state."""
    params = cell.init(jax.random.key(1))
    state = cell.initial_state(params, key=jax.random.key(2))
    flow = gradient_flow(cell, params, XS[0], state)
    middle, _ = unroll(cell, params, XS[0, :1], state)
    leaves, structure = jax.tree.flatten(middle)
    floating = [n for n, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def last(values):
        parts = dict(enumerate(leaves)) | dict(zip(floating, values, strict=True))
        end, _ = unroll(cell, params, XS[0, 1:], jax.tree.unflatten(structure, [parts[n] for n in range(len(leaves))]))
        return [jax.tree.leaves(end)[n] for n in floating]

    blocks = jax.jacobian(last)([leaves[n] for n in floating])
    norm = np.linalg.norm(np.block([[np.asarray(block) for block in row] for row in blocks]), 2)
    np.testing.assert_allclose(flow.norms[0], norm, rtol=1e-4)
    for n, leaf_norms in enumerate(flow.leaf_norms.values()):
        np.testing.assert_allclose(leaf_norms[0], np.linalg.norm(np.asarray(blocks[n][n]), 2), rtol=1e-4)


def test_long_sequences_neither_underflow_nor_overflow_into_nan():
    cell, xs = Elman(input_size=1, hidden_size=2), jnp.zeros((400, 1))  # h stays 0, where the slope of tanh is 1
    for size in (0.1, 10.0):
        params = {"input_kernel": jnp.ones((1, 2)), "recurrent_kernel": size * jnp.eye(2), "bias": jnp.zeros(2)}
        norms = np.asarray(gradient_flow(cell, params, xs).norms)
        assert norms[-1] == 1
        np.testing.assert_allclose(norms[-3], size**2, rtol=1e-4)
        assert norms[0] == (0 if size < 1 else np.inf)


def test_what_has_no_flow_is_refused():
    cell = Elman(input_size=3, hidden_size=4)
    params = cell.init(jax.random.key(0))
    layer = Bidirectional(cell)
    for part, weights, xs, message in (
        (layer, layer.init(jax.random.key(0)), XS, "Bidirectional is a layer that cannot step"),
        (Dense(3, 2), Dense(3, 2).init(jax.random.key(0)), XS, "the state of Dense holds no floating numbers"),
        (cell, params, XS[:, :0], r"xs has shape \(2, 0, 3\): gradient_flow needs at least one step"),
    ):
        with pytest.raises(InputError, match=message):
            gradient_flow(part, weights, xs)
    with pytest.raises(InputError, match="flows must be a dict of at least one name"):
        flow_curves("flow.png", {})


def test_the_picture_shows_each_curve(tmp_path):
    cell = LSTM(input_size=3, hidden_size=4)
    flow = gradient_flow(cell, cell.init(jax.random.key(0)), XS)
    flow_curves(tmp_path / "one.png", {"$LSTM": flow})
    flow_curves(tmp_path / "two.png", {"$LSTM": flow, "other": flow._replace(norms=flow.norms * 0.1)})
    one, two = (imread(io.BytesIO((tmp_path / f"{n}.png").read_bytes())) for n in ("one", "two"))
    assert one.shape == two.shape
    assert np.any(one != two)
