"""Convolutions over time against loops in float64, row by row; causality, dropout, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import Convolution, DilatedConvNet, InputError, TemporalConvNet, masked_max, unroll
from seqjax.models import Features, Symbols
from tests.catalog import leaving

LENGTHS = np.array([9, 6, 0, 1])
STEPS = 9


def loop_convolution(p, xs, causal=False, dilation=1):
    """[T, D] to [T, F], tap by tap."""
    kernel, steps = np.asarray(p["kernel"], np.float64), len(xs)
    offset = len(kernel) - 1 if causal else (len(kernel) - 1) // 2
    ys = np.tile(np.asarray(p["bias"], np.float64), (steps, 1))
    for t in range(steps):
        for k, weights in enumerate(kernel):
            if 0 <= t + (k - offset) * dilation < steps:
                ys[t] += xs[t + (k - offset) * dilation] @ weights
    return ys


def loop_widths(layer, params, xs):
    parts = [loop_convolution(params[str(i)], xs, layer.causal, layer.dilation) for i in range(len(layer.widths))]
    return np.tanh(np.concatenate(parts, axis=1))


def loop_encoder_decoder(layer, params, xs):
    """ED-TCN of one row, its length rounded up with zeros; beyond the row everything is 0."""

    def block(name, xs, length):
        ys = np.maximum(loop_convolution(params[name], xs, layer.causal), 0)
        ys = np.stack([y / (y.max() + 1e-5) for y in ys])
        ys[length:] = 0
        return ys

    lengths, levels = [len(xs)], len(layer.filters)
    xs = np.concatenate([xs, np.zeros((-len(xs) % 2**levels, xs.shape[1]))])
    for i in range(levels):
        xs = block(f"encoder_{i}", xs, lengths[-1])
        first = -1 if layer.causal else 0
        pairs = [[xs[t] for t in (2 * j + first, 2 * j + first + 1) if t >= 0] for j in range(len(xs) // 2)]
        xs = np.stack([np.max(pair, axis=0) for pair in pairs])
        lengths.append((lengths[-1] + 1) // 2)
        xs[lengths[-1] :] = 0
    for i in reversed(range(levels)):
        xs = np.stack([xs[t // 2] for t in range(2 * len(xs))])
        xs = block(f"decoder_{i}", xs, lengths[i])
    return xs[: lengths[0]]


def loop_dilated(layer, params, xs):
    xs = loop_convolution(params["input"], xs)
    for i in range(layer.depth):
        hs = np.maximum(loop_convolution(params[f"conv_{i}"], xs, layer.causal, 2**i), 0)
        xs = xs + loop_convolution(params[f"out_{i}"], hs)
    return xs


LAYERS = {
    "widths": (Convolution(input_size=3, features=2, widths=(1, 2, 5), activation="tanh"), loop_widths),
    "dilated": (Convolution(input_size=3, features=2, widths=(3,), dilation=2, activation="tanh"), loop_widths),
    "encoder_decoder": (TemporalConvNet(input_size=3, filters=(8, 6), width=4), loop_encoder_decoder),
    "residual": (DilatedConvNet(input_size=3, hidden_size=4, depth=3), loop_dilated),
}
LAYERS |= {f"{name}_causal": (dataclasses.replace(layer, causal=True), loop) for name, (layer, loop) in LAYERS.items()}


def perturbed(layer):
    rng = np.random.default_rng(0)
    params = jax.jit(layer.init)(jax.random.key(0))
    return jax.tree.map(lambda a: np.asarray(a, np.float64) + 0.3 * rng.normal(size=a.shape), params)


@pytest.mark.parametrize("name", leaving("widths", "dilated_causal", "encoder_decoder", "encoder_decoder_causal", of=LAYERS))
def test_a_padded_row_is_the_loop_over_that_row_alone(name, x64):
    layer, loop = LAYERS[name]
    params = perturbed(layer)
    xs = np.random.default_rng(1).normal(size=(len(LENGTHS), STEPS, 3))
    xs[np.arange(STEPS) >= LENGTHS[:, None]] = np.nan

    @jax.jit
    def both(params, xs):
        return [unroll(layer, params, xs, lengths=jnp.asarray(LENGTHS), reverse=reverse)[1] for reverse in (False, True)]

    for ys, order in zip(both(params, xs), (1, -1), strict=True):
        for y, x, length in zip(np.asarray(ys), xs, LENGTHS, strict=True):
            assert not y[length:].any()
            if length:
                expected = loop(layer, params, x[:length][::order])[::order]
                np.testing.assert_allclose(y[:length], expected, rtol=1e-10, atol=1e-10)
                assert length == 1 or len(np.unique(expected.round(6), axis=0)) > 1


@pytest.mark.parametrize(
    "layer", [TemporalConvNet(input_size=3, filters=(32, 32), width=4), DilatedConvNet(input_size=3, hidden_size=4, depth=3)]
)
def test_only_causal_layers_see_no_later_step(layer):
    xs = np.random.default_rng(1).normal(size=(1, 11, 3)).astype(np.float32)
    changed = np.repeat(xs, 11, axis=0)  # row t differs from step t on
    changed[np.arange(11)[None] >= np.arange(11)[:, None]] += 1
    for causal in (True, False):
        layer = dataclasses.replace(layer, causal=causal)
        params = jax.tree.map(jnp.float32, perturbed(layer))
        ys = np.asarray(unroll(layer, params, np.concatenate([xs, changed]))[1])
        moved = np.abs(ys[1:] - ys[:1]).max(axis=2) > 1e-4  # [change at t, output step]
        earlier = np.tril(moved, -1)
        assert moved[:9].any(axis=1).all() and earlier.any() != causal


def test_dilated_blocks_read_as_many_steps_as_they_say():
    layer = DilatedConvNet(input_size=1, hidden_size=4, depth=3, causal=True)  # (3 - 1) (2 ** 3 - 1) + 1 = 15 steps
    params = jax.tree.map(jnp.abs, layer.init(jax.random.key(0)))  # nothing cancels
    impulse = jnp.zeros((1, 20, 1)).at[0, 2].set(1.0)
    ys = np.asarray(unroll(layer, params, impulse)[1] - unroll(layer, params, jnp.zeros_like(impulse))[1])
    assert np.flatnonzero(np.abs(ys[0]).max(axis=1) > 1e-6).tolist() == list(range(2, 17))


def test_dropout_drops_features_of_a_row_at_all_its_steps():
    layer = TemporalConvNet(input_size=3, filters=(40,), width=1, dropout=0.4)
    params = layer.init(jax.random.key(0))
    params["decoder_0"]["kernel"] = jnp.abs(params["decoder_0"]["kernel"])
    state, ys = unroll(layer, params, jnp.ones((3, 6, 3)), lengths=jnp.array([6, 6, 4]), key=jax.random.key(1))
    dropped = np.asarray(ys) == 0
    assert (dropped[:2] == dropped[:2, :1]).all() and (dropped[2, :4] == dropped[2, :1]).all()
    rates = dropped[:, 0].mean(axis=1)
    assert len(np.unique(dropped[:, 0], axis=0)) == 3 and (rates > 0.15).all() and (rates < 0.65).all()
    assert state.count.tolist() == [6, 6, 4]


def test_convolutions_read_a_source_for_an_encoder():
    encoder = Symbols(size=9, embedding_size=4, cell=Convolution(input_size=4, features=3, widths=(3, 4, 5)))
    batch = {"source": jnp.array([[3, 4, 5, 0], [6, 7, 8, 4]]), "source_lengths": jnp.array([3, 4])}
    params = encoder.init(jax.random.key(0))
    encoded = encoder.encode(params, batch)
    assert masked_max(encoded.values, mask=encoded.mask).shape == (2, 9)
    alone = encoder.encode(params, {"source": batch["source"][:1, :3], "source_lengths": jnp.array([3])})
    np.testing.assert_allclose(encoded.values[:1, :3], alone.values, rtol=1e-5, atol=1e-6)
    encoder = Features(size=3, cell=TemporalConvNet(input_size=3, filters=(4,), width=3))
    assert encoder.encode(encoder.init(jax.random.key(0)), {"features": jnp.ones((2, 5, 3))}).values.shape == (2, 5, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Convolution(input_size=3, features=2, widths=()), "Convolution has no widths: give at least one"),
        (lambda: Convolution(input_size=3, features=2, widths=(3, 0)), r"Convolution has widths\[1\]=0, it must be a positive"),
        (lambda: Convolution(input_size=3, features=2, activation="sine"), "activation='sine', it must be one of 'tanh', 'relu'"),
        (lambda: TemporalConvNet(input_size=3, filters=()), "TemporalConvNet has no filters: give at least one level"),
        (lambda: TemporalConvNet(input_size=3, filters=(4, -1)), r"TemporalConvNet has filters\[1\]=-1"),
        (
            lambda: DilatedConvNet(input_size=3, hidden_size=4, dropout=1.0),
            r"DilatedConvNet has dropout=1\.0, it must be a number of at least 0",
        ),
        (lambda: DilatedConvNet(input_size=3, hidden_size=4, depth=0), "DilatedConvNet has depth=0"),
    ],
)
def test_wrong_fields_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_reset_is_refused():
    layer = Convolution(input_size=3, features=2)
    with pytest.raises(InputError, match="Convolution takes no reset: give each sequence a row of its own"):
        unroll(layer, layer.init(jax.random.key(0)), jnp.ones((1, 4, 3)), reset=jnp.zeros((1, 4), bool))
