"""The probabilities that a classifier gives to every item of a series, with their figures and pictures."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from seqjax import metrics
from seqjax.data.series import Series
from seqjax.errors import InputError
from seqjax.inspect import accuracy_curves, confusion
from seqjax.metrics import Detection, EarlyDetection, Segment
from seqjax.train import RunFolder
from seqjax.types import Params
from seqjax.writing import warned

OVERLAPS = (0.1, 0.25, 0.5)  # of detections, for mAP
SHARES = [n / 10 for n in range(1, 11)]  # of an item or activity, seen before an early prediction


def predict_all(model: Any, params: Params, batches: Iterable[dict]) -> list[np.ndarray]:
    """The class probabilities of every item, in the order of the data.

    Args:
        model: a classifier: `probabilities(params, batch)` are float [B, C] of whole sequences, or [B, T, C] of their steps.
        params: its parameters.
        batches: evaluation batches, with `index` int [B], -1 at padding rows, and the lengths of what the model reads.

    Returns:
        For each item an array [C], or [T_n, C] of its real steps.
    """
    items: dict[int, np.ndarray] = {}
    for batch in batches:
        scores = np.asarray(model.probabilities(params, batch))  # [B, C] or [B, T, C]
        for index, row, length in zip(batch["index"], scores, lengths_of(batch), strict=True):
            if index >= 0:
                items[int(index)] = row[:length] if row.ndim == 2 else row
    return [items[index] for index in sorted(items)]


class Scores:
    """The probabilities that a classifier gives to a series.

    Args:
        model: a classifier of whole items or of their steps, or a fusion of several.
        params: its parameters.
        series: the items; without `labels`, it is their steps that have classes.
        batches: evaluation batches of the series.
    """

    def __init__(self, model: Any, params: Params, series: Series, batches: Iterable[dict]):
        self._model, self._params, self._series, self._batches = model, params, series, batches
        self.items = self._predict()  # [C], or [T, C], of each item

    @property
    def flat(self) -> np.ndarray:
        """The probabilities of all items, [N, C], or of all their steps, strung together."""
        return np.stack(self.items) if self._by_item else np.concatenate(self.items)

    @property
    def truths(self) -> np.ndarray:
        """The classes that belong to `flat`, int [N], -1 where there is none."""
        return np.asarray(self._series.labels) if self._by_item else np.concatenate(self._series.targets or ())

    def figures(self) -> dict[str, float]:
        """Accuracies of items, and of whole recordings if items are windows; or of steps, with edit score, F1 and mAP."""
        if self._by_item:
            counts = {"accuracy": 1} | ({"hit_at_5": 5} if len(self._series.classes) > 5 else {})
            figures = {name: metrics.hit_at(self.flat, self.truths, count) for name, count in counts.items()}
            whole = [name.rpartition("[")[0] or name for name in self._series.names]
            if len(set(whole)) < len(whole) and self._series.targets is None:  # the windows of a recording have one class
                scores, labels = metrics.video_scores(self.flat, self.truths, whole)
                figures |= {f"video_{name}": metrics.hit_at(scores, labels, count) for name, count in counts.items()}
        else:
            guesses = [scores.argmax(axis=-1) for scores in self.items]
            figures = metrics.segmentation_scores(self._series.targets or (), guesses)
            figures = {"accuracy": figures.pop("frame_accuracy")} | figures
            for overlap in OVERLAPS:
                figures[f"map_{100 * overlap:.0f}"] = metrics.mean_average_precision(self._segments(), self._detected(), overlap)
        return figures | {"mean_class_accuracy": metrics.mean_class_accuracy(self.confusion())}

    def confusion(self) -> np.ndarray:
        """Counts of each class taken for each, a row for a true one, int [C, C]."""
        known = self.truths >= 0
        return metrics.confusion_matrix(self.truths[known], self.flat.argmax(axis=-1)[known], len(self._series.classes))

    def early(self) -> EarlyDetection | None:
        """Accuracy and score of the true class after a tenth, two tenths ... of an activity; None if the model looks ahead."""
        if not self._by_item:
            causal = is_causal(self._model, self._params)
            return metrics.early_detection(self.items, self._segments(), SHARES) if causal else None
        seen = np.stack([self._predict(lambda batch, share=share: shortened(batch, share)) for share in SHARES])  # [10, N, C]
        truths = [[Segment(int(label), 0, len(SHARES))] for label in self.truths]
        return metrics.early_detection(list(seen.swapaxes(0, 1)), truths, SHARES)

    def draw(self, folder: RunFolder, name: str) -> dict[str, list[float]]:
        """Draws confusion-<name>.png and early-<name>.png into a run's folder, if it can; returns the early curves by name."""
        with warned():
            confusion(folder.dir / f"confusion-{name}.png", self.confusion(), self._series.classes.names)
        early = self.early()
        if early is None:
            return {}
        curves = {figure: (100 * early.fractions, getattr(early, figure)) for figure in ("accuracy", "score")}
        draw_curves(folder, f"early-{name}", curves, xlabel="% seen", ylabel="accuracy, score")
        return {"early_shares": SHARES, "early_accuracy": early.accuracy.tolist(), "early_score": early.score.tolist()}

    @property
    def _by_item(self) -> bool:
        return self._series.labels is not None

    def _predict(self, change: Callable[[dict], dict] = dict) -> list[np.ndarray]:
        return predict_all(self._model, self._params, map(change, self._batches))

    def _segments(self) -> list[list[Segment]]:
        return [metrics.segments_of(target, background=-1) for target in self._series.targets or ()]

    def _detected(self) -> list[list[Detection]]:
        """The segments of the likeliest class, without the steps that have no class."""
        detected = []
        for scores, target in zip(self.items, self._series.targets or (), strict=True):
            runs = metrics.segments_of(np.where(target < 0, -1, scores.argmax(axis=-1)), background=-1)
            detected.append([Detection(*run, float(scores[run.start : run.stop, run.label].mean())) for run in runs])
        return detected


