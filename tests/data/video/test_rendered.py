"""Rendered clips: the two classes of a pair show the same frames, splits share no figure, and draws depend on the seed alone."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ks_2samp

from seqjax.data.splits import SPLITS
from seqjax.data.video import optical_flow, render_series
from seqjax.data.video.actions import CLASSES, HIGH, IDLE, LOW, one_action, several_actions
from seqjax.data.video.figures import figures_of
from seqjax.data.video.rendered import draw_clip
from seqjax.errors import InputError


@pytest.mark.parametrize("length", [16, 24, 25, 30])
@pytest.mark.parametrize("first", range(0, len(CLASSES), 2))
def test_both_actions_of_a_pair_pass_through_the_same_poses(first, length):
    for seed in range(3):
        one, other = (one_action(CLASSES[n], length, np.random.default_rng(seed)) for n in (first, first + 1))
        assert one.shape == (length, 4) and np.abs(one - other).max() > 0.05
        order = np.lexsort(one.round(9).T), np.lexsort(other.round(9).T)
        np.testing.assert_allclose(one[order[0]], other[order[1]], atol=1e-9)
        if CLASSES[first] not in ("sway", "hop"):
            np.testing.assert_array_equal(one, other[::-1])


def test_both_actions_of_a_pair_show_the_same_frames():
    """Without the noise, which is drawn for each frame alone."""
    figure = figures_of("train")[1][0]
    for first in range(0, len(CLASSES), 2):
        bags = []
        for action in CLASSES[first : first + 2]:
            poses = one_action(action, 20, np.random.default_rng(1))
            frames = [draw_clip(figure, pose[None], (32, 32), np.random.default_rng(2)) for pose in poses]
            bags.append(sorted(frame.tobytes() for frame in frames))
        # sin of equal phases may differ in the last place, which may move a pixel by 1
        same = np.frombuffer(b"".join(bags[0]), np.uint8).astype(int) - np.frombuffer(b"".join(bags[1]), np.uint8)
        assert bags[0] == bags[1] or np.abs(same).max() <= 1 or _paired_by_nearest(*bags)


def _paired_by_nearest(one, other):
    one, other = (np.stack([np.frombuffer(frame, np.uint8) for frame in bag]).astype(int) for bag in (one, other))
    return all(np.abs(other - frame).max(1).min() <= 1 for frame in one)


def test_in_long_clips_the_poses_of_a_pair_have_one_distribution():
    poses = {name: [] for name in CLASSES}
    first_scales = {name: [] for name in CLASSES}
    for seed in range(1200):
        path, names = several_actions(5, (10, 10), None, np.random.default_rng(seed))
        assert len(path) == len(names) == 50
        for n in range(0, 50, 10):  # a frame of each action, at a random time
            poses[names[n]].append(path[n + seed % 10])
            first_scales[names[n]].append(path[n, 3])
    for first in range(0, len(CLASSES), 2):
        one, other = (np.array(poses[name]) for name in CLASSES[first : first + 2])
        for coordinate in range(4):
            assert ks_2samp(one[:, coordinate], other[:, coordinate]).pvalue > 1e-3, (CLASSES[first], coordinate)
    assert ks_2samp(*(np.array(first_scales[name]) for name in ("grow", "shrink"))).pvalue < 1e-3  # the test would notice


def test_actions_of_a_long_clip_follow_each_other_without_jumps():
    for seed in range(20):
        path, names = several_actions(4, (20, 30), (4, 6), np.random.default_rng(seed))
        assert names[0] == names[-1] == IDLE
        edges = np.flatnonzero([a != b for a, b in pairwise(names)])
        for edge in edges:
            span = (HIGH - LOW) * np.array([0.5, 0.5, 0.5, 0.5])
            assert (np.abs(path[edge + 1] - path[edge]) < span).all()
        for t in range(1, len(names)):
            if names[t] == names[t - 1] == IDLE:
                np.testing.assert_array_equal(path[t], path[t - 1])


def test_a_series_depends_on_its_seed_alone():
    one, same, other = (render_series(seed, (12, 6, 6))["train"] for seed in (3, 3, 4))
    assert one.record == same.record and one.record["sha256"] != other.record["sha256"]
    frames = one.inputs["frames"]
    for n in (0, 7):
        np.testing.assert_array_equal(frames[n], same.inputs["frames"][n])
        np.testing.assert_array_equal(same.inputs["frames"].read(n, 3, 9), frames[n][3:9])
        np.testing.assert_array_equal(render_series(3, (12, 6, 6))["train"].inputs["frames"].read(n, 3, 9), frames[n][3:9])
    assert one.labels is not None and sorted(one.labels) == list(range(12))
    assert frames[0].shape == (one.lengths[0], 32, 32, 1) and frames[0].dtype == np.uint8


def test_long_clips_have_a_target_for_every_frame():
    series = render_series(0, (4, 2, 2), kind="long", size=(24, 40), actions=(2, 3))["train"]
    assert series.labels is None and series.targets is not None and series.classes.names == (*CLASSES, IDLE)
    for n, target in enumerate(series.targets):
        assert len(target) == series.lengths[n] and target.min() >= 0
        assert series.inputs["frames"][n].shape == (len(target), 24, 40, 1)
    moving = render_series(0, (4, 2, 2), kind="long", flow=True, grid=(3, 4))["train"]
    assert moving.inputs["flow"].read(0, 5, 9).shape == (4, 3, 4, 2) and moving.identity != series.identity
    still = render_series(0, (4, 2, 2), kind="long", idle=False)["train"]
    assert still.classes.names == CLASSES


def test_no_figure_is_in_two_splits():
    names = {split: set(figures_of(split)[0]) for split in SPLITS}
    images = {split: {image.tobytes() for image in figures_of(split)[1]} for split in SPLITS}
    assert sum(map(len, names.values())) == len(set.union(*names.values())) == 1797 + 600
    assert not images["train"] & images["test"] and not images["train"] & images["valid"]
    splits = render_series(0, (60, 60, 60))
    groups = {split: set(series.groups) for split, series in splits.items()}
    assert not groups["train"] & groups["test"] and not groups["valid"] & groups["test"]
    for kind in ("digit", "person"):
        assert any(name.startswith(kind) for name in groups["test"])


@pytest.mark.slow
def test_frames_without_order_tell_nothing_and_with_it_much():
    """Ridge classifiers on the mean frame, and on mean flow over time."""
    splits = render_series(0, (240, 1, 120))
    scores = {}
    for name in ("bag", "flow"):
        features, labels = [], []
        for split in ("train", "test"):
            series = splits[split]
            rows = []
            for frames in series.inputs["frames"]:
                if name == "bag":
                    rows.append(np.concatenate([frames.mean(0).ravel(), frames.std(0).ravel()]))
                else:
                    flow = optical_flow(frames)[:-1].mean((1, 2))
                    rows.append(np.concatenate([part.mean(0) for part in np.array_split(flow, 4)] + [np.abs(flow).mean(0)]))
            features.append(np.stack(rows))
            labels.append(series.labels)
        mean, scale = features[0].mean(0), features[0].std(0) + 1e-6
        train, test = (np.c_[(rows - mean) / scale, np.ones(len(rows))] for rows in features)
        onehot = np.eye(len(CLASSES))[labels[0]]
        dual = np.linalg.solve(train @ train.T + 10 * np.eye(len(train)), onehot)
        scores[name] = float(((test @ (train.T @ dual)).argmax(1) == labels[1]).mean())
    assert scores["bag"] < 0.35 and scores["flow"] > 0.4 and scores["flow"] > scores["bag"] + 0.15, scores


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"clips": (1, 2)}, "give three numbers"),
        ({"clips": (1, 0, 2)}, "give three numbers"),
        ({"kind": "short"}, "kind is 'short'"),
        ({"frames": (9, 8)}, "at least 8 frames"),
        ({"seed": -1}, "seed of at least 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, line):
    with pytest.raises(InputError, match=line):
        render_series(**({"seed": 0, "clips": (1, 1, 1)} | arguments))
