"""Readers of published data: the files at hand, small files of the same form, and damaged ones."""

import io
import zipfile

import numpy as np
import pytest
from scipy.io import savemat

from seqjax.data.recordings import hapt, jhmdb, salads, ut_interaction, weizmann
from seqjax.data.series import split_series
from seqjax.errors import InputError


def refused(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)


# HAPT.

ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING", "STAND_TO_SIT")


def write_hapt(folder, rows, **arrays):
    generator = np.random.default_rng(0)
    for name, length in (("exp01_user01", 40), ("exp02_user02", 30)):
        for sensor in ("acc", "gyro"):
            arrays.setdefault(f"{sensor}_{name}", generator.normal(size=(length, 3)).astype(np.float32))
    np.savez(folder / "hapt_raw_float32.npz", **arrays)
    (folder / "labels.txt").write_text("".join(f"{row}\n" for row in rows))
    (folder / "activity_labels.txt").write_text("".join(f"{n} {name}   \n" for n, name in enumerate(ACTIVITIES, 1)))
    return folder, arrays


def test_hapt_files(tmp_path):
    rows = ["1 1 5 3 20", "1 1 7 21 24", "1 1 4 25 40", "2 2 1 1 11"]
    folder, arrays = write_hapt(tmp_path, rows)
    series = hapt.load(folder)
    first = np.concatenate([arrays["acc_exp01_user01"] / 0.4, arrays["gyro_exp01_user01"] / 0.5], axis=1)
    np.testing.assert_allclose(series.inputs["features"][0], first, rtol=1e-6)
    target = np.full(40, -1)
    target[2:20], target[20:24], target[24:40] = 4, 6, 3
    np.testing.assert_array_equal(series.targets[0], target)
    assert series.classes.names[1] == "walking upstairs" and series.groups == ("user01", "user02") and series.rate == 50
    slower = hapt.load(folder, every=4)
    assert slower.lengths.tolist() == [10, 7] and slower.rate == 12.5
    np.testing.assert_allclose(slower.inputs["features"][0][3], first[12:16].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(slower.targets[0], target[2::4])
    windows = hapt.load_windows(folder, size=8, step=4)
    expected = [(0, begin, 4) for begin in (2, 6, 10)] + [(0, begin, 3) for begin in (24, 28, 32)] + [(1, 0, 0)]
    assert windows.labels.tolist() == [label for *_, label in expected] and len(windows.classes) == 6
    assert windows.groups == ("user01",) * 6 + ("user02",) and windows.splits["test"].tolist() == [6]
    for item, (n, begin, _) in zip(windows.inputs["features"], expected, strict=True):
        np.testing.assert_array_equal(item, series.inputs["features"][n][begin : begin + 8])


def test_motion_reads_no_later_step_and_turns_with_the_sensors():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(60, 6))
    every_step = hapt.with_motion(signal, 25.0)
    np.testing.assert_array_equal(every_step[:20], hapt.with_motion(signal[:20], 25.0))
    low, share = signal[0], 1 - np.exp(-2 * np.pi * 0.3 / 25)
    for t, step in enumerate(signal):  # the filter as a loop
        low = low + share * (step - low)
        for vector, at in (((step - low)[:3], 6), ((step - low)[3:], 9)):
            length = np.linalg.norm(vector)
            expected = vector / length * np.arcsinh(length / 0.01) / 2 if t else np.zeros(3)
            np.testing.assert_allclose(every_step[t, at : at + 3], expected, atol=1e-5)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = hapt.with_motion((signal.reshape(-1, 3) @ turn).reshape(-1, 6), 25.0)
    np.testing.assert_allclose(turned, (every_step.reshape(-1, 3) @ turn).reshape(-1, 12), atol=1e-5)