def draw_curves(folder: RunFolder, name: str, curves: Mapping[str, Any], **options: Any):
    """Draws the picture <name>.png of accuracies into a run's folder, if it can; for the options see `accuracy_curves`."""
    with warned():
        accuracy_curves(folder.dir / f"{name}.png", curves, **options)


def lengths_of(batch: dict) -> np.ndarray:
    """The numbers of real steps in the rows of a batch, int [B]."""
    return next(array for name, array in batch.items() if name.endswith("_lengths"))


def models_of(model: Any) -> tuple:
    """The models of a fusion, or the one model."""
    return getattr(model, "models", (model,))


def is_causal(model: Any, params: Params) -> bool:
    """True for a classifier without a part that looks ahead."""
    try:
        jax.eval_shape(lambda: model.start(params, 1))
    except InputError:
        return False
    return True


def shortened(batch: dict, share: float) -> dict:
    """A batch whose rows end after a share of their steps, at least one.

    Example:
        >>> shortened({"features_lengths": np.array([10, 3, 0])}, 0.3)["features_lengths"].tolist()
        [3, 1, 0]
    """
    lengths = {name: array for name, array in batch.items() if name.endswith("_lengths")}
    return batch | {name: np.ceil(np.round(share * array, 9)).astype(array.dtype) for name, array in lengths.items()}


def over_time(model: Any, params: Params, batch: dict, points: int = 32) -> np.ndarray:
    """The probabilities of the classes over the time of one item: of each step, or of the item up to there.

    Args:
        model: a classifier of whole items or of their steps, or a fusion of several.
        params: its parameters.
        batch: one row.
        points: a whole item is classified after at most so many of its steps, evenly spread.

    Returns:
        float [T, C].
    """
    [steps] = lengths_of(batch)
    scores = np.asarray(model.probabilities(params, batch))[0]
    if scores.ndim == 2:
        return scores[:steps]
    ends = np.unique(np.linspace(1, steps, min(points, steps)).round().astype(int))
    seen = np.stack([np.asarray(model.probabilities(params, shortened(batch, end / steps)))[0] for end in ends])
    return seen[np.searchsorted(ends, np.arange(1, steps + 1), side="right") - 1]
