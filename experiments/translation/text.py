"""The pairs of a config, as the texts and the symbols of each split."""

from functools import partial
from typing import Any, NamedTuple

from experiments.command_line import renamed
from experiments.translation.config import Data
from experiments.vocabularies import unknown_report
from seqjax.data.batches import Batch
from seqjax.data.splits import SPLITS
from seqjax.data.text.buckets import evaluation_pairs
from seqjax.data.text.encoding import Encoded, build_pair_vocabularies, encode_pairs, unknown_share
from seqjax.data.text.limits import OutputLimit
from seqjax.data.text.pairs import Pair, load, unsplit
from seqjax.data.text.tags import source_tags
from seqjax.data.text.vocabulary import Vocabulary, normalized
from seqjax.errors import InputError


class Bitext(NamedTuple):
    """Pairs as texts and as symbols.

    Args:
        record: the record of their source, a flat dict.
        vocabularies: the vocabularies of source and target, made from the training pairs.
        pairs: the texts of each split that is not empty, by name.
        encoded: the symbols of each of these splits, by name.
    """

    record: dict
    vocabularies: tuple[Vocabulary, Vocabulary]
    pairs: dict[str, tuple[Pair, ...]]
    encoded: dict[str, Encoded]

    def summary(self, data: Data) -> list[str]:
        """A description of the pairs, in one or more lines; refuses vocabularies of another run that lack most symbols."""
        counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in self.pairs.items())
        symbols = " and ".join(f"{len(vocabulary):,}" for vocabulary in self.vocabularies)
        rule = f"longer than {self.record['max_length']} symbols were {'cut' if data.over_long == 'cut' else 'left out'}"
        counted = {"with an empty side were left out": self.record["empty"], rule: self.record["over_long"]}
        left_out = [f"  {count:,} training pairs {what}" for what, count in counted.items() if count]
        for n, vocabulary in enumerate(self.vocabularies if data.vocabulary_from else ()):
            if share := unknown_share(self.encoded["train"][:2][n], vocabulary):
                texts = [pair[n] for pair in self.pairs["train"]]
                left_out.append(unknown_report(share, texts, vocabulary, data.vocabulary_from))
        unknown = [unknown_share(*side) for side in zip(self.encoded["valid"][:2], self.vocabularies, strict=True)]
        if max(unknown) >= 0.01:
            left_out.append("  {:.1%} and {:.1%} of the symbols of validation sources and targets are unknown".format(*unknown))
        return [f"pairs: {self.record['source']}, {counts}; {symbols} symbols", *left_out]

    def batches(self, split: str, **shapes) -> list[Batch]:
        """Batches in which every pair of a split comes once; see `evaluation_pairs`."""
        return evaluation_pairs(*self.encoded[split][:2], **shapes)


def load_pairs(data: Data, vocabularies: tuple[Vocabulary, Vocabulary] | None = None) -> Bitext:
    """Reads, splits and encodes pairs.

    Args:
        data: the source of the pairs, and their vocabularies.
        vocabularies: the vocabularies of an earlier run; None: made from the training pairs.

    Returns:
        The pairs. Over-long training pairs are dropped or cut as `data` says, those of the other splits never.

    Raises:
        InputError: the pairs cannot be loaded, or the vocabularies cannot be built or refuse a text.
    """
    files = {split: getattr(data, split) for split in SPLITS}
    form = {"columns": data.columns, "header": data.header, "prepare": partial(_prepared_pair, data)}
    loaded = load(**files, tfds=data.tfds, split=data.split, **form)
    record = loaded.record | ({"swapped": True} if data.swap else {})
    splits = {split: pairs for split in SPLITS if (pairs := getattr(loaded, split))}
    if vocabularies is None:
        if data.joint and data.target_units not in (None, data.units):
            kinds = f"{data.units} and {data.target_units}"
            raise InputError(f"a joint vocabulary cannot be of kinds {kinds}: give one kind, or --data.no-joint")
        flags = {"max_size": "vocabulary-size", "min_count": "min-count", "character_coverage": "character-coverage"}
        with renamed(**{name: f"--data.{flag}" for name, flag in flags.items()}):
            vocabularies = build_pair_vocabularies(
                splits["train"],
                kind=data.units,
                target_kind=data.target_units,
                joint=data.joint,
                max_size=data.vocabulary_size,
                min_count=data.min_count,
                symbols=source_tags(splits["train"]),
                normalization=data.normalization,
                character_coverage=data.character_coverage,
            )
    encoded = {}
    for split, pairs in splits.items():
        share, cut = 0.99 if data.max_length is None else None, split == "train"
        limits: dict[str, Any] = {"max_length": data.max_length, "share": share, "over_long": data.over_long} if cut else {}
        encoded[split] = encode_pairs(pairs, *vocabularies, **limits)
    source, target, over_long, max_length = encoded["train"]
    record |= {"over_long": over_long, "max_length": max_length} | OutputLimit.of(source, target).record
    return Bitext(record, vocabularies, splits, encoded)


def load_split(data: Data, split: str, vocabularies: tuple[Vocabulary, Vocabulary], *, alone: bool) -> Bitext:
    """Reads and encodes the pairs of a split, prepared as in the run that is measured.

    Args:
        data: the source of the pairs.
        split: "train", "valid" or "test".
        vocabularies: the vocabularies of the run.
        alone: read only the files of this split, if `data` names any.

    Returns:
        The pairs, of at least this split.

    Raises:
        InputError: the split has more than two files, one that cannot be read, or no pair.
    """
    files = getattr(data, split)
    if alone and files:
        if len(files) > 2:
            raise InputError(f"data.{split} names {len(files)} files: give two aligned files, or one with tabs")
        pairs, record = unsplit(*files, columns=data.columns, header=data.header, prepare=partial(_prepared_pair, data))
        if not pairs:
            raise InputError(f"--data.{split} {record['source']}: there is no pair in it, give at least one")
        return Bitext(record, vocabularies, {split: pairs}, {split: encode_pairs(pairs, *vocabularies)})
    text = load_pairs(data, vocabularies)
    if split not in text.pairs:
        raise InputError(f"{text.record['source']} has no {split} pairs: it has {', '.join(text.pairs)}")
    return text


def prepared(data: Data, text: str) -> str:
    """A text in the form of the training texts."""
    text = normalized(text, data.normalization)
    return text.lower() if data.lowercase else text


def _prepared_pair(data: Data, pair: Pair) -> Pair:
    return Pair(*(prepared(data, text) for text in (reversed(pair) if data.swap else pair)))