def test_wrong_hapt_files_are_refused(tmp_path):
    nan = np.zeros((40, 3), np.float32)
    nan[16, 1] = np.nan
    for rows, arrays, message in [
        (["1 1 5 20 3"], {}, "exp01_user01 19 to 3 frames (standing) ends at or before its begin"),
        (["1 1 5 3 20", "1 1 4 20 30"], {}, "exp01_user01 19 to 30 frames (sitting) overlaps"),
        (["1 1 5 3 41"], {}, "ends beyond the clip"),
        (["3 1 5 3 20"], {}, "exp03_user01 is not among the clips"),
        (["1 1 8 3 20"], {}, "has activity 8: activity_labels.txt names 1 to 7"),
        (["1 1 5 3"], {}, "labels.txt, line 1 is '1 1 5 3': it must have 5 columns"),
        (["1 1 5 3 x"], {}, "labels.txt, line 1 is '1 1 5 3 x'"),
        ([], {"acc_exp01_user01": nan}, "exp01_user01 is NaN at sample 17: repair it or leave the recording out"),
        ([], {"gyro_exp01_user01": nan[:39]}, "has acceleration (40, 3) and rotation (39, 3)"),
    ]:
        folder, _ = write_hapt(tmp_path, rows, **arrays)
        refused(lambda folder=folder: hapt.load(folder), message)
    refused(lambda: hapt.load(tmp_path, every=0), "every is 0")
    np.savez(tmp_path / "hapt_raw_float32.npz", signal=nan)
    refused(lambda: hapt.load(tmp_path), "has no array acc_exp<n>_user<n>")
    (tmp_path / "labels.txt").unlink()
    refused(lambda: hapt.load(tmp_path), "labels.txt is missing: give the folder of HAPT, with its labels.txt")


def test_hapt_as_published(shared_data):
    windows = hapt.load_windows(shared_data("hapt"))
    parts = split_series(windows)
    assert len(windows) == 10411 and np.bincount(windows.labels).tolist() == [1722, 1544, 1407, 1801, 1979, 1958]
    assert {name: len(set(part.groups)) for name, part in parts.items()} == {"train": 19, "valid": 2, "test": 9}
    recordings = hapt.load(shared_data("hapt"), every=5)
    assert len(recordings) == 61 and len(recordings.classes) == 12 and recordings.record["segments"] == 1214
    assert {int(n) for target in recordings.targets for n in np.unique(target)} == set(range(-1, 12))


# Weizmann.


def write_weizmann(folder, **clips):
    savemat(
        folder / "original_masks.mat", {"original_masks": clips or {"ann_run1": blob(), "ann_wave2": blob(), "bob_run": blob()}}
    )
    return folder


def blob(steps=5, height=40, width=20):
    """A rectangle that moves 3 pixels right and 1 up a step, [144, 180, T]."""
    mask = np.zeros((144, 180, steps), np.uint8)
    for t in range(steps):
        mask[60 - t : 60 - t + height, 30 + 3 * t : 30 + 3 * t + width, t] = 1
    return mask


def test_weizmann_files(tmp_path):
    series = weizmann.load(write_weizmann(tmp_path), size=24)
    assert series.names == ("ann_run1", "ann_wave2", "bob_run") and series.groups == ("ann", "ann", "bob")
    assert series.classes.names == ("run", "wave2") and series.labels.tolist() == [0, 1, 0]
    frames, features = series.inputs["frames"][0], series.inputs["features"][0]
    assert frames.shape == (5, 24, 24, 1) and frames.dtype == np.uint8
    assert (frames == frames[0]).all()  # the crop follows the person
    assert frames.sum() / 255 / 5 * 16 == pytest.approx(40 * 20, abs=1)
    assert features[:, :144].sum(axis=1).tolist() == pytest.approx([3 * 800 / 64] * 5)
    begun = weizmann.load(write_weizmann(tmp_path, ann_run=blob()[:, :, :3]), size=24)
    for word, whole in (("frames", frames), ("features", features)):  # no step knows a later one
        np.testing.assert_array_equal(begun.inputs[word][0], whole[:3])
    np.testing.assert_allclose(features[:, 144:], [[0, 0, 40 / 67, 20 / 67]] + [[-0.5, 1.5, 40 / 67, 20 / 67]] * 4, rtol=1e-5)


def test_wrong_weizmann_files_are_refused(tmp_path):
    empty = blob()
    empty[:, :, 3] = 0
    for clips, message in [
        ({"ann_run": empty}, "ann_run has no silhouette in frame 3"),
        ({"run": blob()}, "run is no clip [height, width, T] named <person>_<action>"),
        ({"ann_run": blob()[:, :, 0]}, "ann_run is no clip"),
    ]:
        refused(lambda clips=clips: weizmann.load(write_weizmann(tmp_path, **clips)), message)
    refused(lambda: weizmann.load(tmp_path, size=50), "size is 50, it must divide 96")
    savemat(tmp_path / "original_masks.mat", {"masks": 1})
    refused(lambda: weizmann.load(tmp_path), "has no variable 'original_masks', it has masks")
    savemat(tmp_path / "original_masks.mat", {"original_masks": 1})
    refused(lambda: weizmann.load(tmp_path), "original_masks is no struct of clips")
    (tmp_path / "original_masks.mat").write_bytes(b"nothing at all")
    refused(lambda: weizmann.load(tmp_path), "cannot be read")
    refused(
        lambda: weizmann.load(tmp_path / "none"), "original_masks.mat is missing: give the folder of the Weizmann silhouettes"
    )


