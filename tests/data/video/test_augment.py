"""Laws of augmentation: over a clip and its flow alike."""

import cv2
import numpy as np
import pytest

from seqjax.data.series import Mirror
from seqjax.data.video import Augment, optical_flow, render_series
from seqjax.data.video.augment import crop, flip, thin
from seqjax.errors import InputError


@pytest.fixture(scope="module")
def clip():
    """A rendered clip that moves, enlarged so that Farneback's method is accurate, and its flow."""
    series = render_series(0, (12, 1, 1), size=(64, 64))["train"]
    assert series.labels is not None
    frames = series.inputs["frames"][int(np.flatnonzero(series.labels == series.classes.index("cross right"))[0])]
    frames = np.stack([cv2.GaussianBlur(frame, (5, 5), 0) for frame in frames])[..., None]
    return {"frames": frames, "flow": optical_flow(frames), "target": np.arange(len(frames))}


def moving(flow):
    return np.linalg.norm(flow, axis=-1) > 0.5


def test_a_flip_twice_changes_nothing(clip):
    twice = flip(flip(clip))
    for name, array in clip.items():
        np.testing.assert_array_equal(twice[name], array)
    assert (flip(clip)["flow"][..., 0].mean() < 0) and clip["flow"][..., 0].mean() > 0


def test_the_flow_of_a_flipped_clip_is_the_flipped_flow(clip):
    flipped = flip(clip)
    flow = optical_flow(flipped["frames"])
    np.testing.assert_allclose(flow, flipped["flow"], atol=0.05)
    wrong = clip["flow"][:, :, ::-1]  # u not turned round
    assert np.abs(flow - wrong).max() > 1


def test_the_flow_of_an_enlarged_clip_is_the_enlarged_flow(clip):
    part = crop(clip, 0.1, 0.1, 0.8, 0.8)
    flow = optical_flow(part["frames"])
    inside = moving(flow) & moving(part["flow"])
    assert inside.sum() > 500
    error = np.linalg.norm(flow - part["flow"], axis=-1)[inside]
    scaled = np.linalg.norm(flow, axis=-1)[inside]
    assert np.median(error) < 0.1 * np.median(scaled)
    unscaled = np.linalg.norm(flow - part["flow"] * 0.8, axis=-1)[inside]
    assert np.median(unscaled) > 1.5 * np.median(error)


def test_a_crop_of_everything_changes_nothing_and_a_quarter_is_enlarged(clip):
    np.testing.assert_array_equal(crop(clip, 0, 0, 1, 1)["frames"], clip["frames"])
    quarter = crop({"frames": clip["frames"]}, 0.5, 0.25, 0.5, 0.5)["frames"]
    frame = clip["frames"][0, 32:, 16:48, 0]
    expected = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.abs(quarter[0, 2:-2, 2:-2, 0].astype(int) - expected[2:-2, 2:-2]).max() <= 3
    with pytest.raises(InputError, match="does not lie in the frame"):
        crop(clip, 0.5, 0, 0.6, 1)


def test_flow_is_summed_over_a_frame_step(clip):
    thinned = thin(clip, 1, 2)
    assert thinned["target"].tolist() == list(range(1, len(clip["frames"]), 2))
    flow = optical_flow(thinned["frames"])
    inside = moving(flow) & moving(thinned["flow"])
    inside[-1] = False
    assert not thinned["flow"][-1].any()
    ratio = np.median(np.linalg.norm(thinned["flow"], axis=-1)[inside]) / np.median(np.linalg.norm(flow, axis=-1)[inside])
    assert 0.8 < ratio < 1.25
    brute = np.stack([clip["flow"][t : t + 2].sum(0) for t in range(1, len(clip["flow"]) - 2, 2)])
    np.testing.assert_allclose(thinned["flow"][: len(brute)], brute, rtol=1e-6)


def test_augmentation_is_a_function_of_the_generator(clip):
    augment = Augment(crop=0.7, flip=0.5, steps=3)
    results = [augment(clip, np.random.default_rng(seed)) for seed in (0, 0, *range(1, 20))]
    for name in clip:
        np.testing.assert_array_equal(results[0][name], results[1][name])
    steps = {int(np.diff(result["target"])[0]) for result in results}
    assert steps == {1, 2, 3} and {int(result["target"][0]) for result in results} == {0, 1, 2}
    rightward = [result["flow"][..., 0].mean() > 0 for result in results]
    assert any(rightward) and not all(rightward)
    for result in results:
        assert len({len(array) for array in result.values()}) == 1
        assert {name: array.dtype for name, array in result.items()} == {name: array.dtype for name, array in clip.items()}
    np.testing.assert_array_equal(Augment()(clip, np.random.default_rng(0))["frames"], clip["frames"])
    short = Augment(steps=9, shortest=8)({"frames": clip["frames"][:10]}, np.random.default_rng(0))
    assert len(short["frames"]) == 10


@pytest.mark.parametrize("fields", [{"crop": 0.0}, {"flip": 1.5}, {"steps": 0}])
def test_wrong_augmentation_is_refused(fields):
    with pytest.raises(InputError, match=r"it must be (above 0 and at most 1|from 0 to 1|from 1 to)"):
        Augment(**fields)


def test_features_are_flipped_by_their_mirror_image():
    item = {"features": np.array([[3.0, 4.0]]), "target": np.array([1])}
    flipped = Augment(flip=1.0, mirror=Mirror((1, 0), (1, -1)))(item, np.random.default_rng(0))
    assert flipped["features"].tolist() == [[4.0, -3.0]] and flipped["target"].tolist() == [1]
    with pytest.raises(InputError, match="their mirror image is not known"):
        Augment(flip=1.0)(item, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"shape \(1, 2\), this mirror image is one of \[T, 3\]"):
        flip(item, Mirror((0, 1, 2), (1, 1, 1)))
    with pytest.raises(InputError, match="must be a permutation"):
        Mirror((0, 0), (1, 1))


def test_flow_is_that_of_a_moving_texture():
    rng = np.random.default_rng(0)
    texture = cv2.normalize(cv2.GaussianBlur(rng.random((80, 80)), (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    frames = np.stack([texture[20 - 2 * t : 60 - 2 * t, 20 + 3 * t : 60 + 3 * t] for t in range(4)])[..., None]
    flow = optical_flow(frames, grid=(4, 5))
    assert flow.shape == (4, 4, 5, 2) and flow.dtype == np.float32 and not flow[3].any()
    np.testing.assert_allclose(flow[:3, 1:3, 1:4], np.broadcast_to([-3, 2], (3, 2, 3, 2)), atol=0.3)
    whole = optical_flow(frames)
    np.testing.assert_allclose(flow, whole.reshape(4, 4, 10, 5, 8, 2).mean((2, 4)), atol=1e-4)
    rgb = np.repeat(frames, 3, -1)
    np.testing.assert_allclose(optical_flow(rgb), whole, atol=0.05)
    with pytest.raises(InputError, match=r"frames are float64 \[4, 40, 40, 1\]"):
        optical_flow(frames / 255)
