"""Late fusion: averages in NumPy, weights fitted on validation data, and online beside offline."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, InputError, from_json, to_json, train
from seqjax.layers import Pooling
from seqjax.models import Classifier, Features, FrameClassifier, LateFusion, fit_weights

D, H, C, T = 3, 4, 3, 5
RNG = np.random.default_rng(0)
LENGTHS = np.array([5, 3, 0], np.int32)
BATCH = {
    "features": RNG.normal(size=(3, T, D)).astype(np.float32),
    "flow": RNG.normal(size=(3, T, D)).astype(np.float32),
    "features_lengths": LENGTHS,
    "flow_lengths": LENGTHS,
    "label": np.array([2, 0, 0], np.int32),
    "target": RNG.integers(0, C, (3, T)).astype(np.int32),
}
ENCODERS = [Features(size=D, cell=GRU(input_size=D, hidden_size=H), name=word) for word in ("features", "flow")]
CLIPS = LateFusion(models=tuple(Classifier(encoder=e, head=Pooling(features=H, classes=C)) for e in ENCODERS), weights=(1, 3))
FRAMES = LateFusion(models=tuple(FrameClassifier(encoder=e, classes=C) for e in ENCODERS))


def draw(model):
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), shapes)


@pytest.mark.parametrize("model", [CLIPS, FRAMES], ids=["clips", "frames"])
@pytest.mark.parametrize("average", ["probability", "log"])
def test_the_mean_of_the_members(model, average):
    """The figures of a fusion are those of its averaged probabilities; padding counts nothing."""
    model = dataclasses.replace(model, average=average)
    params = draw(model)
    p = np.stack([m.probabilities(q, BATCH) for m, q in zip(model.models, params, strict=True)]).astype(np.float64)
    w = np.array(model.weights or (1, 1)) / sum(model.weights or (1, 1))
    mean = np.einsum("m,m...->...", w, p if average == "probability" else np.log(p))
    mean = mean if average == "probability" else np.exp(mean) / np.exp(mean).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.probabilities(params, BATCH), mean, rtol=1e-4)
    clips = model.unit == "clip"
    truth, real = (BATCH["label"], LENGTHS > 0) if clips else (BATCH["target"], np.arange(T) < LENGTHS[:, None])
    figures = train.evaluate(train.make_eval_step(model), model, params, [BATCH])
    expected = np.take_along_axis(mean, truth[..., None], -1)[..., 0][real]
    assert figures["loss"] == pytest.approx(-np.log(expected).mean(), rel=1e-4)
    assert figures["accuracy"] == pytest.approx((mean.argmax(-1) == truth)[real].mean())


@pytest.mark.parametrize("order", [1, -1])
def test_a_frame_counts_if_every_member_has_a_score_for_it(order):
    """With offset 2 no step labels the first two frames of a row; rows have 5, 3 and 0 frames."""
    members = (FRAMES.models[0], dataclasses.replace(FRAMES.models[1], offset=2))
    model = LateFusion(models=members[::order])
    _, outputs = jax.jit(model.apply)(draw(model), BATCH)
    assert np.asarray(outputs.mask).sum(axis=1).tolist() == [3, 1, 0]
    assert float(jax.jit(model.figures)(outputs, BATCH)["loss"].weight) == 4


def test_online_each_member_reads_its_own_word():
    params, words = draw(CLIPS), ("features", "flow")
    state = CLIPS.start(params, 2)
    for t in range(T):
        state, p = CLIPS.step(params, state, {word: jnp.asarray(BATCH[word][:2, t]) for word in words})
    np.testing.assert_allclose(p, CLIPS.probabilities(params, {word: BATCH[word][:2] for word in words}), atol=1e-5)


def test_fitted_weights_are_the_best_of_a_grid():
    p = RNG.dirichlet(np.ones(C), (3, 200))
    labels = RNG.integers(-1, C, 200)
    for model, rows in ((0, np.arange(140)), (1, np.arange(110, 200))):  # the third knows nothing
        p[model, rows, np.maximum(labels[rows], 0)] += 0.8
    p /= p.sum(-1, keepdims=True)
    weights = fit_weights(p, labels)

    def likelihood(w):
        return np.log(np.einsum("m,mnc->nc", w, p)[np.arange(200), labels][labels >= 0]).mean()

    grid = np.linspace(0, 1, 41)
    best = max(likelihood(np.array([a, b, 1 - a - b])) for a in grid for b in grid if a + b <= 1)
    np.testing.assert_allclose(weights.sum(), 1)
    assert weights[2] < 0.05 < 0.2 < weights[1] < weights[0]
    assert likelihood(weights) >= best - 1e-7 and best > likelihood(np.ones(3) / 3)


def test_a_fusion_is_a_value_and_json():
    again = from_json(json.loads(json.dumps(to_json(CLIPS))))
    assert again == CLIPS and hash(again) == hash(CLIPS) and CLIPS.vocabulary_sizes == (C,)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: LateFusion(models=()), "models is 0, it must be at least 1"),
        (
            lambda: LateFusion(models=(CLIPS.models[0], FRAMES.models[0])),
            "models 0 and 1 are a Classifier of 3 classes and a Frame",
        ),
        (
            lambda: LateFusion(models=(FRAMES.models[0], dataclasses.replace(FRAMES.models[1], exclusive=False))),
            "models 0 and 1 are a FrameClassifier of 3 classes and a FrameClassifier of 3 classes, of which several may hold",
        ),
        (lambda: LateFusion(models=(CLIPS, CLIPS)), "a LateFusion cannot be fused: give Classifiers or FrameClassifiers"),
        (lambda: dataclasses.replace(CLIPS, weights=(1.0,)), "a number for each of 2 models"),
        (lambda: dataclasses.replace(CLIPS, weights=(2.0, -1.0)), r"weights\[1\] is -1.0, it must be at least 0"),
        (lambda: CLIPS.probabilities({}, BATCH), "a fusion of 2 models was given a dict"),
        (lambda: fit_weights(np.ones((2, 3, 4)), [0, 1]), r"labels is int64\[2\], it must be integer \[3\]"),
        (lambda: fit_weights(np.ones((2, 1, 4)), [-1]), "no label to fit weights to"),
        (lambda: fit_weights([[[0.5, np.nan]]], [0]), "probabilities hold a NaN, an infinite or a negative number"),
        (lambda: fit_weights([[[0.5, -0.5]]], [0]), "probabilities hold a NaN, an infinite or a negative number"),
        (lambda: fit_weights(np.ones((2, 1, 4)), [4]), "labels holds 4, the probabilities are of 4 classes"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, line):
    with pytest.raises(InputError, match=line):
        make()