def test_weizmann_as_published(shared_data):
    series = weizmann.load(shared_data("weizmann"))
    assert len(series) == 93 and len(series.classes) == 10 and len(series.folds) == 9
    assert np.bincount(series.labels).min() == 9 and series.record["clips"] == 93
    for fold in range(9):
        parts = split_series(series, fold=fold, shares=(1, 0, 0))
        assert set(parts["test"].groups) == {series.folds[fold]} and len(set(parts["train"].groups)) == 8


# JHMDB.


def write_jhmdb(folder, splits):
    """Files of clips by number; clip n is random, 3 + n steps long, of class "even" or "odd"."""
    clips = [np.random.default_rng(n).normal(size=(3 + n, 15, 2)).astype(np.float32) for n in range(6)]
    for split, parts in splits.items():
        for part, numbers in zip(("train", "test"), parts, strict=True):
            pose, length = np.concatenate([clips[n] for n in numbers]), np.array([len(clips[n]) for n in numbers])
            label = np.array([("even", "odd")[n % 2] for n in numbers])
            np.savez(folder / f"GT_{part}_{split}.npz", pose=pose, length=length, label=label)
    return clips


SPLITS = {1: ((0, 1, 2, 3), (4, 5)), 2: ((5, 4, 1, 0), (2, 3)), 3: ((2, 3, 4, 5), (1, 0))}


def test_mirrored_features_are_those_of_the_mirrored_recording(tmp_path):
    pose = np.random.default_rng(0).normal(size=(8, 15, 2))
    mirrored_pose = np.take(pose, jhmdb.MIRRORED, axis=1) * [-1, 1]
    np.testing.assert_allclose(jhmdb.mirror()(jhmdb.pose_features(pose)), jhmdb.pose_features(mirrored_pose), atol=1e-5)
    walk = blob() * (np.arange(180)[:, None] + 60 > 1.5 * np.arange(144)[:, None, None])  # without a corner
    series = weizmann.load(write_weizmann(tmp_path, ann_run=walk, bob_run=walk[:, ::-1]))
    features, mirrored = series.inputs["features"]
    expected = weizmann.mirror()(features)
    np.testing.assert_allclose(mirrored[:, 144:], expected[:, 144:], atol=1e-6)
    # the crop is of an even number of pixels: its middle may lie one beside the silhouette's
    assert np.abs(mirrored[:, :144] - expected[:, :144]).mean() < 0.02 < np.abs(features - mirrored)[:, :144].mean()


def test_jhmdb_files(tmp_path):
    clips = write_jhmdb(tmp_path, SPLITS)
    series = jhmdb.load(tmp_path)
    assert len(series) == 6 and series.folds == ("1", "2", "3") and series.classes.names == ("even", "odd")
    for split, parts in SPLITS.items():
        for part, numbers in zip(("train", "test"), parts, strict=True):
            assert sorted(series.lengths[series.splits[f"{split}/{part}"]] - 3) == sorted(numbers)
    for pose, features in zip(clips, series.inputs["features"], strict=True):
        apart = [[np.hypot(*(joints[a] - joints[b])) for a in range(15) for b in range(a + 1, 15)] for joints in pose]
        apart = np.array(apart)
        for t in range(len(pose)):  # a step knows itself and those before it only
            body = (pose[t] - pose[t].mean(0)) / 0.2
            velocity = (pose[t] - pose[max(t - 1, 0)]) / 0.025
            displacement, changes = (pose[t] - pose[max(t - 5, 0)]) / 0.08, (apart[t] - apart[max(t - 5, 0)]) / 0.11
            parts = [body.ravel(), velocity.ravel(), (apart[t] - 0.35) / 0.2, displacement.ravel(), changes]
            expected = np.concatenate(parts)
            np.testing.assert_allclose(features[t], expected, rtol=1e-4, atol=1e-4)
    assert jhmdb.load(tmp_path, features=("velocity",)).shapes == {"features": (30,)}


