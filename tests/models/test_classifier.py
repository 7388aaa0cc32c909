"""Classifiers of clips and of frames: losses in NumPy, padding, and online beside offline."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import (
    GRU,
    LSTM,
    Bidirectional,
    Chain,
    Convolution,
    Dense,
    Elman,
    Feedforward,
    InputError,
    Stack,
    Standardize,
    from_json,
    to_json,
)
from seqjax.layers import LatePooling, LocalPooling, Pooling, ScoreAveraging
from seqjax.losses import focal, margin_ranking, score_ranking
from seqjax.models import Classifier, Features, FrameClassifier, Symbols
from tests.catalog import Patches

D, H, C, T = 3, 4, 3, 6
RNG = np.random.default_rng(0)
LENGTHS = np.array([6, 3, 0])
XS = RNG.normal(size=(3, T, D)).astype(np.float32)
BATCH = {"features": XS, "features_lengths": LENGTHS, "label": np.array([2, 0, 0])}
CONVOLUTIONS = Feedforward(Patches(3), input_shape=(4, 4, 1))
SCALED = Standardize((0.1, -0.2, 0.3), (2.0, 0.5, 1.5))
LSTMS = Features(size=D, cell=Stack((SCALED, *Stack.of(LSTM, (D, H, H), dropout=0.2).cells)))
CLIPS = {
    "lstm": Classifier(encoder=LSTMS, head=Pooling(features=H, classes=C)),
    "averaged": Classifier(encoder=LSTMS, head=ScoreAveraging(features=H, classes=C, average="linear", gain="linear")),
    "frame_by_frame": Classifier(encoder=Features(size=D), head=ScoreAveraging(features=D, classes=C, hidden=(5,))),
    "tokens": Classifier(
        encoder=Symbols(size=7, embedding_size=2, cell=Elman(input_size=2, hidden_size=H), name="tokens"),
        head=Pooling(features=H, classes=C, reduce="last"),
    ),
    "frames": Classifier(
        encoder=Features(size=(4, 4, 1), name="frames", cell=Stack((CONVOLUTIONS, GRU(input_size=3, hidden_size=H)))),
        head=LatePooling(features=H, classes=C, hidden=(5,)),
    ),
}
FRAMES = FrameClassifier(encoder=LSTMS, classes=C, hidden=(5,), dropout=0.3)


@functools.cache
def draw(model):
    """Parameters drawn in NumPy, biases too. Nothing is compiled."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) * 0.5, a.dtype), shapes)


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_the_loss_is_the_mean_over_clips():
    """Each clip weighs 1 (times its class's weight) whatever its length; a padding row weighs nothing."""
    weights, smoothing = (0.5, 1.0, 3.0), 0.1
    model = dataclasses.replace(CLIPS["averaged"], class_weights=weights, label_smoothing=smoothing)
    _, outputs = jax.jit(model.apply)(draw(model), BATCH)
    figures = model.figures(outputs._replace(training=jnp.ones(())), BATCH)
    total = 0.0
    for row, length in enumerate(LENGTHS):
        label, log_p = BATCH["label"][row], log_softmax(outputs.scores[row, :length])
        gain = np.arange(1, length + 1) / max(np.arange(1, length + 1).sum(), 1)
        nats = -(1 - smoothing) * log_p[:, label] - smoothing * log_p.mean(-1)
        total += weights[label] * (gain * nats).sum()
    np.testing.assert_allclose(figures["loss"].sum, total, rtol=1e-5)
    assert float(figures["loss"].weight) == pytest.approx(2)
    evaluated = model.figures(outputs, BATCH)["loss"].sum
    assert float(evaluated) == pytest.approx(float(dataclasses.replace(model, label_smoothing=0.0).loss(outputs, BATCH).sum))
    assert float(evaluated) != pytest.approx(total, rel=1e-3), "smoothing is for training alone"
    right = (np.asarray(outputs.probabilities).argmax(-1) == BATCH["label"])[:2].sum()
    assert (float(figures["accuracy"].sum), float(figures["accuracy"].weight)) == (right, 2.0)


