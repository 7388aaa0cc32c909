"""Labelled sequences in splits: their batches, and the scores of a model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.scoring import Scores, models_of
from seqjax.data.labels import Labels
from seqjax.data.series import EvaluationSeries, Series, SeriesStream, evaluation_series, series_shapes
from seqjax.errors import InputError
from seqjax.types import Params


class Labelled(NamedTuple):
    """Labelled sequences in splits.

    Args:
        record: the record of their source, a flat dict.
        classes: the names of the classes.
        splits: the sequences of each split that is not empty, by name.
    """

    record: dict
    classes: Labels
    splits: dict[str, Series]

    @property
    def by_frame(self) -> bool:
        """True if every step has a class, False if every clip has one."""
        return next(iter(self.splits.values())).labels is None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that the sequences have."""
        return tuple(next(iter(self.splits.values())).inputs)

    def shape(self, word: str) -> tuple[int, ...]:
        """The shape of a step of an input: (D,), or (H, W, C)."""
        return self.splits[next(iter(self.splits))].only(word).shapes[word]

    def counts(self, split: str = "train") -> tuple[int, ...]:
        """The clips, or else the steps, of each class."""
        series = self.splits[split]
        labels = np.concatenate(series.targets or ()) if series.labels is None else series.labels
        return tuple(np.bincount(labels[labels >= 0], minlength=len(self.classes)).tolist())

    def summary(self) -> list[str]:
        """A description of the recordings, in one or more lines."""
        counts = ", ".join(f"{len(series):,} {split}" for split, series in self.splits.items())
        kind = "sequences with a class at every step" if self.by_frame else "clips"
        lines = [f"data: {self.record['source']}, {len(self.classes)} classes; {kind}: {counts}"]
        if self.record.get("skipped"):
            lines.append(f"  {self.record['skipped']:,} could not be read: {self.record['skipped_clips']}")
        return lines

    def score(self, model: Any, params: Params, split: str, *, batch_size: int = 16) -> Scores:
        """The probabilities that a model gives to a split.

        Raises:
            InputError: there is no such split.
        """
        words = dict.fromkeys(part.encoder.name for part in models_of(model))
        batches = self.batches(split, *words, batch_size=batch_size)
        return Scores(model, params, self.splits[split], batches)

    def check_reads(self, model: Any):
        """Raises InputError unless the sequences have what a model, or each of a fusion, reads."""
        shapes = {part.encoder.name: self.shape(part.encoder.name) for part in models_of(model)}
        check_reads(model, self.record["source"], shapes)

    def shapes(self, window: int | None = None) -> tuple[int, ...]:
        """The lengths of batches: those of all splits together, so that every fold of the data runs the same programs."""
        lengths = np.concatenate([series.lengths for series in self.splits.values()])
        return series_shapes(lengths if window is None else np.minimum(lengths, window))

    def stream(self, *words: str, window: int | None = None, **options) -> SeriesStream:
        """An endless stream of training batches with some of the inputs; for the options see `SeriesStream`."""
        series = self.splits["train"].only(*words)
        return SeriesStream(series=series, window=window, shapes=self.shapes(window), **options)

    def batches(self, split: str, *words: str, batch_size: int) -> EvaluationSeries:
        """Batches in which every sequence of a split comes once.

        Raises:
            InputError: there is no such split, or no such input.
        """
        if split not in self.splits:
            raise InputError(f"{self.record['source']} has no {split} split: it has {', '.join(self.splits)}")
        return evaluation_series(self.splits[split].only(*words), batch_size=batch_size, shapes=self.shapes())


def check_reads(model: Any, source: str, shapes: Mapping[str, tuple[int, ...]]):
    """Raises InputError unless a model, or each of a fusion, reads steps of these shapes, by the keys of a batch."""
    for part in models_of(model):
        word, shape = part.encoder.name, part.encoder.shape
        if shapes[word] != shape:
            sizes = [" x ".join(map(str, each)) for each in (shapes[word], shape)]
            raise InputError(f"{source}: a step of its {word} has {sizes[0]} numbers, the run's model reads {sizes[1]}")