def test_wrong_jhmdb_files_are_refused(tmp_path):
    write_jhmdb(tmp_path, SPLITS)
    refused(lambda: jhmdb.load(tmp_path, features=("speed",)), "features are ('speed',): choose of pose, velocity, distances")
    write_jhmdb(tmp_path, {1: ((0, 1, 2), (4, 5))})
    refused(lambda: jhmdb.load(tmp_path), "GT_test_2.npz has a clip of odd that GT_train_1.npz and GT_test_1.npz do not have")
    write_jhmdb(tmp_path, {1: ((0, 1, 2, 3, 4), (4, 5))})
    refused(lambda: jhmdb.load(tmp_path), "group even 4 is in the splits 1/train and 1/test")
    np.savez(tmp_path / "GT_train_1.npz", pose=np.zeros((3, 14, 2)), length=np.array([3]), label=np.array(["a"]))
    refused(lambda: jhmdb.load(tmp_path), "has poses (14, 2) a step: they must be (15, 2)")
    (tmp_path / "GT_test_3.npz").unlink()
    refused(lambda: jhmdb.load(tmp_path), "GT_test_3.npz is missing")


def test_jhmdb_as_published(shared_data):
    series = jhmdb.load(shared_data("jhmdb_pose"))
    assert len(series) == 609 and len(series.classes) == 14 and series.folds == ("1", "2", "3")
    assert [len(series.splits[f"{n}/test"]) for n in (1, 2, 3)] == [176, 176, 175]


# 50 Salads.


def write_salads(folder, videos=2, **changes):
    generator = np.random.default_rng(0)
    for k in range(1, 6):
        variables = {}
        for name in "SYP":
            variables[name] = np.empty((1, videos), object)
        for n in range(videos):
            length = int(generator.integers(4, 9))
            variables["S"][0, n] = generator.normal(size=(length, 3))
            variables["Y"][0, n] = generator.integers(0, 3, (1, length))
            variables["P"][0, n] = variables["S"][0, n].argmax(1)[None]
        savemat(folder / f"Split_{k}.mat", variables | changes)


def test_salads_files(tmp_path):
    write_salads(tmp_path)
    series = salads.load(tmp_path)
    assert len(series) == 10 and series.folds == tuple("12345") and series.classes.names == ("action 0", "action 1", "action 2")
    assert series.splits["2/test"].tolist() == [2, 3] and series.splits["2/train"].tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    shares = []
    for k in range(5):
        own = [np.argmax(series.inputs["features"][n], axis=1) == series.targets[n] for n in (2 * k, 2 * k + 1)]
        shares.append(np.concatenate(own).mean())
    assert series.record["frame_classifier_accuracy"] == pytest.approx(np.mean(shares))


def test_wrong_salads_files_are_refused(tmp_path):
    ragged = np.empty((1, 2), object)
    ragged[0, 0], ragged[0, 1] = np.zeros((1, 1)), np.zeros((1, 1))
    write_salads(tmp_path, Y=ragged)
    refused(lambda: salads.load(tmp_path), "Split_1.mat, video 1 has S (8, 3), Y (1,) and P (8,)")
    write_salads(tmp_path, P=ragged[:, :1])
    refused(lambda: salads.load(tmp_path), "has 2, 2, 1 videos in S, Y, P")
    (tmp_path / "Split_5.mat").unlink()
    refused(lambda: salads.load(tmp_path), "Split_5.mat is missing: give the folder of 50 Salads' scores")


def test_salads_as_published(shared_data):
    series = salads.load(shared_data("50salads_scores") / "mid_video_SVM")
    assert (
        len(series) == 50
        and len(series.classes) == 18
        and series.record["frame_classifier_accuracy"] == pytest.approx(0.5453, abs=1e-3)
    )


# UT-Interaction.


def write_interactions(folder, **changes):
    """Two clips of each of two sequences in each set, of two and three steps."""
    ids = [(s, 10 * s - 10 + q, n, (n + q) % 2) for s in (1, 2) for q in (1, 2) for n in (0, 1)]
    length = np.array([2 + n for *_, n, _ in ids])
    generator = np.random.default_rng(0)
    columns = dict(zip(("set", "sequence", "segment", "label"), np.array(ids).T, strict=True))
    arrays = columns | {
        "length": length,
        "width": np.full(8, 7),
        "label_names": np.array(["hug", "kick"]),
        "feature": generator.integers(-9, 9, (length.sum(), 5)).astype(np.int8),
        "feature_step": np.float32(0.5),
        "flow": generator.integers(-9, 9, (length.sum(), 2, 2, 2)).astype(np.int8),
        "flow_step": np.float32(0.25),
    }
    np.savez(folder / "clips.npz", **arrays | changes)
    return ids, arrays