@pytest.mark.parametrize("model", [CLIPS["averaged"], FRAMES], ids=["clips", "frames"])
def test_padding_reaches_nothing(model):
    """NaN beyond the lengths changes no figure and no gradient."""
    target = {"target": RNG.integers(0, C, (3, T)), "target_mask": np.arange(T) < LENGTHS[:, None]}
    padded = BATCH | target | {"features": np.where((np.arange(T) < LENGTHS[:, None])[..., None], XS, np.nan)}

    @jax.jit
    def step(params, batch):
        def loss(params):
            figures = model.figures(model.apply(params, batch, key=jax.random.key(3))[1], batch)
            return figures["loss"].mean, figures

        return jax.grad(loss, has_aux=True)(params)

    clean, dirty = step(draw(model), BATCH | target), step(draw(model), padded)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(dirty))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)


def test_the_loss_of_frames_counts_labelled_frames():
    target, labelled = RNG.integers(-1, C, (3, T)), np.arange(T) < np.array([5, 3, 2])[:, None]
    batch = BATCH | {"target": target, "target_mask": labelled}
    labelled = labelled & (target >= 0)  # a negative class is none
    _, outputs = jax.jit(FRAMES.apply)(draw(FRAMES), batch)
    counted = labelled & (np.arange(T) < LENGTHS[:, None])
    log_p = np.take_along_axis(log_softmax(outputs.scores), np.maximum(target, 0)[..., None], -1)[..., 0]
    figures = FRAMES.figures(outputs, batch)
    np.testing.assert_allclose(figures["loss"].sum, -log_p[counted].sum(), rtol=1e-5)
    assert float(figures["loss"].weight) == float(figures["accuracy"].weight) == counted.sum()
    right = np.asarray(outputs.scores).argmax(-1) == target
    assert float(figures["accuracy"].sum) == right[counted].sum()
    with pytest.raises(InputError, match=r"target is int64\[3, 2\], it must be integer \[3, 6\]"):
        FRAMES.loss(outputs, batch | {"target": target[:, :2]})


@pytest.mark.parametrize(("ranking", "loss"), [("score", score_ranking), ("margin", margin_ranking)])
def test_the_ranking_loss_is_added_with_its_weight(ranking, loss):
    model = dataclasses.replace(FRAMES, ranking=ranking, ranking_weight=0.7, focal=2.0)
    target = jnp.asarray(np.repeat(RNG.integers(0, C, (3, 2)), 3, axis=1))
    batch = BATCH | {"target": target}
    _, outputs = jax.jit(FRAMES.apply)(draw(FRAMES), batch)
    figures, mask = model.figures(outputs, batch), np.arange(T) < LENGTHS[:, None]
    expected = focal(outputs.scores, target, jnp.asarray(mask)).mean + 0.7 * loss(outputs.scores, target, jnp.asarray(mask)).mean
    np.testing.assert_allclose(figures["loss"].mean, expected, rtol=1e-5)
    assert float(figures["loss"].weight) == float(figures["ranking"].weight) == 9


def test_classes_that_do_not_exclude_each_other():
    model = dataclasses.replace(FRAMES, exclusive=False)
    target, mask = RNG.integers(0, 2, (3, T, C)).astype(bool), np.arange(T) < LENGTHS[:, None]
    batch = BATCH | {"target": target}
    _, outputs = jax.jit(model.apply)(draw(model), batch)
    p, figures = 1 / (1 + np.exp(-np.asarray(outputs.scores, np.float64))), model.figures(outputs, batch)
    np.testing.assert_allclose(outputs.probabilities, p, rtol=1e-5)
    nats = -np.where(target, np.log(p), np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(figures["loss"].sum, nats[mask].sum(), rtol=1e-5)
    assert float(figures["loss"].weight) == mask.sum()
    np.testing.assert_allclose(figures["accuracy"].mean, ((p > 0.5) == target)[mask].mean(), rtol=1e-6)


def online(model, params, xs):
    """The probabilities after every step, [B, T, C]."""
    step = jax.jit(model.step)
    state, steps = model.start(params, len(xs)), []
    for t in range(xs.shape[1]):
        state, probabilities = step(params, state, xs[:, t])
        steps.append(probabilities)
    assert step._cache_size() == 1, "a step changed the structure, a shape or a dtype of the state"
    return np.stack(steps, 1)


@pytest.mark.parametrize("name", CLIPS)
def test_clips_online_equal_clips_offline(name):
    """After every frame, the probabilities are those of the clip cut off there."""
    model = CLIPS[name]
    word = model.encoder.name
    frames = RNG.integers(0, 256, (2, T, 4, 4, 1)).astype(np.uint8)
    xs = jnp.asarray({"tokens": RNG.integers(0, 7, (2, T)), "features": XS[:2], "frames": frames}[word])
    steps = online(model, draw(model), xs)
    for t in (0, 2, T - 1):
        batch = {word: xs, f"{word}_lengths": jnp.array([t + 1, t + 1])}
        np.testing.assert_allclose(steps[:, t], model.probabilities(draw(model), batch), atol=1e-5)


def test_frames_online_equal_frames_offline():
    batch = {"features": XS[:2]}
    np.testing.assert_allclose(online(FRAMES, draw(FRAMES), XS[:2]), FRAMES.probabilities(draw(FRAMES), batch), atol=1e-5)


def test_a_sequence_in_pieces_is_the_sequence_in_one():
    """The summary of a piece is the state of the next."""
    params = draw(FRAMES)["encoder"]
    whole = LSTMS.encode(params, {"features": jnp.asarray(XS)})
    first = LSTMS.encode(params, {"features": jnp.asarray(XS[:, :4])})
    second = LSTMS.encode(params, {"features": jnp.asarray(XS[:, 4:])}, state=first.summary)
    np.testing.assert_allclose(jnp.concatenate([first.values, second.values], 1), whole.values, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), second.summary, whole.summary)


