"""The sequences of a config, in splits, and the vocabularies that a run saves."""

from collections.abc import Callable
from typing import NamedTuple

from experiments.command_line import renamed
from experiments.sequence_classification.config import Data
from seqjax.data import strokes
from seqjax.data.labels import Labels
from seqjax.data.series import Series, SeriesStream, evaluation_series, load_series, split_series
from seqjax.data.splits import SPLITS
from seqjax.data.text import labelled
from seqjax.data.text.labelled import cut_lines, line_series
from seqjax.data.text.limits import length_limit
from seqjax.data.text.preparing import LabelledLine, preparation, renaming
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.data.text.word_dropout import WordDropout
from seqjax.data.text.words import WordVocabulary
from seqjax.errors import InputError


class Sequences(NamedTuple):
    """Sequences with their classes.

    Args:
        record: the record of their source, a flat dict.
        words: the vocabulary of texts, made from the training texts; None: sequences of feature vectors.
        classes: the classes.
        splits: the sequences of each split that is not empty, by name.
    """

    record: dict
    words: Vocabulary | None
    classes: Labels
    splits: dict[str, Series]

    @property
    def saved(self):
        """The vocabularies that a run saves: the classes, behind the vocabulary of texts."""
        return self.classes if self.words is None else (self.words, self.classes)

    def stream(self, data: Data, seed: int) -> SeriesStream:
        """An endless stream of batches of the training split."""
        augment = None
        if self.words is not None and self.words.unknown is not None and data.word_dropout:
            augment = WordDropout(rate=data.word_dropout, unknown=self.words.unknown)
        elif data.strokes is not None and data.distort:
            augment = strokes.DistortedStrokes.of_strength(data.distort)
        return SeriesStream(series=self.splits["train"], batch_size=data.batch_size, seed=seed, augment=augment)

    def batches(self, split: str, **shapes):
        """Batches in which every sequence of a split comes once; see `evaluation_series`."""
        return evaluation_series(self.splits[split], **shapes)

    def summary(self) -> list[str]:
        """A description of the data, in one or more lines."""
        counts = ", ".join(f"{len(series):,} {split}" for split, series in self.splits.items())
        symbols = "" if self.words is None else f", {len(self.words):,} words"
        lines = [f"data: {self.record['source']}, {counts}; {len(self.classes)} classes{symbols}"]
        rules = {"empty": "lines without a label or a text were left out"}
        rules |= {"cut": f"training texts of more than {self.record.get('max_length')} words were cut"}
        return [*lines, *(f"  {self.record[fact]:,} {rule}" for fact, rule in rules.items() if self.record.get(fact))]


def load_sequences(data: Data, saved=None) -> Sequences:
    """Reads and splits sequences, and encodes texts.

    Args:
        data: the source.
        saved: the vocabularies of an earlier run, as returned by `Sequences.saved`; None: made from the training split.

    Raises:
        InputError: several sources are given, the source cannot be read, or its classes are not those of the run.
    """
    sources = [name for name in ("train", "strokes", "series") if getattr(data, name) is not None]
    if len(sources) > 1:
        raise InputError(f"{' and '.join(f'data.{name}' for name in sources)} are given: give one of them")
    if data.is_text:
        return _load_texts(data, saved)
    series = strokes.load_omniglot(data.strokes) if data.strokes is not None else load_series(data.series)
    if series.labels is None or "features" not in series.inputs:
        raise InputError(f"{series.record['source']} has no features with a class for each item: give features and label")
    series = series.only("features")
    if saved is not None and saved != series.classes:
        raise InputError(f"{series.record['source']} has other classes than the run: {' '.join(series.classes.names[:8])} ...")
    return Sequences(series.record, None, series.classes, split_series(series, shares=data.split))


def load_split(data: Data, split: str, saved) -> Sequences:
    """The sequences of at least one split, of the classes of a run; a table that is named alone is that split."""
    path = getattr(data, split, None)
    if data.train is not None or path is None:
        sequences = load_sequences(data, saved)
        if split not in sequences.splits:
            raise InputError(f"{sequences.record['source']} has no {split} split: it has {', '.join(sequences.splits)}")
        return sequences
    if not isinstance(saved, tuple):
        raise InputError(f"--data.{split} names a table, and the run reads no text: give --data.strokes or --data.series")
    words, classes = saved
    form = {"encoding": data.encoding, "columns": data.columns, "header": data.header}
    rows, record = labelled.unsplit(path, prepare=prepare_by(data), **form)
    series = line_series(rows, words, classes, max_length=data.max_length, source=path)
    return Sequences(record, words, classes, {split: series})


def prepare_by(data: Data) -> Callable[[LabelledLine], LabelledLine]:
    """A function that gives a line the words and the label that training lines have; refuses wrong `data.names`."""
    with renamed(names="data.names"):
        names = renaming(data.names)
    return preparation(names, lowercase=data.lowercase, normalization=data.normalization)


def _load_texts(data: Data, saved) -> Sequences:
    form = {"encoding": data.encoding, "columns": data.columns, "header": data.header, "prepare": prepare_by(data)}
    text = labelled.load(data.train, data.valid, data.test, split=data.split, **form)
    if saved is None:
        with renamed(max_size="--data.max-size", min_count="--data.min-count"):
            limits = {"min_count": data.min_count, "max_size": data.max_size, "normalization": data.normalization}
            words = WordVocabulary.from_text(" ".join(row.text for row in text.train), pad=0, unknown=1, end=None, **limits)
        saved = words, Labels(names=text.classes)
    words, classes = saved
    rows = {name: getattr(text, name) for name in SPLITS if getattr(text, name)}
    sources = {name: f"{text.record['source']}: {name}" for name in rows}
    whole = {name: line_series(rows[name], words, classes, source=sources[name]) for name in rows}
    lengths = whole["train"].lengths
    limit = length_limit(lengths, shortest=200) if data.max_length is None else data.max_length
    with renamed(max_length="--data.max-length"):
        splits = {name: cut_lines(series, limit) for name, series in whole.items()}
    return Sequences(text.record | {"max_length": limit, "cut": int((lengths > limit).sum())}, words, classes, splits)
