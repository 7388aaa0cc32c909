"""The four shapes of the lectures, each in a few lines, as docs/lectures.md shows them."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import GRU, LSTM, Bidirectional, Dense, Stack, last, masked_max, masked_mean, unroll

XS = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 3)), jnp.float32)
LENGTHS = jnp.array([6, 2])


def init(part):
    return jax.jit(part.init)(jax.random.key(0))


def test_one_to_many():
    """An image vector starts the state; each output is the next input (captioning)."""
    cell = GRU(input_size=4, hidden_size=4)
    params, image = init(cell), jnp.ones((2, 4))

    def step(carry, _):
        state, y = carry
        state, y = cell.step(params, state, y)
        return (state, y), y

    start = cell.initial_state(params, (2,))._replace(h=image)
    _, ys = jax.lax.scan(step, (start, jnp.zeros((2, 4))), length=5)
    assert ys.shape == (5, 2, 4)
    assert not np.allclose(ys[0], ys[1])


def test_many_to_one():
    """A sequence to one vector: the last real step, a mean or a maximum (sentiment, action recognition)."""
    cell = LSTM(input_size=3, hidden_size=4)
    params = init(cell)
    state, ys = unroll(cell, params, XS, lengths=LENGTHS)
    np.testing.assert_allclose(last(ys, LENGTHS), state.h, rtol=1e-6)
    np.testing.assert_allclose(masked_mean(ys, LENGTHS)[1], ys[1, :2].mean(0), rtol=1e-5)
    np.testing.assert_allclose(masked_max(ys, LENGTHS)[1], ys[1, :2].max(0), rtol=1e-6)
    assert masked_max((1000 * ys).astype(int), LENGTHS).tolist()[1] == (1000 * ys[1, :2]).astype(int).max(0).tolist()
    for pool in (last, masked_mean, masked_max):  # unbatched, as `unroll` gives it for [T, D]
        np.testing.assert_allclose(pool(ys[1], 2), pool(ys, LENGTHS)[1], rtol=1e-6)
        np.testing.assert_allclose(pool(ys[1], batched=False), pool(ys)[1], rtol=1e-6)


def test_aligned_many_to_many():
    """One output a step (frame labels): a stack that ends in the readout y = W_hy h + b_y."""
    network = Stack((LSTM(input_size=3, hidden_size=4), Dense(4, 7)))
    _, logits = unroll(network, init(network), XS, lengths=LENGTHS)
    assert logits.shape == (2, 6, 7)
    assert not logits[1, 2:].any()


def test_encoder_decoder():
    """The encoder's last state starts the decoder (translation); a bidirectional encoder ends in two states."""
    encoder, decoder = GRU(input_size=3, hidden_size=4), GRU(input_size=2, hidden_size=4)
    enc, dec = init(encoder), init(decoder)
    summary, _ = unroll(encoder, enc, XS, lengths=LENGTHS)
    _, ys = unroll(decoder, dec, jnp.ones((2, 3, 2)), summary)
    alone, _ = unroll(encoder, enc, XS[1, :2])
    _, row = unroll(decoder, dec, jnp.ones((3, 2)), alone)
    np.testing.assert_allclose(ys[1], row, rtol=1e-5, atol=1e-6)

    layer = Bidirectional(encoder)
    (forward, backward), _ = unroll(layer, init(layer), XS, lengths=LENGTHS)
    assert forward.h.shape == backward.h.shape == (2, 4)


def test_reductions_of_a_row_without_steps_are_zero():
    ys, lengths = jnp.full((1, 3, 2), jnp.nan), jnp.array([0])
    for reduce in (last, masked_mean, masked_max):
        assert reduce(ys, lengths).tolist() == [[0.0, 0.0]]
        grads = jax.jit(jax.grad(lambda y, r=reduce: r(y, lengths).sum()))(ys)
        assert grads.tolist() == np.zeros((1, 3, 2)).tolist()
        assert reduce(ys[:, :0]).tolist() == [[0.0, 0.0]]