@pytest.mark.parametrize(
    ("cell", "head", "line"),
    [
        (Bidirectional(GRU(input_size=D, hidden_size=2)), Pooling, "Bidirectional reads whole sequences, so it cannot read"),
        (Chain((Dense(D, D), Bidirectional(GRU(input_size=D, hidden_size=2)))), Pooling, "Bidirectional reads whole sequences"),
        (Convolution(input_size=D, features=4, causal=True), Pooling, "Convolution reads whole sequences"),
        (GRU(input_size=D, hidden_size=4), LocalPooling, "LocalPooling needs the whole clip"),
    ],
)
def test_online_parts_that_read_whole_sequences_are_refused(cell, head, line):
    model = Classifier(encoder=Features(size=D, cell=cell), head=head(features=4, classes=C))
    with pytest.raises(InputError, match=line):
        model.start(draw(model), 1)


@pytest.mark.parametrize("model", [*CLIPS.values(), FRAMES], ids=[*CLIPS, "frames"])
def test_a_classifier_is_a_value_and_json(model):
    again = from_json(json.loads(json.dumps(to_json(model))))
    assert again == model and hash(again) == hash(model)
    assert model.vocabulary_sizes == ((7, C) if "tokens" in model.encoder.name else (C,))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: Classifier(encoder=LSTMS, head=Pooling(features=5, classes=C)),
            "the head reads 5 features, the encoder gives 4",
        ),
        (lambda: Classifier(encoder=LSTMS.cell, head=Pooling(features=4, classes=C)), "the encoder is a Stack"),  # pyright: ignore
        (lambda: Classifier(encoder=LSTMS, head=LSTMS), "the head is a Features, it must be a Head"),  # pyright: ignore
        (lambda: dataclasses.replace(CLIPS["lstm"], class_weights=(1.0,)), "a number for each of 3 classes"),
        (lambda: dataclasses.replace(FRAMES, class_weights=(1, np.inf, 1)), r"class_weights\[1\] is inf, it must be"),
        (lambda: dataclasses.replace(FRAMES, focal=-1.0), "focal is -1.0, it must be at least 0 and finite"),
        (lambda: dataclasses.replace(FRAMES, label_smoothing=1.5), "has label_smoothing=1.5, it must be a number"),
        (lambda: dataclasses.replace(FRAMES, dropout=1.0), "FrameClassifier has dropout=1.0, it must be a number"),
        (lambda: dataclasses.replace(CLIPS["lstm"], focal=2.0, label_smoothing=0.1), "focal=2.0 and label_smoothing=0.1"),
        (lambda: dataclasses.replace(FRAMES, ranking="both"), "ranking='both', it must be one of None, 'score', 'margin'"),
        (lambda: dataclasses.replace(FRAMES, exclusive=False, ranking="score"), "exclusive=False has no ranking"),
        (lambda: Features(size=(2, 2, 3)), r"Features of shape \(2, 2, 3\) need a cell"),
        (lambda: Features(size=(2, 3), cell=LSTM(input_size=D, hidden_size=H)), r"cell reads \(3,\), size is \(2, 3\)"),
        (lambda: FrameClassifier(encoder=LSTMS, classes=0), "classes=0, it must be a positive integer"),
        (lambda: CLIPS["lstm"].probabilities(draw(CLIPS["lstm"]), {}), 'the batch has no "features"'),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, line):
    with pytest.raises(InputError, match=line):
        make()
