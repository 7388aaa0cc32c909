"""One recording, classified over time: a picture, and the same as JSON."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.online import read_steps
from experiments.scoring import over_time
from seqjax.data.labels import Labels
from seqjax.data.series import Series, read_segments, segment_targets
from seqjax.data.video import open_clip, optical_flow
from seqjax.errors import InputError
from seqjax.inspect import timeline
from seqjax.metrics import segments_of
from seqjax.train import RunFolder
from seqjax.types import Params
from seqjax.writing import warned, write_bytes


class Recording(NamedTuple):
    """One recording.

    Args:
        name: of the file or item.
        arrays: its inputs by the keys of a batch, each [T, ...].
        rate: steps a second, where it is known.
        truth: the class of each step, int [T], -1 where there is none; None: unknown.
    """

    name: str
    arrays: dict[str, np.ndarray]
    rate: float | None
    truth: np.ndarray | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a step of each input."""
        return {word: array.shape[1:] for word, array in self.arrays.items()}

    def batch(self) -> dict[str, np.ndarray]:
        """A batch of one row."""
        lengths = {f"{word}_lengths": np.array([len(array)], np.int32) for word, array in self.arrays.items()}
        return {word: array[None] for word, array in self.arrays.items()} | lengths


def pick_recording(splits: dict[str, Series], split: str, index: int) -> Recording:
    """A recording of a split.

    Raises:
        InputError: there is none.
    """
    if split not in splits or not 0 <= index < len(splits[split]):
        counts = ", ".join(f"{len(items)} {name}" for name, items in splits.items())
        raise InputError(f"there is no recording {index} in the {split} split: the data have {counts}")
    series = splits[split]
    truth = series.targets[index] if series.labels is None and series.targets else None
    if series.labels is not None:
        truth = np.full(int(series.lengths[index]), series.labels[index])
    return Recording(series.names[index], series.read(index), series.rate, truth)


def read_recording(
    path: str,
    shapes: dict[str, tuple[int, ...]],
    *,
    rate: float | None,
    every: int = 1,
    average: bool = False,
    size: tuple[int, int] | None,
) -> Recording:
    """Reads a clip, or a table or .npy of features, as models read it.

    Args:
        path: the file.
        shapes: of the steps that the models read, by the keys of a batch.
        rate: steps a second of a file that states none.
        every: keep one of so many steps.
        average: make one step of features of the mean of so many.
        size: height and width of the frames from which flow is computed, if no model reads frames.

    Raises:
        InputError: the file cannot be read.
    """
    if "features" in shapes:
        steps = list(read_steps(path, "features", shapes["features"], rate=rate or 1.0, every=every, average=average))
        if not steps:
            raise InputError(f"{path} holds no whole step of {shapes['features'][0]} numbers")
        return Recording(path, {"features": np.stack([step.values for step in steps])}, rate and rate / every)
    clip = open_clip(path)
    height, width, channels = shapes.get("frames", (*(size or (clip.height, clip.width)), clip.channels))
    arrays = {"frames": clip.read(step=every, size=(height, width), channels=channels)}
    if "flow" in shapes:
        arrays["flow"] = optical_flow(arrays["frames"], grid=(shapes["flow"][0], shapes["flow"][1]))
    rate = clip.rate or rate
    return Recording(path, arrays, rate and rate / every)


def with_truth(recording: Recording, segments: str, classes: Labels) -> Recording:
    """The recording with the true segments of a CSV or JSON file.

    Raises:
        InputError: the segments do not fit it.
    """
    [steps] = {len(array) for array in recording.arrays.values()}
    [truth] = segment_targets(read_segments(segments), [recording.name], [steps], [recording.rate], classes.names)
    return recording._replace(truth=truth)


def draw_timeline(model: Any, params: Params, recording: Recording, classes: Sequence[str], folder: RunFolder):
    """Draws timeline.png and timeline.json of a recording into a run's folder, if it can."""
    with warned():
        draw_recording(model, params, recording, classes, str(folder.dir / "timeline.png"))


def draw_recording(model: Any, params: Params, recording: Recording, classes: Sequence[str], out: str) -> dict[str, Any]:
    """Draws the timeline of a recording as a PNG, and writes what it shows as JSON beside it.

    Args:
        model: a classifier of whole recordings or of their steps.
        params: its parameters.
        recording: the recording.
        classes: the names of the classes.
        out: the path of the PNG.

    Returns:
        The content of the JSON file, without the scores of every step: segments, and their times.
    """
    scores, rate = over_time(model, params, recording.batch()), recording.rate or 1.0  # [T, C]

    def segments(labels: np.ndarray) -> list[dict[str, Any]]:
        runs = segments_of(labels, background=-1)
        return [{"class": classes[label], "begin": begin / rate, "end": end / rate} for label, begin, end in runs]

    facts: dict[str, Any] = {"recording": recording.name, "unit": "frame" if recording.rate is None else "second"}
    facts["segments"] = segments(scores.argmax(axis=-1))
    if model.unit == "clip":
        facts["class"] = classes[int(scores[-1].argmax())]
        facts["probabilities"] = {name: round(float(p), 4) for name, p in zip(classes, scores[-1], strict=True)}
    if recording.truth is not None:
        facts["truth"] = segments(recording.truth)
    shown = {"frames": recording.arrays.get("frames"), "truth": recording.truth, "title": recording.name}
    timeline(out, classes=classes, scores=scores, rate=recording.rate, **shown)
    more = {"classes": list(classes), "rate": recording.rate, "scores": np.round(scores.astype(float), 4).tolist()}
    write_bytes(pathlib.Path(out).with_suffix(".json"), (json.dumps(facts | more) + "\n").encode())
    return facts
