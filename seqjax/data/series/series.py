"""Labelled sequences of any kind: clips, poses, sensor signals, strokes; in memory, or read when they are needed."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from seqjax.checks import check_array, check_classes, check_positive, shown
from seqjax.data.labels import Labels
from seqjax.data.series import checks
from seqjax.data.series.parts import Parts, Thinned, read_part
from seqjax.errors import InputError
from seqjax.values import Value


@dataclass(frozen=True, kw_only=True, eq=False)
class Series(Value):
    """Sequences with a class each, a class a step, or both.

    Args:
        inputs: by the key of the batch ("features", "frames", "flow", "tokens"), a sequence of arrays; array n is [T_n, ...],
            T_n the same in every input. A list or tuple is held in memory and checked at once; any other sequence is read when
            an item is needed, and needs `record["sha256"]`.
        lengths: T_n, int [N], each at least 1.
        classes: the classes of `labels` and `targets`.
        names: a name for each item.
        groups: the person, video or recording of each item, which splits never divide; (): each item is its own group.
        labels: the class of each item, int [N], or None.
        targets: the class of each step, int [T_n] an item, -1 where it is not labelled; or None.
        rate: steps a second, or None.
        record: facts about the data for the run's results: "source", "sha256", counts; JSON-able.
        splits: published splits, indices by "train", "valid", "test"; several are "<name>/train" and so on.

    Raises:
        InputError: counts, lengths or sizes of features disagree, a class is not one of `classes`, features hold NaN or infinity
            (named with the item and the step), or a published split divides a group.

    Example:
        >>> series = Series(
        ...     inputs={"features": [np.zeros((4, 2), np.float32), np.ones((6, 2), np.float32)]},
        ...     lengths=np.array([4, 6]),
        ...     classes=Labels(names=("rest", "move")),
        ...     names=("a", "b"),
        ...     labels=np.array([0, 1]),
        ... )
        >>> len(series), series.shapes, series.take([1]).names
        (2, {'features': (2,)}, ('b',))
        >>> windows = series.windows(size=4, step=2)
        >>> windows.names, windows.labels.tolist(), windows.groups
        (('a[0:4]', 'b[0:4]', 'b[2:6]'), [0, 1, 1], ('a', 'b', 'b'))
    """

    inputs: Mapping[str, Sequence[np.ndarray]]
    lengths: np.ndarray
    classes: Labels
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    targets: tuple[np.ndarray, ...] | None = None
    rate: float | None = None
    record: dict = field(default_factory=dict)
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        labels, targets = self.labels, self.targets
        if not isinstance(self.classes, Labels):
            raise InputError(f"classes is {shown(self.classes)}, it must be Labels(names=...)")
        for name, value in {
            "inputs": {word: _in_memory(items) for word, items in self.inputs.items()},
            "lengths": integers("lengths", self.lengths, "N"),
            "names": tuple(map(str, self.names)),
            "groups": tuple(map(str, self.groups)) or tuple(map(str, self.names)),
            "labels": None if labels is None else integers("labels", labels, "N"),
            "targets": None if targets is None else tuple(integers("targets", target, "T") for target in targets),
            "splits": {name: integers(f"split {name}", indices, "n") for name, indices in self.splits.items()},
        }.items():
            object.__setattr__(self, name, value)
        if not self.inputs:
            raise InputError("there are no inputs: give at least one, such as features")
        fields = {"groups": self.groups, "labels": self.labels, "targets": self.targets} | dict(self.inputs)
        checks.check_counts(self.names, self.lengths, self.rate, fields)
        if self.labels is not None:
            checks.check_labels(self.names, self.labels, len(self.classes))
        if self.targets is not None:
            checks.check_targets(self.names, self.targets, self.lengths, len(self.classes))
        for word, items in self.inputs.items():
            if isinstance(items, tuple):
                for n in range(len(items)):
                    self._check_item(word, n, items[n], int(self.lengths[n]))
            elif "sha256" not in self.record:
                raise InputError(f'{word} is read when it is needed: record needs "sha256", a hash of the data')
        checks.check_splits(self.splits, self.groups)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def in_memory(self) -> bool:
        """True if every input is held in memory."""
        return all(isinstance(items, tuple) for items in self.inputs.values())

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one step of each input: () for tokens, (D,) for features, (H, W, C) for frames."""
        return {word: read_part(items, 0, 0, 1).shape[1:] for word, items in self.inputs.items()}

    @property
    def folds(self) -> tuple[str, ...]:
        """The names of the folds that `split_series` offers: of several published splits, else of the groups."""
        published = tuple(dict.fromkeys(name.partition("/")[0] for name in self.splits if "/" in name))
        return published or tuple(dict.fromkeys(self.groups))

    @cached_property
    def identity(self) -> dict:
        """Everything that a batch depends on, as JSON-able values; inputs in memory by their SHA-256."""
        digest = hashlib.sha256()
        lazy = None if self.in_memory else [self.record["sha256"], self.record.get("every")]
        shapes = sorted((word, list(shape)) for word, shape in self.shapes.items())
        facts = [self.names, self.lengths.tolist(), list(self.classes.names), shapes, lazy]
        digest.update(json.dumps(facts).encode())
        arrays = [self.labels] if self.labels is not None else []
        arrays += self.targets or ()
        for word in sorted(self.inputs):
            items = self.inputs[word]
            arrays += items if isinstance(items, tuple) else ()
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return {"series": digest.hexdigest()}

    def seconds(self, steps: float) -> float:
        """The duration of some steps.

        Raises:
            InputError: the series has no rate.
        """
        if self.rate is None:
            raise InputError("the data have no frame rate, so steps have no seconds: give rate, the steps a second")
        return steps / self.rate

    def read(self, index: int, begin: int = 0, end: int | None = None) -> dict[str, np.ndarray]:
        """The inputs of an item from step `begin` to before `end`, {word: [end - begin, ...]}.

        Raises:
            InputError: an item that was read has another length or another size than it should have, or holds NaN.
        """
        end = int(self.lengths[index]) if end is None else end
        arrays = {}
        for word, items in self.inputs.items():
            arrays[word] = items[index][begin:end] if isinstance(items, tuple) else read_part(items, index, begin, end)
            if not isinstance(items, tuple):
                self._check_item(word, index, arrays[word], end - begin)
        return arrays

    def only(self, *words: str) -> "Series":
        """The same series with some of its inputs.

        Raises:
            InputError: there is no such input.
        """
        missing = [word for word in words if word not in self.inputs]
        if missing or not words:
            raise InputError(f"the data have no {missing or 'input'}: they have {', '.join(self.inputs)}")
        return dataclasses.replace(self, inputs={word: self.inputs[word] for word in words})

    def take(self, indices) -> "Series":
        """Some of the items, in the order of `indices`; published splits go with their items."""
        indices = integers("indices", indices, "n")
        check_classes("indices", indices, len(self))
        return self._derived(indices)

    def cut(self, indices, begins, ends, *, labels: np.ndarray | None = None, record: dict | None = None) -> "Series":
        """Parts of items, each an item of its own, of the group of the item that it is cut from.

        Args:
            indices: the item of each part, int [M].
            begins, ends: the part is [begin, end) of the item, int [M].
            labels: the class of each part, int [M]; None: that of the item.
            record: facts that are added to the record.

        Returns:
            The parts, named "name[begin:end]".
        """
        places = [(int(n), int(a), int(b)) for n, a, b in zip(indices, begins, ends, strict=True)]
        inputs = {}
        for word, items in self.inputs.items():
            lazy = not isinstance(items, tuple)
            inputs[word] = Parts(items, indices, begins, ends) if lazy else tuple(items[n][a:b] for n, a, b in places)
        fields: dict = {} if labels is None else {"labels": labels}
        return self._derived(
            np.asarray(indices, np.int64),
            inputs=inputs,
            lengths=np.array([b - a for _, a, b in places], np.int64),
            names=tuple(f"{self.names[n]}[{a}:{b}]" for n, a, b in places),
            targets=None if self.targets is None else tuple(self.targets[n][a:b] for n, a, b in places),
            record=self.record | (record or {}),
            **fields,
        )

    def windows(self, size: int, step: int) -> "Series":
        """Overlapping windows of every item.

        Window k of an item is [k step, k step + size). Its class is the one that most of its steps have, the lower number of two
        that are equal; a window with as many or more steps without a class is left out. Without targets it has the item's class.

        Args:
            size: the steps of a window, at least 1.
            step: the steps from one window to the next, at least 1.

        Returns:
            The windows; the record counts those without a class ("unlabelled_windows") and the items that are too short
            ("shorter_than_window").

        Raises:
            InputError: size or step is below 1, or no item is as long as a window.
        """
        if size < 1 or step < 1:
            raise InputError(f"windows of {size} steps, one every {step}: both must be at least 1")
        if self.lengths.max(initial=0) < size:
            raise InputError(f"no item has {size} steps, the longest has {self.lengths.max(initial=0)}: give a smaller window")
        counts = np.maximum((self.lengths - size) // step + 1, 0)  # [N]
        indices = np.repeat(np.arange(len(self)), counts)  # [M]
        begins = (np.arange(len(indices)) - np.repeat(np.cumsum(counts) - counts, counts)) * step  # [M]
        record, labels = {"shorter_than_window": int((counts == 0).sum())}, None
        if self.targets is not None:
            labels = np.array([_majority(self.targets[n][a : a + size]) for n, a in zip(indices, begins, strict=True)], np.int64)
            indices, begins, labels, unlabelled = (
                indices[labels >= 0],
                begins[labels >= 0],
                labels[labels >= 0],
                (labels < 0).sum(),
            )
            record["unlabelled_windows"] = int(unlabelled)
        return self.cut(indices, begins, begins + size, labels=labels, record=record)

    def segments(self) -> "Series":
        """The longest parts of equal target, each an item with that class; steps without a class are left out.

        Raises:
            InputError: there are no targets, or no step has a class.
        """
        if self.targets is None:
            raise InputError("the data have no class a step: segments need targets")
        parts = []
        for n, target in enumerate(self.targets):
            edges = [0, *(np.flatnonzero(np.diff(target)) + 1).tolist(), len(target)]
            parts += [(n, a, b, int(target[a])) for a, b in pairwise(edges) if target[a] >= 0]
        if not parts:
            raise InputError("no step has a class: there are no segments")
        indices, begins, ends, labels = np.array(parts, np.int64).T
        return self.cut(indices, begins, ends, labels=labels)

    def with_classes(self, *names: str) -> "Series":
        """The items of some classes, numbered anew in that order; steps of other classes count as not labelled.

        Raises:
            InputError: a name is not one of the classes, or no item is left.
        """
        numbers = np.full(len(self.classes) + 1, -1)  # the last is for -1, steps without a class
        for new, name in enumerate(names):
            numbers[self.classes.index(name)] = new
        return self._mapped(numbers, Labels(names=names))

    def renumbered(self, classes: Labels) -> "Series":
        """The same items with the class numbers of an earlier run, whose classes may be more than these.

        Raises:
            InputError: a class that occurs is not one of `classes`.
        """
        arrays = [np.zeros(0, np.int64) if self.labels is None else self.labels, *(self.targets or ())]
        numbers = np.full(len(self.classes) + 1, -1)  # the last is for -1, steps without a class
        for n in set(np.concatenate(arrays).tolist()) - {-1}:
            numbers[n] = classes.index(self.classes.names[n])
        return self._mapped(numbers, classes)

    def thin(self, every: int) -> "Series":
        """Every so many-th step of every item, from its first on.

        Raises:
            InputError: every is below 1.
        """
        check_positive(every=every)
        inputs = {
            word: tuple(item[::every] for item in items) if isinstance(items, tuple) else Thinned(items, self.lengths, every)
            for word, items in self.inputs.items()
        }
        return dataclasses.replace(
            self,
            inputs=inputs,
            lengths=-(-self.lengths // every),
            targets=None if self.targets is None else tuple(target[::every] for target in self.targets),
            rate=None if self.rate is None else self.rate / every,
            record=self.record | {"every": every},
        )

    def stack(self, size: int) -> "Series":
        """So many steps of features as one step, [T // size, size D], with the class of its middle; the rest is left out.

        Raises:
            InputError: size is below 1, an item is shorter, or an input is not features [T, D] in memory.
        """
        wrong = [word for word, items in self.inputs.items() if not isinstance(items, tuple) or len(self.shapes[word]) != 1]
        if size < 1 or wrong:
            raise InputError(
                f"stack is {size}, of {', '.join(wrong or self.inputs)}: give at least 1, and features [T, D] in memory"
            )
        if self.lengths.min() < size:
            n = int(self.lengths.argmin())
            raise InputError(f"{self.names[n]} has {self.lengths[n]} steps, too few for one of {size}: leave it out")
        lengths = self.lengths // size  # [N]
        inputs = {
            word: tuple(item[: n * size].reshape(n, -1) for item, n in zip(items, lengths, strict=True))
            for word, items in self.inputs.items()
        }
        targets = None
        if self.targets is not None:
            targets = tuple(target[size // 2 :: size][:n] for target, n in zip(self.targets, lengths, strict=True))
        return dataclasses.replace(
            self,
            inputs=inputs,
            lengths=lengths,
            targets=targets,
            rate=None if self.rate is None else self.rate / size,
            record=self.record | {"stack": size},
        )

    def _mapped(self, numbers: np.ndarray, classes: Labels) -> "Series":
        """The items whose class has a new number of at least 0; `numbers` [C + 1] are by class, the last is for none."""
        labels = None if self.labels is None else numbers[self.labels]  # [N]
        kept = np.arange(len(self)) if labels is None else np.flatnonzero(labels >= 0)
        if not len(kept):
            raise InputError(f"no item has one of the classes {', '.join(classes.names)}")
        return self._derived(
            kept,
            classes=classes,
            labels=None if labels is None else labels[kept],
            targets=None if self.targets is None else tuple(numbers[self.targets[n]] for n in kept),
        )

    def _derived(self, indices: np.ndarray, **fields) -> "Series":
        """A series of the items with some indices [M], except for the fields that are given."""
        if "inputs" not in fields:
            fields["inputs"] = {
                word: tuple(items[n] for n in indices) if isinstance(items, tuple) else Parts(items, indices)
                for word, items in self.inputs.items()
            }
        defaults = {
            "lengths": self.lengths[indices],
            "names": tuple(self.names[n] for n in indices),
            "groups": tuple(self.groups[n] for n in indices),
            "labels": None if self.labels is None else self.labels[indices],
            "targets": None if self.targets is None else tuple(self.targets[n] for n in indices),
            "splits": {name: np.flatnonzero(np.isin(indices, rows)) for name, rows in self.splits.items()},
        }
        return dataclasses.replace(self, **defaults | fields)

    def _check_item(self, word: str, n: int, array: np.ndarray, length: int):
        checks.check_item(f"{word} of {self.names[n]}", array, length, self.shapes[word], self.names[0])


def _in_memory(items):
    return tuple(np.asarray(item) for item in items) if isinstance(items, list | tuple | np.ndarray) else items


def _majority(target: np.ndarray) -> int:
    counts = np.bincount(target + 1)
    labelled = counts[1:]
    return int(labelled.argmax()) if labelled.size and labelled.max() > counts[0] else -1


def integers(name: str, values, axis: str) -> np.ndarray:
    """A vector of integers as int64; raises InputError for anything else, such as floats or a mask of bools."""
    return np.asarray(check_array(name, values, "integer", axis), np.int64)
