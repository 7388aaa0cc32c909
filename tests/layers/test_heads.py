"""Heads over frame features: the equations of Ng et al. in NumPy, masks, and online beside offline."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import InputError, from_json, to_json
from seqjax.layers import LatePooling, LocalPooling, Pooling, ScoreAveraging, SlowPooling, TimeConvolution

F, C, T = 3, 4, 11
LENGTHS = (11, 7, 2, 0)
SIZES = {"features": F, "classes": C}
HEADS = {
    "conv": Pooling(**SIZES, hidden=(5,)),
    "mean": Pooling(**SIZES, reduce="mean"),
    "last": Pooling(**SIZES, reduce="last"),
    "late": LatePooling(**SIZES, hidden=(5, 6)),
    "slow": SlowPooling(**SIZES, hidden=(5,), size=4, stride=3),
    "local": LocalPooling(**SIZES, hidden=(5,), windows=3),
    "convolution": TimeConvolution(**SIZES, hidden=(5,), filters=6, size=4, stride=2),
    "uniform": ScoreAveraging(**SIZES, hidden=(5,)),
    "linear": ScoreAveraging(**SIZES, average="linear", gain="linear"),
    "final": ScoreAveraging(**SIZES, average="last", gain="last"),
    "greatest": ScoreAveraging(**SIZES, average="max"),
}
every_head = pytest.mark.parametrize("name", HEADS)


def draw(head, dtype=np.float64):
    """Parameters drawn in NumPy, biases too."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(head.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(dtype), shapes)


def relu(x):
    return np.maximum(x, 0)


def layers(params, x):
    """ReLU layers but for the last, and the last."""
    for i in range(len(params) - 1):
        x = relu(x @ params[str(i)]["kernel"] + params[str(i)]["bias"])
    return x, lambda x: x @ params[str(len(params) - 1)]["kernel"] + params[str(len(params) - 1)]["bias"]


def covering(length, size, stride):
    """The windows that cover a clip, as ranges of frames."""
    windows, start = [], 0
    while not windows or windows[-1].stop < length:
        windows.append(range(start, min(start + size, length)))
        start += stride
    return windows


def predict(head, params, clip):
    """Scores [K, C] of one clip [L, F] with L > 0."""
    if isinstance(head, Pooling):
        pooled = {"max": clip.max(0), "mean": clip.mean(0), "last": clip[-1]}[head.reduce]
        hidden, last = layers(params, pooled)
        return last(hidden)[None]
    if isinstance(head, LatePooling):
        hidden, last = layers(params, clip)
        return last(hidden.max(0))[None]
    if isinstance(head, SlowPooling):
        hidden, last = layers(params, np.stack([clip[w].max(0) for w in covering(len(clip), head.size, head.stride)]))
        return last(hidden.max(0))[None]
    if isinstance(head, LocalPooling):
        cuts = [(i * len(clip) / head.windows, (i + 1) * len(clip) / head.windows) for i in range(head.windows)]
        hidden, last = layers(params, np.stack([clip[int(np.floor(a)) : int(np.ceil(b))].max(0) for a, b in cuts]))
        return last(hidden.ravel())[None]
    if isinstance(head, TimeConvolution):
        kernel, bias = params["convolution"]["kernel"], params["convolution"]["bias"]
        ys = [sum(clip[t] @ kernel[t - w.start] for t in w) for w in covering(len(clip), head.size, head.stride)]
        params = {name: layer for name, layer in params.items() if name != "convolution"}
        hidden, last = layers(params, relu(np.stack(ys) + bias).max(0))
        return last(hidden)[None]
    hidden, last = layers(params, clip)
    return last(hidden)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def weights(how, length):
    w = {"uniform": np.ones(length), "linear": np.arange(1, length + 1) / length, "last": np.eye(length)[-1]}[how]
    return w / w.sum()


def combine(head, scores):
    """The clip's probabilities, from the scores [K, C]."""
    p = softmax(scores)
    if len(p) > 1 and head.average == "max":
        return p.max(0) / p.max(0).sum()
    return p[0] if not isinstance(head, ScoreAveraging) else weights(head.average.replace("max", "last"), len(p)) @ p


