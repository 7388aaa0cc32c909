"""JHMDB's annotated poses, as packed for DD-Net (Yang et al., 2019): clips of 15 joints in two dimensions, three splits."""

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

from seqjax.data.array_files import digest_of, file_in, npz_arrays, parts_of
from seqjax.data.labels import Labels
from seqjax.data.series import Mirror, Series
from seqjax.errors import InputError

JOINTS = 15
# neck, belly and face, then shoulders, hips, elbows, knees, wrists and ankles, of each the right one first
MIRRORED = (0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13)
FEATURES = ("pose", "velocity", "distances", "displacement", "changes")
SPAN = 5  # steps of displacement and changes
# Deviations, or a mean and a deviation, over the training clips of split 1, rounded; but for CHANGE, set by hand, which leaves
# the changes a deviation of 0.6.
POSE, VELOCITY, DISTANCE, DISPLACEMENT, CHANGE = 0.2, 0.025, (0.35, 0.2), 0.08, 0.11


def load(folder, *, features: Sequence[str] = FEATURES) -> Series:
    """The clips of all three splits, each once.

    Every feature of a step depends on this step and those before it only, so that a stream gives the same numbers; the first
    step stands for those before it:

        pose            (joint - mean of the joints) / 0.2                               30
        velocity        (joint - joint one step before) / 0.025                          30
        distances       (distance of two joints - 0.35) / 0.2                           105
        displacement    (joint - joint five steps before) / 0.08                         30
        changes         (distance of two joints - that five steps before) / 0.11        105

    Args:
        folder: holds GT_train_1.npz to GT_test_3.npz, each with `pose` float [all steps, 15, 2], `length` int [clips] and
            `label`, the clips' classes.
        features: a choice of "pose", "velocity", "distances", "displacement", "changes".

    Returns:
        A `Series` of `features` float32 [T, D] with a class each, 30 steps a second; published splits "1/train" to "3/test".
        The files name no videos or people, so that each clip is its own group.

    Raises:
        InputError: a file is missing or has other arrays, a clip of split 2 or 3 is not in split 1, or a feature is not known.

    Yang, Sakti, Wu and Nakamura, Make Skeleton-based Action Recognition Model Smaller, Faster and Better, 2019; Jhuang et al.,
    Towards understanding action recognition, 2013.
    """
    _check(features)
    poses, labels, places, splits = [], [], {}, {}
    paths = [file_in(folder, f"GT_{part}_{n}.npz", what="JHMDB's poses") for n in (1, 2, 3) for part in ("train", "test")]
    for path in paths:
        arrays = npz_arrays(path, ("pose", "length", "label"))
        if arrays["pose"].shape[1:] != (JOINTS, 2) or arrays["label"].shape != arrays["length"].shape:
            raise InputError(f"{path} has poses {arrays['pose'].shape[1:]} a step: they must be ({JOINTS}, 2), one label a clip")
        _, part, split = path.stem.split("_")
        indices = []
        for pose, label in zip(parts_of(path, arrays["pose"], arrays["length"]), arrays["label"], strict=True):
            key = hashlib.sha256(pose.tobytes()).digest()
            if key not in places:
                if split != "1":
                    raise InputError(f"{path} has a clip of {label} that GT_train_1.npz and GT_test_1.npz do not have")
                places[key] = len(poses)
                poses.append(pose)
                labels.append(str(label))
            indices.append(places[key])
        splits[f"{split}/{part}"] = np.array(indices)
    classes = Labels.of(labels)
    names = tuple(f"{label} {n}" for n, label in enumerate(labels))
    return Series(
        inputs={"features": [pose_features(pose, features) for pose in poses]},
        lengths=np.array([len(pose) for pose in poses]),
        classes=classes,
        labels=np.array([classes.index(label) for label in labels]),
        names=names,
        rate=30.0,
        record={"source": "JHMDB poses", "sha256": digest_of(paths), "clips": len(poses), "features": ",".join(features)},
        splits=splits,
    )


def pose_features(pose: np.ndarray, features: Sequence[str] = FEATURES) -> np.ndarray:
    """Features of a clip's poses, as `load` says.

    Args:
        pose: float, [T, J, 2].
        features: a choice of "pose", "velocity", "distances", "displacement", "changes".

    Returns:
        float32, [T, D].

    Raises:
        InputError: a feature is not known.

    Example:
        >>> pose_features(np.zeros((4, 15, 2))).shape
        (4, 300)
    """
    _check(features)
    steps, joints = pose.shape[:2]
    first, second = np.triu_indices(joints, 1)
    before = np.maximum(np.arange(steps) - SPAN, 0)  # [T]
    distances = np.linalg.norm(pose[:, first] - pose[:, second], axis=-1)  # [T, J (J - 1) / 2]
    parts = {
        "pose": (pose - pose.mean(1, keepdims=True)) / POSE,  # [T, J, 2]
        "velocity": np.diff(pose, axis=0, prepend=pose[:1]) / VELOCITY,  # [T, J, 2]
        "distances": (distances - DISTANCE[0]) / DISTANCE[1],
        "displacement": (pose - pose[before]) / DISPLACEMENT,  # [T, J, 2]
        "changes": (distances - distances[before]) / CHANGE,
    }
    return np.concatenate([parts[name].reshape(steps, -1) for name in features], axis=1).astype(np.float32)


def mirror(features: Sequence[str] = FEATURES) -> Mirror:
    """The mirror image of features, left for right: that of the pose with x negated and right and left joints exchanged.

    Args:
        features: as in `load`.

    Raises:
        InputError: a feature is not known.
    """
    _check(features)
    joints = Mirror(tuple(2 * joint + axis for joint in MIRRORED for axis in (0, 1)), (-1, 1) * JOINTS)
    pairs = list(itertools.combinations(range(JOINTS), 2))
    places = {frozenset(pair): n for n, pair in enumerate(pairs)}
    distances = Mirror(tuple(places[frozenset((MIRRORED[a], MIRRORED[b]))] for a, b in pairs), (1,) * len(pairs))
    return Mirror.joined([distances if name in ("distances", "changes") else joints for name in features])


def _check(features: Sequence[str]):
    if not features or not set(features) <= set(FEATURES):
        raise InputError(f"features are {tuple(features)}: choose of {', '.join(FEATURES)}")
