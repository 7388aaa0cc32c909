"""The figures of a classifier, and its predictions after every stroke."""

from typing import Any

import numpy as np

from experiments.scoring import Scores, draw_curves, predict_all
from experiments.sequence_classification.sequences import Sequences
from seqjax import metrics
from seqjax.data.series import evaluation_series
from seqjax.data.strokes import first_strokes
from seqjax.train import RunFolder
from seqjax.types import Params


def split_figures(
    folder: RunFolder | None, name: str, model: Any, params: Params, sequences: Sequences, split: str, **shapes
) -> dict[str, Any]:
    """The figures of a split: loss in nats and accuracies.

    With a folder also those after shares of each sequence and, of pen strokes, after 1, 2, ... strokes, with their pictures.

    Args:
        folder: the run's folder; None: no pictures.
        name: a part of the pictures' names, such as the split.
        model: a classifier.
        params: its parameters.
        sequences: the data.
        split: the name of the split.
        **shapes: batch_size and shapes of the batches.
    """
    series = sequences.splits[split]
    scores = Scores(model, params, series, sequences.batches(split, **shapes))
    picked = scores.flat[np.arange(len(series)), scores.truths].astype(np.float64)  # [N]
    figures: dict[str, Any] = {"loss": float(-np.log(np.maximum(picked, 1e-30)).mean())}
    figures |= scores.figures() | (scores.draw(folder, name) if folder else {})
    if folder and "strokes" in sequences.record:
        beginnings, parts = first_strokes(series)
        guesses = np.stack(predict_all(model, params, evaluation_series(beginnings, **shapes)))  # [all strokes, C]
        curve = metrics.accuracy_by_step(np.split(guesses, np.cumsum(parts)[:-1]), series.labels).tolist()
        figures["accuracy_after_strokes"] = curve
        counts, chance = np.arange(1, len(curve) + 1), 1 / len(sequences.classes)
        draw_curves(folder, f"strokes-{name}", {name: (counts, curve)}, xlabel="strokes seen", chance=chance)
    prefix = "validation" if split == "valid" else split
    return {f"{prefix}_{figure}": value for figure, value in figures.items()}


def formatted(scores: np.ndarray, saved: Any, top: int) -> str:
    """The most probable classes with their probabilities, as columns; `saved` are the run's vocabularies, the classes last."""
    names = (saved[-1] if isinstance(saved, tuple) else saved).names
    return "\t".join(f"{names[n]}\t{scores[n]:.3f}" for n in np.argsort(-scores, kind="stable")[:top])
