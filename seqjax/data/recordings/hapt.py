"""HAPT: accelerometer and gyroscope of a smartphone worn at the waist, 30 people, 12 activities and postural transitions."""

import re
from pathlib import Path

import numpy as np

from seqjax.checks import check_positive
from seqjax.data.array_files import digest_of, file_in, npz_arrays
from seqjax.data.labels import Labels
from seqjax.data.series import Segment, Series, segment_targets
from seqjax.errors import InputError

RATE = 50.0
TEST_USERS = (2, 4, 9, 10, 12, 13, 18, 20, 24)
BASIC = 6  # the first activities are walking (three), sitting, standing and lying; the others are transitions
ACCELERATION, ROTATION = 0.4, 0.5  # g and rad/s: deviations over all recordings, rounded
CUTOFF = 0.3  # Hz, below which acceleration is gravity
SMALL = 0.01  # in the units of a step: motion of a person who sits or stands


def load(folder, *, every: int = 1, motion: bool = False) -> Series:
    """The 61 recordings, each with an activity a step where it is labelled.

    Args:
        folder: holds hapt_raw_float32.npz, with acc_exp<n>_user<n> (in g) and gyro_exp<n>_user<n> (in rad/s), float [samples, 3];
            labels.txt, of rows experiment, user, activity, first and last sample, counted from 1; and activity_labels.txt.
        every: so many samples are averaged to one step, with the activity of the middle sample.
        motion: whether the features of `with_motion` come too.

    Returns:
        A `Series` of `features` float32 [T, 6], or [T, 12] with motion: acceleration / 0.4 g and angular velocity / 0.5 rad/s; a
        class a step, -1 where none is labelled; 50 / every steps a second. A group is a user; the published split has "train" and
        "test" (the users 2 4 9 10 12 13 18 20 24).

    Raises:
        InputError: a file is missing or has other contents; a segment is reversed, overlaps another or ends beyond its recording;
            a sample is NaN, named with its recording; or every is below 1.

    Reyes-Ortiz, Oneto, Sama, Parra and Anguita, Transition-Aware Human Activity Recognition Using Smartphones, 2015.
    """
    check_positive(every=every)
    paths = [file_in(folder, name, what="HAPT") for name in ("hapt_raw_float32.npz", "labels.txt", "activity_labels.txt")]
    arrays = npz_arrays(paths[0])
    names = sorted(match[1] for name in arrays if (match := re.fullmatch(r"acc_(exp\d+_user\d+)", name)))
    if not names:
        raise InputError(f"{paths[0]} has no array acc_exp<n>_user<n>: give the raw signals")
    signals = [_signal(paths[0], arrays, name) for name in names]
    activities = _rows(paths[2], (int, str))
    classes = Labels(names=tuple(name.lower().replace("_", " ") for _, name in activities))
    segments = []
    for experiment, user, activity, first, last in _rows(paths[1], (int,) * 5):
        if not 1 <= activity <= len(classes):
            raise InputError(f"{paths[1]} has activity {activity}: {paths[2].name} names 1 to {len(classes)}")
        name = f"exp{experiment:02d}_user{user:02d}"
        segments.append(Segment(name, first - 1, last, classes.names[activity - 1], True))
    targets = segment_targets(segments, names, [len(s) for s in signals], [RATE] * len(names), classes.names)
    users = [int(name.rpartition("user")[2]) for name in names]
    is_test = np.isin(users, TEST_USERS)
    averages = [_averaged(signal, every) for signal in signals]
    averages = [with_motion(signal, RATE / every) for signal in averages] if motion else averages
    return Series(
        inputs={"features": averages},
        lengths=np.array([len(signal) for signal in averages]),
        classes=classes,
        targets=tuple(t[every // 2 :: every][: len(s)] for t, s in zip(targets, averages, strict=True)),
        names=tuple(names),
        groups=tuple(f"user{user:02d}" for user in users),
        rate=RATE / every,
        record={
            "source": "HAPT",
            "sha256": digest_of(paths),
            "recordings": len(names),
            "segments": len(segments),
            "every": every,
            "motion": motion,
        },
        splits={"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)},
    )


def load_windows(folder, *, size: int = 128, step: int = 64, every: int = 1, motion: bool = False) -> Series:
    """Windows of the six basic activities, cut inside the labelled segments.

    The published windows of UCI HAR are of the same people, the same length and overlap, but cut elsewhere: numbers are near, not
    the same task.

    Args:
        folder: as for `load`.
        size: steps of a window.
        step: steps from one window to the next in the same segment.
        every: as for `load`; size and step count the averages.
        motion: as for `load`.

    Returns:
        A `Series` with a class a window, with groups and splits as `load` gives.

    Raises:
        InputError: as for `load`, or no segment is as long as a window.
    """
    recordings = load(folder, every=every, motion=motion)
    return recordings.segments().with_classes(*recordings.classes.names[:BASIC]).windows(size, step)


def with_motion(signal: np.ndarray, rate: float) -> np.ndarray:
    """Both sensors, and the part of each that changes fast, its length on a logarithmic scale.

        low_t = low_{t-1} + a (x_t - low_{t-1}),   low_0 = x_0,   a = 1 - exp(-2 pi 0.3 Hz / rate)
        v = x - low,   motion = v asinh(|v| / 0.01) / (2 |v|)

    The small motion that tells standing from sitting is then of the size of a step's. A step reads no later one, so that a stream
    can be prepared alike, and a rotation of both sensors turns all twelve features.

    Args:
        signal: acceleration and angular velocity as `load` gives them, [T, 6].
        rate: steps a second.

    Returns:
        The signal, the motion in the acceleration and that in the angular velocity, float32 [T, 12].

    Example:
        >>> still = with_motion(np.ones((4, 6)), rate=50.0)
        >>> still.shape, float(np.abs(still[:, 6:]).max().round(6))
        ((4, 12), 0.0)
    """
    from scipy.signal import lfilter  # here, since it takes long to import

    signal = np.asarray(signal, np.float64)
    share = 1 - np.exp(-2 * np.pi * CUTOFF / rate)
    low, _ = lfilter([share], [1, share - 1], signal, axis=0, zi=signal[:1] * (1 - share))  # [T, 6]
    fast = (signal - low).reshape(len(signal), -1, 3)  # [T, 2, 3]
    size = np.maximum(np.linalg.norm(fast, axis=-1, keepdims=True), 1e-9)
    motion = fast * np.arcsinh(size / SMALL) / (2 * size)
    return np.concatenate([signal, motion.reshape(signal.shape)], axis=1).astype(np.float32)


def _signal(path, arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Both sensors of a recording, float32 [samples, 6]."""
    sensors = [arrays.get(f"{sensor}_{name}") for sensor in ("acc", "gyro")]
    shapes = [None if sensor is None else sensor.shape for sensor in sensors]
    if shapes[0] != shapes[1] or len(shapes[0] or ()) != 2:
        raise InputError(f"{path}: {name} has acceleration {shapes[0]} and rotation {shapes[1]}: both must be [samples, 3]")
    scaled = [sensor / scale for sensor, scale in zip(sensors, (ACCELERATION, ROTATION), strict=True) if sensor is not None]
    signal = np.concatenate(scaled, axis=1).astype(np.float32)
    if np.isnan(signal).any():
        sample = int(np.flatnonzero(np.isnan(signal).any(axis=1))[0])
        raise InputError(f"{path}: {name} is NaN at sample {sample + 1}: repair it or leave the recording out")
    return signal


def _averaged(signal: np.ndarray, every: int) -> np.ndarray:
    """Averages of so many samples, [T, D]; the rest at the end is left out."""
    steps = len(signal) // every
    return signal[: steps * every].reshape(steps, every, -1).mean(axis=1)


def _rows(path: Path, types: tuple[type, ...]) -> list[tuple]:
    """The rows of a text file, separated by white space."""
    rows = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        try:
            rows.append(tuple(kind(cell) for kind, cell in zip(types, cells, strict=True)))
        except ValueError:
            raise InputError(
                f"{path}, line {number} is {line[:60]!r}: it must have {len(types)} columns, numbers first"
            ) from None
    return rows
