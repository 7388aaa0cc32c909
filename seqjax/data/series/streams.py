"""Batches of series: a resumable training stream, and batches in which every item comes once."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array, shown
from seqjax.data import planning
from seqjax.data.batches import Batch, Stream, ahead, as_position
from seqjax.data.series.series import Series
from seqjax.errors import InputError
from seqjax.values import Value

Augment = Callable[[dict[str, np.ndarray], np.random.Generator], dict[str, np.ndarray]]
THREADS = 2  # that read items ahead if they are not in memory


@public
def series_shapes(lengths: np.ndarray, count: int = 4) -> tuple[int, ...]:
    """Lengths of batches in rising order, quantiles of the items' lengths; every item fits the last.

    Args:
        lengths: int, [N].
        count: the number of quantiles; equal lengths are merged.

    Returns:
        At most `count` lengths.

    Raises:
        InputError: there is no item, or count is below 1.

    Example:
        >>> series_shapes(np.arange(1, 101), count=2)
        (76, 100)
    """
    return tuple(
        shape[0]
        for shape in planning.quantile_shapes(
            np.asarray(check_array("lengths", lengths, "integer", "N"))[:, None], count, what="items"
        )
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesStream(Value, Stream):
    """An endless stream of training batches of a series; the items of a batch have similar lengths.

    A batch is a dict: for every input, `<name>` [B, T, ...] and `<name>_lengths` int32 [B]; `label` int32 [B] if items have
    a class; `target` int32 [B, T] with `target_mask` bool [B, T], False where a step has no class, if steps have one. T is one
    of `shapes`. Frames of uint8 stay uint8, integers without further axes (tokens) become int32, all else float32. Padding is 0.

    Every item comes once in an epoch. All draws depend only on (seed, epoch, item), so that batch i is a pure function of the
    stream and i. Items that are not in memory are read ahead in threads.

    Args:
        series: the data.
        batch_size: B.
        seed: the seed of the shuffling, the windows and the augmentation, at least 0.
        window: the longest part of an item that is read, from a random step on; None: items are read whole.
        augment: a function (inputs, generator) -> inputs of one item, {word: [T, ...]}, with "target" int [T] among them if steps
            have a class; it may shorten T. A dataclass, so that identities can hold it.
        shapes: lengths in rising order; (): the default of `series_shapes`.

    Raises:
        InputError: a size is below 1, the seed is negative, the shapes do not rise, or an item fits none of them.

    Example:
        >>> from seqjax.data.labels import Labels
        >>> series = Series(
        ...     inputs={"features": [np.full((n, 1), n) for n in (1, 2, 3)]},
        ...     lengths=np.array([1, 2, 3]),
        ...     classes=Labels(names=("odd", "even")),
        ...     names=("1", "2", "3"),
        ...     labels=np.array([0, 1, 0]),
        ... )
        >>> stream = SeriesStream(series=series, batch_size=3, seed=0, shapes=(3,))
        >>> batch = stream.batch(0)
        >>> sorted(batch), batch["features"].shape, sorted(batch["features_lengths"].tolist())
        (['features', 'features_lengths', 'label'], (3, 3, 1), [1, 2, 3])
    """

    series: Series
    batch_size: int
    seed: int
    window: int | None = None
    augment: Augment | None = None
    shapes: tuple[int, ...] = ()

    def __post_init__(self):
        if not isinstance(self.series, Series):
            raise InputError(f"series is {shown(self.series)}, it must be a Series")
        if not (self.augment is None or callable(self.augment)):
            raise InputError(f"augment is {shown(self.augment)}, it must be a function of (inputs, generator)")
        if self.batch_size < 1 or self.seed < 0 or (self.window is not None and self.window < 1):
            sizes = f"batch size {self.batch_size}, window {self.window}, seed {self.seed}"
            raise InputError(f"{sizes}: the first two must be at least 1, the seed at least 0")
        shapes = _checked(self.shapes or series_shapes(self._lengths))
        object.__setattr__(self, "shapes", shapes)
        if self._lengths.max() > shapes[-1]:
            n = int(self._lengths.argmax())
            raise InputError(
                f"{self.series.names[n]} has {self._lengths[n]} steps, above the longest shape {shapes[-1]}: drop it, or give a "
                "longer shape or a window"
            )

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.series) // self.batch_size)

    @property
    def threads(self) -> int:
        return 0 if self.series.in_memory else THREADS

    @cached_property
    def identity(self) -> dict:
        augment = None
        if self.augment is not None:
            fields = dataclasses.asdict(self.augment) if dataclasses.is_dataclass(self.augment) else {}  # pyright: ignore
            augment = {"type": getattr(self.augment, "__name__", type(self.augment).__name__)} | fields
        settings = {"batch_size": self.batch_size, "seed": self.seed, "window": self.window, "shapes": list(self.shapes)}
        return self.series.identity | settings | {"augment": augment}

    def batch(self, index: int) -> Batch:
        epoch, step = divmod(as_position(index), self.steps_per_epoch)
        shape, rows = self._plans.plan(epoch)[step]
        return _stacked(self.series, rows, [self._item(epoch, int(n)) for n in rows if n >= 0], shape[0])

    @cached_property
    def _lengths(self) -> np.ndarray:
        return self.series.lengths if self.window is None else np.minimum(self.series.lengths, self.window)

    @cached_property
    def _plans(self) -> planning.EpochPlans:
        shapes = tuple((length,) for length in self.shapes)
        buckets = planning.buckets_of(self._lengths[:, None], shapes)
        return planning.EpochPlans(buckets=buckets, shapes=shapes, batch_size=self.batch_size, seed=self.seed)

    def _item(self, epoch: int, n: int) -> dict[str, np.ndarray]:
        generator = np.random.default_rng((self.seed, epoch, n + 1))  # with a last 0 it would be the plan's
        length = int(self._lengths[n])
        begin = int(generator.integers(0, int(self.series.lengths[n]) - length, endpoint=True))
        item = _read(self.series, n, begin, begin + length)
        return item if self.augment is None else self.augment(item, generator)


class EvaluationSeries(Sequence[Batch]):
    """Batches in which every item comes once, shorter ones first, returned by `evaluation_series`."""

    def __init__(self, series: Series, batches: planning.Plan):
        self._series, self._batches = series, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return EvaluationSeries(self._series, self._batches[index])
        return self._batch(index)

    def _batch(self, index: int) -> Batch:
        shape, rows = self._batches[index]
        items = [_read(self._series, int(n), 0, int(self._series.lengths[n])) for n in rows if n >= 0]
        return _stacked(self._series, rows, items, shape[0]) | {"index": rows.astype(np.int32)}

    def __iter__(self) -> Iterator[Batch]:
        return iter(ahead(self._batch, len(self), 0 if self._series.in_memory else THREADS))


def evaluation_series(series: Series, *, batch_size: int, shapes: Sequence[int] = ()) -> EvaluationSeries:
    """Batches in which every item comes once, whole, with its index.

    Args:
        series: the data.
        batch_size: B.
        shapes: lengths in rising order, preferably those of the training batches, which are compiled already; for longer items
            up to four lengths are added. (): the default of `series_shapes`.

    Returns:
        A sequence of batches like those of `SeriesStream`, with `index`, int32 [B]: the item's place in the series, -1 in
        the rows that fill up the last batch. A batch is made when it is asked for.

    Raises:
        InputError: the shapes do not rise, or batch_size is below 1.

    Example:
        >>> from seqjax.data.labels import Labels
        >>> series = Series(
        ...     inputs={"tokens": [np.array([5, 6]), np.array([7])]},
        ...     lengths=np.array([2, 1]),
        ...     classes=Labels(names=("a", "b")),
        ...     names=("x", "y"),
        ...     labels=np.array([0, 1]),
        ... )
        >>> (batch,) = evaluation_series(series, batch_size=3, shapes=(2,))
        >>> batch["index"].tolist(), batch["tokens"].tolist(), batch["tokens_lengths"].tolist()
        ([1, 0, -1], [[7, 0], [5, 6], [0, 0]], [1, 2, 0])
    """
    if batch_size < 1:
        raise InputError(f"batch size is {batch_size}, it must be at least 1")
    lengths = series.lengths
    chain = _checked(shapes or series_shapes(lengths))
    if lengths.max() > chain[-1]:
        chain += series_shapes(lengths[lengths > chain[-1]])
    pairs = tuple((length,) for length in chain)
    order = np.argsort(lengths, kind="stable")
    return EvaluationSeries(series, planning.deal(order, planning.buckets_of(lengths[:, None], pairs), pairs, batch_size))


def _checked(shapes: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[0] for shape in planning.checked_shapes([(length,) for length in shapes]))


def _read(series: Series, n: int, begin: int, end: int) -> dict[str, np.ndarray]:
    """The inputs of a part of an item, and its targets: {word: [end - begin, ...]}."""
    item = series.read(n, begin, end)
    return item if series.targets is None else item | {"target": series.targets[n][begin:end]}


def _stacked(series: Series, rows: np.ndarray, items: list[dict[str, np.ndarray]], length: int) -> Batch:
    """The batch of some items, which are the first of its rows [B]; the other rows are padding."""
    count, batch = len(rows), {}
    for word in series.inputs:
        arrays = [_converted(item[word]) for item in items]
        batch[word] = np.zeros((count, length, *arrays[0].shape[1:]), arrays[0].dtype)  # [B, T, ...]
        lengths = np.zeros(count, np.int32)  # [B]
        for row, array in enumerate(arrays):
            batch[word][row, : len(array)] = array
            lengths[row] = len(array)
        batch[f"{word}_lengths"] = lengths
    if series.labels is not None:
        batch["label"] = np.where(rows < 0, 0, series.labels[rows]).astype(np.int32)  # [B]
    if series.targets is not None:
        target = np.full((count, length), -1, np.int32)  # [B, T]
        for row, item in enumerate(items):
            target[row, : len(item["target"])] = item["target"]
        batch |= {"target": np.maximum(target, 0), "target_mask": target >= 0}
    return batch


def _converted(array: np.ndarray) -> np.ndarray:
    """Bytes with two or more axes a step as they are, integers without axes as int32, all else as float32."""
    if array.dtype == np.uint8 and array.ndim > 2:
        return array
    return array.astype(np.int32 if array.dtype.kind in "iub" and array.ndim == 1 else np.float32, copy=False)
