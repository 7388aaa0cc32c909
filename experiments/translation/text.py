"""A config's pairs: read, their vocabularies made, in symbols, split by split."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from experiments.command_line import renamed
from experiments.translation.config import Data
from seqjax.data.splits import SPLITS
from seqjax.data.text.encoding import Encoded, build_pair_vocabularies, encode_pairs
from seqjax.data.text.pairs import Pair, Pairs, from_files, from_tfds, from_tsv, numbers, unsplit
from seqjax.data.text.subwords import RESERVED
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError

# The first word of a source that says what is asked for, such as "<fr>".
_TAG = re.compile(rf"(?!(?:{'|'.join(RESERVED)})\s)<\S+>(?=\s)")


class Text(NamedTuple):
    """Pairs, as texts and as symbols.

    Args:
        record: where they come from.
        vocabularies: the source's and the target's, of the training pairs.
        pairs: the texts of each split that is not empty; those of no split under "pairs".
        encoded: their symbols.
    """

    record: dict
    vocabularies: tuple[Vocabulary, Vocabulary]
    pairs: dict[str, tuple[Pair, ...]]
    encoded: dict[str, Encoded]


def read_text(data: Data, vocabularies: tuple[Vocabulary, Vocabulary] | None = None) -> Text:
    """Reads, splits and encodes.

    Args:
        data: which pairs.
        vocabularies: of an earlier run; None: made from the training pairs.

    Returns:
        Text. Over-long training pairs are dropped or cut as `data` says, those of the other splits never.

    Raises:
        InputError: what the loaders and the vocabularies refuse.
    """
    found = read_pairs(data)
    splits = {split: pairs for split in SPLITS if (pairs := getattr(found, split))}
    if vocabularies is None:
        if data.joint and data.target_units not in (None, data.units):
            kinds = f"{data.units} and {data.target_units}"
            raise InputError(f"a joint vocabulary cannot be of kinds {kinds}: give one kind, or --data.no-joint")
        with renamed(max_size="--data.vocabulary-size", min_count="--data.min-count"):
            vocabularies = build_pair_vocabularies(
                splits["train"],
                kind=data.units,
                target_kind=data.target_units,
                joint=data.joint,
                max_size=data.vocabulary_size,
                min_count=data.min_count,
                symbols=tags(splits["train"]),
            )
    encoded = {}
    for split, pairs in splits.items():
        limits = {"max_length": data.max_length, "over_long": data.over_long} if split == "train" else {}
        encoded[split] = encode_pairs(pairs, *vocabularies, **limits)
    return Text(found.record | {"over_long": encoded["train"].over_long}, vocabularies, splits, encoded)


def read_given(files: Sequence[str], data: Data, vocabularies: tuple[Vocabulary, Vocabulary]) -> Text:
    """Reads and encodes the pairs of the flag --pairs: all of them, as one split named "pairs", prepared as a run's own.

    Raises:
        InputError: more than two files, one that cannot be read, or no pair in them.
    """
    if len(files) > 2:
        raise InputError(f"--pairs names {len(files)} files: give two aligned files, or one with tabs")
    pairs, record = unsplit(*files, prepare=partial(_prepared, data))
    if not pairs:
        raise InputError(f"--pairs {record['source']}: there is no pair in it, give at least one")
    return Text(record, vocabularies, {"pairs": pairs}, {"pairs": encode_pairs(pairs, *vocabularies)})


def read_pairs(data: Data) -> Pairs:
    """The pairs that a config names: files, a data set, or numbers in words.

    Raises:
        InputError: files and a data set together, a wrong number of files, or what the loader refuses.
    """
    files = [getattr(data, split) for split in SPLITS]
    prepare = partial(_prepared, data)
    if data.tfds is not None:
        if any(files):
            raise InputError(f"data.tfds {data.tfds} and files are both given: give one of them")
        return _marked(from_tfds(data.tfds, prepare=prepare), data)
    if not data.train:
        if any(files):
            raise InputError("data.valid or data.test is given without data.train: give the training files too")
        return _marked(numbers(prepare=prepare), data)
    for split, paths in zip(SPLITS, files, strict=True):
        if len(paths) > 2 or (paths and len(paths) != len(data.train)):
            told = f"data.{split} names {len(paths)} files, data.train {len(data.train)}"
            raise InputError(f"{told}: give each two aligned files, or each one with tabs")
    if len(data.train) == 1:
        valid, test = (paths[0] if paths else None for paths in (data.valid, data.test))
        found = from_tsv(data.train[0], valid, test, prepare=prepare)
    else:
        valid, test = ((paths[0], paths[1]) if paths else None for paths in (data.valid, data.test))
        found = from_files((data.train[0], data.train[1]), valid, test, prepare=prepare)
    return _marked(found, data)


def changed(before: Mapping, now: Mapping) -> tuple[str, ...]:
    """The splits whose pairs are others than an earlier record says; all of them where it does not tell them apart.

    Example:
        >>> before = {"sha256": "12", "train_sha256": "1", "valid_sha256": "2", "test_sha256": "0"}
        >>> changed(before, before | {"sha256": "13", "valid_sha256": "3"}), changed(before, before)
        (('valid',), ())
    """
    if before.get("sha256", now["sha256"]) == now["sha256"]:
        return ()
    return tuple(split for split in SPLITS if before.get(f"{split}_sha256") != now[f"{split}_sha256"])


def origin(data: Data, record: Mapping, splits: Sequence[str]) -> str:
    """Where some splits come from, and which they are, for a message."""
    files = dict.fromkeys(path for split in splits for path in getattr(data, split) or data.train)
    return f"{' '.join(files) or record['source']} ({', '.join(splits)})"


def tags(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What sources begin with to say what is asked for, such as "<fr>" and "<de>", sorted; a literal "<unk>" or the like is text.

    Example:
        >>> tags([Pair("<fr> two", "deux"), Pair("two < three", "yes"), Pair("<de> two", "zwei")])
        ('<de>', '<fr>')
        >>> tags([Pair("<unk> two", "deux"), Pair("<s> two", "deux")])
        ()
    """
    return tuple(sorted({found[0] for pair in pairs if (found := _TAG.match(pair.source))}))


def by_tag(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """The places of the pairs of each tag, by its name without the brackets; empty unless all have one, and not all the same.

    Example:
        >>> by_tag([Pair("<fr> two", "deux"), Pair("<de> two", "zwei"), Pair("<fr> one", "un")])
        {'de': [1], 'fr': [0, 2]}
        >>> by_tag([Pair("<i> two", "deux"), Pair("<b> two", "deux"), Pair("one", "un")])
        {}
    """
    names = [found[0][1:-1] if (found := _TAG.match(pair.source)) else None for pair in pairs]
    kinds = set(names)
    if None in kinds or len(kinds) < 2:
        return {}
    return {kind: [n for n, name in enumerate(names) if name == kind] for kind in sorted(filter(None, kinds))}


def _prepared(data: Data, pair: Pair) -> Pair:
    source, target = reversed(pair) if data.swap else pair
    return Pair(source.lower(), target.lower()) if data.lowercase else Pair(source, target)


def _marked(pairs: Pairs, data: Data) -> Pairs:
    return dataclasses.replace(pairs, record=pairs.record | {"swapped": True}) if data.swap else pairs
