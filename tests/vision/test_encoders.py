"""The convolutional network for frames: against loops in float64, on bytes and flow, saved, and refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax import GRU, InputError, Stack, unroll
from seqjax.vision import ConvNet, frame_encoder
from seqjax.vision.encoders import means_over_grid


def loop_net(params, x, channels, grid):
    """One frame [H, W, C] in float64."""
    for i, size in enumerate(channels):
        kernel, norm = params[f"Conv_{i}"]["kernel"], params[f"GroupNorm_{i}"]
        height, width = (-(-n // 2) for n in x.shape[:2])
        before = [max(2 * (out - 1) + 3 - n, 0) // 2 for out, n in zip((height, width), x.shape[:2], strict=True)]
        y = np.zeros((height, width, size))
        for r, c, a, b in np.ndindex(height, width, 3, 3):
            at = 2 * r + a - before[0], 2 * c + b - before[1]
            if 0 <= at[0] < x.shape[0] and 0 <= at[1] < x.shape[1]:
                y[r, c] += x[at] @ kernel[a, b]
        groups = np.split(y, np.gcd(8, size), axis=2)
        y = np.concatenate([(g - g.mean()) / np.sqrt(g.var() + 1e-6) for g in groups], axis=2)
        x = np.maximum(y * norm["scale"] + norm["bias"], 0)
    rows, columns = (np.array_split(np.arange(n), min(n, grid)) for n in x.shape[:2])
    x = np.array([[x[np.ix_(r, c)].mean((0, 1)) for c in columns] for r in rows])
    return np.maximum(x.reshape(-1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)


def test_the_network_is_the_loop(x64):
    cell = frame_encoder((12, 9, 2), channels=(4, 12), features=5, grid=3)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64) + 0.2 * rng.normal(size=a.shape), cell.init(jax.random.key(0)))
    flow = rng.normal(size=(2, 1, 12, 9, 2))  # two rows of one step
    _, ys = unroll(cell, params, flow)
    expected = [loop_net(params["params"], row[0], (4, 12), 3) for row in flow]
    np.testing.assert_allclose(ys[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_means_over_a_grid_that_does_not_divide_the_image():
    x = np.random.default_rng(0).normal(size=(1, 5, 2, 1)).astype(np.float32)
    ys = np.asarray(means_over_grid(jnp.asarray(x), 3))
    expected = np.stack([x[:, a:b].mean(1) for a, b in ((0, 2), (1, 4), (3, 5))], axis=1)
    np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_it_learns_the_direction_of_a_moving_square(implicit_promotion):
    """A bag of frames cannot tell left from right: the network with a recurrent cell does."""
    import optax

    frames = np.zeros((2, 4, 8, 8, 1), np.uint8)
    for row, columns in enumerate((range(4), range(3, -1, -1))):
        for t, column in enumerate(columns):
            frames[row, t, 3:5, 2 * column : 2 * column + 2] = 255
    cell = Stack((frame_encoder((8, 8, 1), channels=(4,), features=8), GRU(input_size=8, hidden_size=2)))
    params, rule = cell.init(jax.random.key(0)), optax.adam(0.03)

    def loss(params):
        ys = unroll(cell, params, frames)[1][:, -1]
        return optax.softmax_cross_entropy_with_integer_labels(4 * ys, jnp.array([0, 1])).mean()

    @jax.jit
    def train(params, state):
        def step(carry, _):
            params, state = carry
            updates, state = rule.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), length=40)[0][0]

    assert float(loss(train(params, rule.init(params)))) < 0.1 < float(loss(params))


def test_pixels_without_convolutions_and_the_json_form():
    cell = frame_encoder((3, 4, 1), channels=(), features=5)
    assert jax.tree.map(jnp.shape, cell.init(jax.random.key(0))["params"]) == {"Dense_0": {"kernel": (12, 5), "bias": (5,)}}
    assert seqjax.from_json(json.loads(json.dumps(seqjax.to_json(cell)))) == cell and cell.module == ConvNet((), 5)
    vectors = frame_encoder((7,), channels=(), features=5)
    assert vectors.project(vectors.init(jax.random.key(0)), jnp.ones((2, 3, 7))).shape == (2, 3, 5)
    assert cell.initial_state({}, (2,)) == () and frame_encoder((3, 4, 1), dropout=0.1).initial_state({}, (2,)).count.shape == (
        2,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (8, 8)}, r"frame_encoder has input_shape=\(8, 8\), it must be \(height, width, channels\)"),
        ({"input_shape": (8, 8, 1), "channels": (4, 0)}, r"ConvNet has channels\[1\]=0, it must be a positive integer"),
        ({"input_shape": (8, 0, 1)}, r"Feedforward has input_shape\[1\]=0, it must be a positive integer"),
        ({"input_shape": (8, 8, 1), "dropout": 1.0}, r"ConvNet has dropout=1\.0, it must be a number of at least 0"),
    ],
)
def test_wrong_shapes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        frame_encoder(**arguments)
