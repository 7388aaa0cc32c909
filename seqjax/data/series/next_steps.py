"""Batches whose targets are the next steps of what is read."""

import dataclasses

import numpy as np

from seqjax.data.batches import Batch, Stream
from seqjax.data.series.streams import SeriesStream
from seqjax.values import Value


def following(batch: Batch, word: str = "features", *, flags: bool = False) -> Batch:
    """A batch of series as one of prediction: every step's target is the next step, and the last step is left out.

    Args:
        batch: `<word>` [B, T, D] with `<word>_lengths` [B].
        word: the series' key.
        flags: whether the steps are zeros and ones, and the targets bools.

    Returns:
        `<word>` [B, T - 1, D], `<word>_lengths`, `target` [B, T - 1, D], `target_mask` bool [B, T - 1]; `index`, if the batch
        has one.

    Example:
        >>> batch = following({"features": np.arange(3.0).reshape(1, 3, 1), "features_lengths": np.array([2])})
        >>> batch["target"][0, :, 0].tolist(), batch["target_mask"].tolist()
        ([1.0, 2.0], [[True, False]])
    """
    values = batch[word]
    lengths = np.maximum(batch[f"{word}_lengths"] - 1, 0)
    target = values[:, 1:] > 0.5 if flags else values[:, 1:]
    mask = np.arange(target.shape[1]) < lengths[:, None]
    rest = {"index": batch["index"]} if "index" in batch else {}
    return {word: values[:, :-1], f"{word}_lengths": lengths, "target": target, "target_mask": mask} | rest


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FollowingStream(Value, Stream):
    """An endless stream of batches that predict the next steps of a series.

    Args:
        stream: the batches of the series.
        word: the series' key.
        flags: as in `following`.

    Example:
        >>> from seqjax.data.labels import Labels
        >>> from seqjax.data.series.series import Series
        >>> series = Series(
        ...     inputs={"features": [np.ones((4, 1))]}, lengths=np.array([4]), classes=Labels(names=("x",)), names=("a",)
        ... )
        >>> stream = FollowingStream(stream=SeriesStream(series=series, batch_size=1, seed=0))
        >>> stream.batch(0)["target"].shape
        (1, 3, 1)
    """

    stream: SeriesStream
    word: str = "features"
    flags: bool = False

    @property
    def batch_size(self) -> int:
        """B."""
        return self.stream.batch_size

    @property
    def steps_per_epoch(self) -> int:
        return self.stream.steps_per_epoch

    @property
    def threads(self) -> int:
        return self.stream.threads

    @property
    def identity(self) -> dict:
        return {"following": self.word, "flags": self.flags} | self.stream.identity

    def batch(self, index: int) -> Batch:
        return following(self.stream.batch(index), self.word, flags=self.flags)