@every_head
def test_a_head_equals_its_equations(name, x64):
    """Clips of unequal length; NaN in padding reaches no score, no probability and no gradient."""
    head = HEADS[name]
    params = draw(head)
    hs = np.random.default_rng(1).normal(size=(len(LENGTHS), T, F))
    mask = np.arange(T) < np.array(LENGTHS)[:, None]
    padded = np.where(mask[..., None], hs, np.nan)

    @jax.jit
    def everything(params, hs):
        def loss(params, hs):
            scores, real = head.apply(params, hs, mask), jnp.asarray(mask)
            return (head.gains(real).astype(scores.dtype)[..., None] * jax.nn.log_softmax(scores)).sum(), scores

        (_, scores), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, hs)
        return scores, head.gains(jnp.asarray(mask)), head.probabilities(scores, jnp.asarray(mask)), grads

    scores, gains, probabilities, grads = everything(params, jnp.asarray(padded))
    assert scores.dtype == jnp.float64
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((scores[:3], probabilities, grads)))
    assert not grads[1][~mask].any()
    for row, length in enumerate(LENGTHS):
        if not length:
            assert not gains[row].any()
            continue
        expected = predict(head, params, hs[row, :length])
        np.testing.assert_allclose(scores[row, : len(expected)], expected, rtol=1e-9)
        np.testing.assert_allclose(probabilities[row], combine(head, expected), rtol=1e-6)
        gain = weights(head.gain, length) if isinstance(head, ScoreAveraging) else np.ones(1)
        np.testing.assert_allclose(gains[row, : len(gain)], gain, rtol=1e-6)
        np.testing.assert_allclose(gains[row].sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["conv", "mean", "last", "late", "uniform", "linear", "final", "greatest"])
def test_online_equals_offline_at_every_frame(name):
    """The probabilities after t frames are those of the clip that ends there."""
    head = HEADS[name]
    params = draw(head, np.float32)
    hs = jnp.asarray(np.random.default_rng(2).normal(size=(T, F)), jnp.float32)
    beginnings = jnp.tril(jnp.ones((T, T), bool))

    @jax.jit
    def both(params, hs):
        _, online = jax.lax.scan(lambda state, h: head.step(params, state, h[None]), head.start(params, 1), hs)
        scores = head.apply(params, jnp.broadcast_to(hs[None], (T, T, F)), beginnings)
        return online[:, 0], head.probabilities(scores, beginnings)

    np.testing.assert_allclose(*both(params, hs), atol=1e-6)


@every_head
def test_clips_without_a_step_have_no_weight(name):
    """A batch may be padded to no step at all."""
    head = HEADS[name]
    hs, mask = jnp.zeros((2, 0, F)), jnp.zeros((2, 0), bool)
    scores = head.apply(draw(head, np.float32), hs, mask)
    assert not head.gains(mask).any() and np.isfinite(head.probabilities(scores, mask)).all()


@pytest.mark.parametrize("name", ["slow", "local", "convolution"])
def test_a_head_that_needs_the_whole_clip_says_so(name):
    head = HEADS[name]
    with pytest.raises(InputError, match=f"{type(head).__name__} needs the whole clip, so it cannot run online"):
        head.start({}, 1)


@pytest.mark.parametrize("name", ["late", "local", "uniform"])
def test_dropout_is_fed_by_the_key(name):
    head = dataclasses.replace(HEADS[name], dropout=0.5)
    params, hs, mask = draw(head, np.float32), jnp.ones((2, T, F)), jnp.ones((2, T), bool)
    apply = jax.jit(head.apply)
    one, again, other = (apply(params, hs, mask, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other) and not np.allclose(one, apply(params, hs, mask))


@every_head
def test_a_head_is_a_value_and_json(name):
    again = from_json(json.loads(json.dumps(to_json(HEADS[name]))))
    assert again == HEADS[name] and hash(again) == hash(HEADS[name])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Pooling(**SIZES, reduce="sum"), "reduce='sum', it must be one of 'max', 'mean', 'last'"),
        (lambda: LatePooling(**SIZES), "LatePooling has no hidden layer"),
        (lambda: SlowPooling(**SIZES, hidden=(5,), size=3, stride=4), "stride=4, it must be at most size=3"),
        (lambda: ScoreAveraging(**SIZES, gain="max"), "gain='max', it must be one of 'uniform', 'linear', 'last'"),
        (lambda: Pooling(**SIZES, dropout=1.0), "Pooling has dropout=1.0, it must be a number of at least 0 and below 1"),
        (lambda: Pooling(features=0, classes=2), "features=0, it must be a positive integer"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, line):
    with pytest.raises(InputError, match=line):
        make()
