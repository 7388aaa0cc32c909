"""Laws of the augmentation of sensor signals."""

import numpy as np
import pytest

from seqjax.data.series import Distortion
from seqjax.data.series.augment import rotation_matrix, stretch
from seqjax.errors import InputError


@pytest.fixture(scope="module")
def item():
    rng = np.random.default_rng(1)
    return {"features": rng.normal(size=(40, 6)).astype(np.float32), "target": np.arange(40)}


def lengths_of_vectors(features):
    return np.linalg.norm(features.reshape(len(features), -1, 3), axis=-1)


def test_a_rotation_turns_about_its_axis_by_its_angle():
    rng = np.random.default_rng(2)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    matrix = rotation_matrix(axis, 0.7)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix @ axis, axis, atol=1e-12)
    across = np.cross(axis, [1.0, 0, 0])
    across /= np.linalg.norm(across)
    np.testing.assert_allclose(matrix @ across, np.cos(0.7) * across + np.sin(0.7) * np.cross(axis, across), atol=1e-12)


def test_a_rotation_keeps_lengths_and_the_angle_between_the_sensors(item):
    turned = Distortion(rotation=20.0)(item, np.random.default_rng(0))["features"]
    assert np.abs(turned - item["features"]).max() > 0.1
    np.testing.assert_allclose(lengths_of_vectors(turned), lengths_of_vectors(item["features"]), rtol=1e-5)
    between = [(array[:, :3] * array[:, 3:]).sum(1) for array in (turned, item["features"])]
    np.testing.assert_allclose(*between, atol=1e-5)


def test_angles_factors_and_noise_have_their_deviations():
    rng, ones = np.random.default_rng(3), {"features": np.ones((1, 3))}
    factors = [Distortion(scale=0.1)(ones, rng)["features"][0, 0] for _ in range(2000)]
    np.testing.assert_allclose([np.mean(factors), np.std(factors)], [1, 0.1], atol=0.01)
    noise = Distortion(noise=0.3)({"features": np.zeros((2000, 3))}, rng)["features"]
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.3], atol=0.02)
    # of a rotation by angle a about a random axis, E tr R = 1 + 2 E cos a, and E cos a = exp(-s^2 / 2) of a normal angle
    frame = {"features": np.eye(3)}
    cosines = [(np.trace(Distortion(rotation=30.0)(frame, rng)["features"]) - 1) / 2 for _ in range(2000)]
    np.testing.assert_allclose(np.mean(cosines), np.exp(-(np.radians(30) ** 2) / 2), atol=0.01)


def test_without_settings_nothing_changes(item):
    same = Distortion()(item, np.random.default_rng(0))
    assert all(np.array_equal(same[name], item[name]) for name in item)
    same = stretch(item, 0.0, 1.0)
    assert all(np.array_equal(same[name], item[name]) for name in item)


def test_another_speed_reads_the_signal_at_other_places(item):
    line = {"features": np.arange(11, dtype=np.float32)[:, None], "target": np.arange(11)}
    fast = stretch(line, 1.0, 1.5)
    np.testing.assert_allclose(fast["features"][:, 0], [1, 2.5, 4, 5.5, 7, 8.5, 10])
    assert fast["target"].tolist() == [1, 2, 4, 6, 7, 8, 10]
    for seed in range(20):
        changed = Distortion(speed=0.3)(item, np.random.default_rng(seed))
        assert 40 / 1.3 - 1 <= len(changed["features"]) == len(changed["target"]) <= 40
        assert changed["features"].dtype == np.float32
    one = Distortion(speed=0.3)({"features": np.ones((1, 3), np.float32)}, np.random.default_rng(0))
    assert one["features"].tolist() == [[1.0, 1.0, 1.0]]


def test_draws_depend_on_the_generator_alone(item):
    distort = Distortion(rotation=5.0, scale=0.1, noise=0.1, speed=0.2)
    first, again, other = (distort(item, np.random.default_rng(seed))["features"] for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or np.abs(first - other).max() > 0


def test_settings_outside_their_range_are_refused(item):
    for settings in ({"rotation": -1.0}, {"scale": 1.0}, {"noise": -0.1}, {"speed": 1.0}, {"noise": np.nan}):
        with pytest.raises(InputError, match=r"it must be (from 0 to 180|at least 0)"):
            Distortion(**settings)
    with pytest.raises(InputError, match=r"features are \[4\], a rotation turns vectors of three"):
        Distortion(rotation=5.0)({"features": np.ones((2, 4))}, np.random.default_rng(0))
