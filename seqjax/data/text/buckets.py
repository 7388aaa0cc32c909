"""Batches of pairs of similar lengths, with few static shapes and little padding; a position is one integer."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np

from seqjax.data import planning
from seqjax.data.batches import Batch, Stream, as_position
from seqjax.errors import InputError

Shapes = tuple[tuple[int, int], ...]


class Schedule(Protocol):
    """A probability for every step, such as `seqjax.symbols.TeacherForcing`; a dataclass, so that identities can hold it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def probability(self, step: int) -> float: ...


def bucket_shapes(source: Sequence[np.ndarray], target: Sequence[np.ndarray], count: int = 8) -> Shapes:
    """Batch shapes (S, T) in rising order, no side shrinking; every pair fits the last.

        S_n = quantile(1 - (1 - n / count)^2) of the source lengths,   T_n likewise of the target lengths

    The square puts more shapes among the rare long pairs, which would otherwise be padded most: on Multi30k's sub-words,
    padding with these 8 shapes is within 1 % of that with the best 8.

    Args:
        source, target: integer rows, [S] and [T] for each pair.
        count: the number of quantiles; equal shapes are merged.

    Returns:
        ((S, T), ...), at most `count` shapes.

    Raises:
        InputError: there is no pair, or count is below 1.

    Example:
        >>> rows = [np.arange(n) for n in range(1, 101)]
        >>> bucket_shapes(rows, rows, count=3)
        ((56, 56), (89, 89), (100, 100))
    """
    return cast(Shapes, planning.quantile_shapes(_lengths(source, target), count, what="pairs"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Buckets(Stream):
    """An endless stream of training batches of pairs; the pairs of a batch have similar lengths.

    A batch is a dict: `source` int32 [B, S] (or features, float32 [B, S, ...], under their own name), `source_lengths` int32 [B],
    `target` int32 [B, T], `target_lengths` int32 [B], and, if there is a schedule, `teacher_forcing` float32 [B]; (S, T) is one
    of `shapes`, B is always the same. Padding is 0. A pair belongs to the first shape that it fits. Every pair comes once in an
    epoch: the pairs of each shape are shuffled and cut into batches; the remainder goes to the next longer shape; the last batch
    is filled up with rows of length 0; then the batches are shuffled. All draws depend only on (seed, epoch), so that batch i is
    a pure function of the stream and i.

    Args:
        source: for each pair symbols, integer [S], or features of steps, [S, ...]; bytes of frames, [S, H, W, C], stay bytes.
        target: integer rows, [T] for each pair, with the end symbol.
        batch_size: B.
        seed: the seed of the shuffling, at least 0.
        shapes: shapes in rising order, e.g. from `bucket_shapes`; (): its default of at most eight.
        teacher_forcing: the probability that a step reads the true symbol; None: it always does.
        name: the sources' key in a batch: "source", or the word for what they are, such as "features", "audio" or "frames".

    Raises:
        InputError: the sides differ in number, there is no pair, the shapes do not rise or a pair fits none of them,
            batch_size is below 1, or seed is negative.

    Example:
        >>> rows = [np.full(n, n) for n in (1, 2, 3, 1, 2)]
        >>> buckets = Buckets(source=rows, target=rows, batch_size=2, seed=0, shapes=((1, 1), (3, 3)))
        >>> buckets.steps_per_epoch
        3
        >>> batches = [buckets.batch(n) for n in range(3)]
        >>> sorted(batch["source"].shape for batch in batches)
        [(2, 1), (2, 3), (2, 3)]
        >>> int(sum(batch["target_lengths"].sum() for batch in batches))
        9
    """

    source: Sequence[np.ndarray]
    target: Sequence[np.ndarray]
    batch_size: int
    seed: int
    shapes: Shapes = ()
    teacher_forcing: Schedule | None = None
    name: str = "source"

    def __post_init__(self):
        if len(self.source) != len(self.target):
            raise InputError(
                f"there are {len(self.source)} sources and {len(self.target)} targets: give one target for each source"
            )
        shapes = planning.checked_shapes(self.shapes or bucket_shapes(self.source, self.target))
        object.__setattr__(self, "shapes", shapes)
        buckets = self._plans.buckets
        if buckets.max(initial=0) == len(shapes):
            n = int(buckets.argmax())
            size = f"({len(self.source[n])}, {len(self.target[n])})"
            raise InputError(f"pair {n} has lengths {size}, above the longest shape {shapes[-1]}: drop it, or give a longer one")
        if self.batch_size < 1 or self.seed < 0 or not len(self.source):
            sizes = f"{len(self.source)} pairs, batch size {self.batch_size}, seed {self.seed}"
            raise InputError(f"{sizes}: the first two must be at least 1, the seed at least 0")

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.source) // self.batch_size)

    @cached_property
    def identity(self) -> dict:
        digest = hashlib.sha256()
        for rows in self._rows:
            digest.update(rows.lengths.astype("<i8").tobytes() + rows.flat.astype(rows.flat.dtype.newbyteorder("<")).tobytes())
        forcing = None if self.teacher_forcing is None else dataclasses.asdict(self.teacher_forcing)
        shapes = [list(shape) for shape in self.shapes]
        settings = {"batch_size": self.batch_size, "shapes": shapes, "seed": self.seed, "teacher_forcing": forcing}
        return {"pairs": digest.hexdigest(), "name": self.name} | settings

    def batch(self, index: int) -> Batch:
        epoch, step = divmod(as_position(index), self.steps_per_epoch)
        shape, rows = self._plans.plan(epoch)[step]
        batch = _batch(self._rows, rows, shape, self.name)
        if self.teacher_forcing is not None:
            batch["teacher_forcing"] = np.full(self.batch_size, self.teacher_forcing.probability(int(index)), np.float32)
        return batch

    @cached_property
    def _rows(self) -> tuple["_Rows", "_Rows"]:
        return _flat(self.source), _flat(self.target)

    @cached_property
    def _plans(self) -> planning.EpochPlans:
        buckets = planning.buckets_of(_lengths(self.source, self.target), self.shapes)
        return planning.EpochPlans(buckets=buckets, shapes=self.shapes, batch_size=self.batch_size, seed=self.seed)


def evaluation_pairs(
    source: Sequence[np.ndarray],
    target: Sequence[np.ndarray] | None = None,
    *,
    batch_size: int,
    shapes: Shapes = (),
    name: str = "source",
) -> list[Batch]:
    """Batches in which every pair comes once, with its index.

    Args:
        source: rows of symbols or features, as for `Buckets`.
        target: integer rows, [T] for each pair, with the end symbol; None: the batches have no target, as for translation.
        batch_size: B.
        shapes: shapes in rising order, preferably those of the training batches, which are compiled already; if a pair is
            longer, a shape of the longest lengths is added. (): `bucket_shapes` of these pairs.
        name: the sources' key in a batch.

    Returns:
        A list of batches like those of `Buckets`, without teacher_forcing, but with `index`, int32 [B]: the pair's position in
        `source`, -1 in the rows that fill up the last batch.

    Raises:
        InputError: the sides differ in number, there is no pair, the shapes do not rise, or batch_size is below 1.

    Example:
        >>> rows = [np.array([5, 6]), np.array([7])]
        >>> (batch,) = evaluation_pairs(rows, rows, batch_size=3)
        >>> batch["index"].tolist(), batch["source"].tolist(), batch["target_lengths"].tolist()
        ([1, 0, -1], [[7, 0], [5, 6], [0, 0]], [1, 2, 0])
    """
    targets = [np.zeros(0, np.int32)] * len(source) if target is None else target
    if len(source) != len(targets) or batch_size < 1:
        sizes = f"{len(source)} sources, {len(targets)} targets, batch size {batch_size}"
        raise InputError(f"{sizes}: give one target for each source, and a batch size of at least 1")
    rows = _flat(source), _flat(targets)
    chain = planning.checked_shapes(shapes or bucket_shapes(source, targets))
    longest = tuple(max(int(side.lengths.max(initial=0)), last) for side, last in zip(rows, chain[-1], strict=True))
    chain = chain if longest == chain[-1] else (*chain, longest)
    buckets = planning.buckets_of(_lengths(source, targets), chain)
    batches = []
    for shape, indices in planning.deal(np.argsort(rows[0].lengths, kind="stable"), buckets, chain, batch_size):
        batch = _batch(rows, indices, shape, name) | {"index": indices.astype(np.int32)}
        batches.append({word: array for word, array in batch.items() if target is not None or not word.startswith("target")})
    return batches


class _Rows(NamedTuple):
    """Rows of unequal lengths, concatenated in `flat`, [N, ...]; its last entry is padding."""

    flat: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray


def _flat(rows: Sequence[np.ndarray]) -> _Rows:
    lengths = np.array([len(row) for row in rows], np.int64)
    filled = [np.asarray(row) for row in rows if len(row)] or [np.zeros(1, np.int32)]  # an empty row may have any dtype
    flat = np.concatenate([*filled, np.zeros_like(filled[0][:1])])
    if flat.dtype.kind in "iub" and flat.ndim == 1:
        flat = flat.astype(np.int32)
    elif flat.dtype != np.uint8 or flat.ndim < 3:
        flat = flat.astype(np.float32)
    return _Rows(flat, np.cumsum(lengths) - lengths, lengths)


def _lengths(source: Sequence[np.ndarray], target: Sequence[np.ndarray]) -> np.ndarray:
    """The lengths of both sides, int [N, 2]."""
    return np.stack([np.array([len(row) for row in side], np.int64) for side in (source, target)], axis=1)


def _batch(rows: tuple[_Rows, _Rows], indices: np.ndarray, shape: planning.Shape, source: str) -> Batch:
    """The batch of the pairs with some indices [B], padded to a shape; -1 gives a row of length 0."""
    batch = {}
    for name, side, width in zip((source, "target"), rows, shape, strict=True):
        lengths = np.where(indices < 0, 0, side.lengths[indices])
        columns = np.arange(width)
        mask = columns < lengths[:, None]  # [B, width]
        positions = np.where(mask, side.begins[indices][:, None] + columns, -1)  # [B, width], the last of `flat` is padding
        batch[name] = side.flat[positions]  # [B, width, ...]
        batch[f"{name}_lengths"] = lengths.astype(np.int32)
    return batch