def write_frames(folder, ids, arrays):
    from PIL import Image

    with zipfile.ZipFile(folder / "frames_72.zip", "w") as file:
        for n in reversed(range(len(ids))):
            s, sequence, segment, label = ids[n]
            for t in range(arrays["length"][n]):
                buffer = io.BytesIO()
                Image.fromarray(np.full((72, 72, 3), 20 * n + 5 * t, np.uint8)).save(buffer, "JPEG", quality=95)
                file.writestr(f"set{s}/{sequence:02d}_{segment:02d}_{label}/{t:03d}.jpg", buffer.getvalue())


def test_interaction_files(tmp_path):
    ids, arrays = write_interactions(tmp_path)
    write_frames(tmp_path, ids, arrays)
    series = ut_interaction.load(tmp_path, inputs=("frames", "features", "flow"))
    assert not series.in_memory and series.shapes == {"frames": (72, 72, 3), "features": (5,), "flow": (2, 2, 2)}
    begin = 0
    for n, length in enumerate(arrays["length"]):
        item = series.read(n)
        np.testing.assert_allclose(item["features"], arrays["feature"][begin : begin + length] * (0.5 / 0.57), rtol=1e-6)
        np.testing.assert_allclose(item["flow"], arrays["flow"][begin : begin + length] * (0.25 / 1.32), rtol=1e-6)
        shades = item["frames"].astype(int)
        assert (abs(shades - (20 * n + 5 * np.arange(length))[:, None, None, None]) <= 2).all()
        assert series.labels[n] == ids[n][3]
        begin += length
    assert series.folds == ("set1-01", "set1-02", "set2-11", "set2-12")
    parts = split_series(series, fold=2, shares=(1, 0, 0))
    assert set(parts["test"].groups) == {"set2-11"} and set(parts["train"].groups) == {"set2-12"}
    coarse = ut_interaction.load(tmp_path, inputs=("flow",), grid=(2, 1)).read(0)["flow"]
    np.testing.assert_allclose(coarse, series.read(0)["flow"].mean(axis=2, keepdims=True), rtol=1e-6)
    assert ut_interaction.load(tmp_path, sets=(2,), inputs=("flow",)).folds == ("set2-11", "set2-12")


def test_wrong_interaction_files_are_refused(tmp_path):
    ids, arrays = write_interactions(tmp_path)
    refused(lambda: ut_interaction.load(tmp_path, inputs=("frames",)), "frames_72.zip is missing")
    refused(lambda: ut_interaction.load(tmp_path, inputs=("width",)), "choose of features, flow, frames, and of 1 and 2")
    refused(lambda: ut_interaction.load(tmp_path, sets=(3,)), "sets (3,)")
    refused(lambda: ut_interaction.load(tmp_path, grid=(2, 3)), "2 x 3 do not divide them")
    write_frames(tmp_path, [*ids[:-1], (2, 12, 9, 0)], arrays)
    refused(lambda: ut_interaction.load(tmp_path, inputs=("frames",)), "has no clip set2/12_01_1, which clips.npz has")
    write_interactions(tmp_path, length=np.full(8, 2))
    refused(lambda: ut_interaction.load(tmp_path), "has 20 steps, its lengths add up to 16")


def test_interactions_as_published(shared_data):
    series = ut_interaction.load(shared_data("ut_interaction"), inputs=("features", "flow", "frames"))
    assert len(series) == 120 and len(series.folds) == 20 and len(series.classes) == 6
    assert series.shapes == {"features": (512,), "flow": (20, 20, 2), "frames": (72, 72, 3)}
    assert series.read(77)["frames"].shape[0] == series.lengths[77]
    for fold in range(20):
        parts = split_series(series.only("features"), fold=fold, shares=(1, 0, 0))
        assert len(parts["test"]) == {5: 5, 7: 7}.get(fold, 6) and len(parts["train"]) + len(parts["test"]) == 60
