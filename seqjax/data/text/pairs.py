"""Pairs of texts in three splits: from two aligned files, a table, a tfds data set, or numbers in words."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqjax.data.splits import DEFAULT_SHARES, SPLITS, checked_shares, split_names
from seqjax.data.text.tables import read_aligned, read_rows
from seqjax.data.tfds import read_examples
from seqjax.errors import InputError
from seqjax.extras import from_extra

NUMBERS = 1_000_000
_SMALL, _IRREGULAR = 1_000, 100


class Pair(NamedTuple):
    """A source text and its target text; the loaders strip white space around either.

    Args:
        source: the text to read.
        target: the text to write.
    """

    source: str
    target: str


@dataclass(frozen=True, repr=False)
class Pairs:
    """Pairs in three splits, and a record of their provenance.

    Pairs of the training files with an empty side are left out and counted before any split is cut. Validation and test files
    keep every line, so that line n of an output belongs to line n of the input.

    Args:
        train, valid, test: the pairs of each split; test may be empty.
        record: a flat dict of JSON values: source, pairs and sha256 (of all and of each split), empty (the number of pairs
            of the training files that were left out).

    Example:
        >>> pairs = numbers(train=3, valid=1, test=1)
        >>> pairs
        Pairs(numbers to fr, de: 6 train, 2 valid, 2 test)
    """

    train: tuple[Pair, ...]
    valid: tuple[Pair, ...]
    test: tuple[Pair, ...]
    record: dict

    def __repr__(self) -> str:
        sizes = ", ".join(f"{self.record[split + '_pairs']:,} {split}" for split in SPLITS)
        return f"Pairs({self.record['source']}: {sizes})"


Files = tuple[str | Path, str | Path]
Prepare = Callable[[Pair], Pair]


def from_files(
    train: Files,
    valid: Files | None = None,
    test: Files | None = None,
    *,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
) -> Pairs:
    r"""Loads pairs from two files of aligned lines: line n of the second translates line n of the first.

    If valid or test is missing, its share of train is split off by a hash of the source, so that equal sources stay
    together; of few sources each split gets at least one.

    Args:
        train: the file of sources and the file of targets, UTF-8, plain or *.gz.
        valid, test: likewise, or None.
        split: the shares of a missing valid and test.
        prepare: a function applied to each pair before the split, e.g. to lower-case it; None: pairs stay as they are.

    Returns:
        The pairs.

    Raises:
        InputError: a file is missing, damaged or not UTF-8, the line counts differ (with both, and the line at which the
            lengths diverge), or the split is invalid or leaves train or valid empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, text in (("en", "a house\nthe cat\n"), ("de", "ein Haus\ndie Katze\n")):
        ...         _ = Path(folder, name).write_text(text)
        ...     files = f"{folder}/en", f"{folder}/de"
        ...     pairs = from_files(files, valid=files, split=(1, 0, 0))
        >>> pairs.train[1]
        Pair(source='the cat', target='die Katze')
    """
    rows = {
        name: None if files is None else read_aligned(files[0], files[1])
        for name, files in zip(SPLITS, (train, valid, test), strict=True)
    }
    return _pairs(" to ".join(map(str, train)), rows, checked_shares(split), prepare)


def from_tsv(
    train: str | Path,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    *,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
) -> Pairs:
    r"""Loads pairs from a table, every line a source, a tab and its target; or from JSON lines.

    Args:
        train: the table, UTF-8, plain or *.gz, or JSON lines, *.jsonl.
        valid, test: likewise; if None, split off from train as in `from_files`.
        split: the shares of a missing valid and test.
        prepare: as for `from_files`.
        columns: the columns, or the keys, of source and target; None: there are two.
        header: "refuse", "skip" or "keep" a first row of titles; for both see `tables.read_rows`.

    Returns:
        The pairs.

    Raises:
        InputError: a file is missing, damaged or not UTF-8, a line has other columns (with its number), the first row is one
            of titles, or the split is invalid or leaves train or valid empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "replies.tsv")
        ...     _ = table.write_text("How are you?\tFine, thanks.\n")
        ...     from_tsv(table, valid=table, split=(1, 0, 0)).train[0].target
        'Fine, thanks.'
    """
    files, form = zip(SPLITS, (train, valid, test), strict=True), {"columns": columns, "header": header}
    rows = {name: None if path is None else read_rows(path, **form) for name, path in files}
    return _pairs(str(train), rows, checked_shares(split), prepare)


def unsplit(
    *files: str | Path,
    prepare: Prepare | None = None,
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
) -> tuple[tuple[Pair, ...], dict]:
    r"""Loads all pairs of a table, or of two aligned files, in order and without splitting, for evaluation.

    Args:
        files: one table, or the file of sources and the file of targets.
        prepare: as for `from_files`.
        columns, header: as for `from_tsv`.

    Returns:
        (pairs, record): the pairs include those with an empty side; the record has source, pairs and sha256.

    Raises:
        InputError: `from_tsv` or `from_files` would refuse a file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "replies.tsv")
        ...     _ = table.write_text("How are you?\tFine, thanks.\n")
        ...     unsplit(table)[0]
        (Pair(source='How are you?', target='Fine, thanks.'),)
    """
    pairs = _prepared(
        read_rows(files[0], columns=columns, header=header) if len(files) == 1 else read_aligned(files[0], files[1]), prepare
    )
    return tuple(pairs), {"source": " to ".join(map(str, files)), "pairs": len(pairs), "sha256": _sha256({"pairs": pairs})}


def from_tfds(
    name: str,
    data_dir: str | Path | None = None,
    *,
    source: str | None = None,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
) -> Pairs:
    """Loads a parallel data set of TensorFlow Datasets without TensorFlow.

    Its train, validation (or valid) and test splits are used as they are; a missing valid or test is split off from train as
    in `from_files`.

    Args:
        name: the data set's name in tfds: "ted_hrlr_translate/pt_to_en", "wmt16_translate/de-en".
        data_dir: the folder where tfds stores data; None: tfds's default.
        source: the feature to translate from ("en" for the other direction); None: the data set's input.
        split: the shares of a missing valid and test.
        prepare: as for `from_files`.

    Returns:
        The pairs.

    Raises:
        InputError: the name is unknown, there is no network, pair of text features, such source or train split, or the
            split is invalid.
    """

    def choose(texts, supervised) -> tuple[str, ...]:
        both = tuple(supervised or ())[:2]
        both = both if set(both) <= set(texts) and len(both) == 2 else tuple(texts)
        if len(both) != 2:
            raise InputError(f"it must have two text features, or name its input and target; it has {', '.join(texts) or 'none'}")
        if source not in (None, *both):
            raise InputError(f"it has no {source} to translate from, only {' and '.join(both)}")
        return both[::-1] if source == both[1] else both

    shares = checked_shares(split)
    examples = read_examples(name, data_dir, choose, what="pairs", instead="files of your own")
    rows: dict = {"train": examples.get("train", []), "test": examples.get("test")}
    rows["valid"] = examples.get("validation") or examples.get("valid")
    return _pairs(f"tfds:{name}", {split: rows[split] or None for split in SPLITS}, shares, prepare)


def numbers(
    languages: Sequence[str] = ("fr", "de"),
    *,
    train: int = 15_000,
    valid: int = 500,
    test: int = 1_000,
    seed: int = 0,
    prepare: Prepare | None = None,
) -> Pairs:
    """Makes pairs of whole numbers from 0 to 999,999, from English words to other languages, without a download.

    The first word of a source is a tag for the target language, "<fr>" or "<de>". All pairs of a number are in one split, so
    that no language of training has a held-out number. The numbers below 100, which contain nearly every word, are all in
    train; of the numbers 100 to 999, which a random draw would rarely hit, 5 % are in valid, 5 % in test and the rest in
    train; the others are drawn uniformly.

    Args:
        languages: language codes of num2words.
        train, valid, test: the count of numbers in each split; each number gives one pair for every language.
        seed: the seed of the draw, at least 0.
        prepare: as for `from_files`.

    Returns:
        The pairs, shuffled; the record also has languages and num2words, its version.

    Raises:
        InputError: a language is unknown, a size is below 1, the sizes sum to more than a million, or seed is negative.

    Example:
        >>> pairs = numbers(languages=("fr",), train=200, valid=1, test=1)
        >>> sorted(pairs.train, key=lambda pair: len(pair.source))[-1].source.split()[0]
        '<fr>'
        >>> Pair("<fr> ninety-seven", "quatre-vingt-dix-sept") in pairs.train
        True
    """
    with from_extra("text"):
        from num2words import CONVERTER_CLASSES, num2words

    unknown = [language for language in languages if language not in CONVERTER_CLASSES]
    if unknown or not languages:
        raise InputError(
            f"languages are {' '.join(languages) or 'none'}: num2words must know each ({' '.join(CONVERTER_CLASSES)})"
        )
    sizes = (train, valid, test)
    if min(sizes) < 1 or sum(sizes) > NUMBERS or seed < 0:
        raise InputError(
            f"train, valid and test are {sizes} numbers, seed {seed}: at least 1 each, {NUMBERS:,} at most, seed 0 or more"
        )
    rows = {}
    for split, drawn in zip(SPLITS, _draw_numbers(sizes, seed), strict=True):
        english = [(n, num2words(n)) for n in drawn]
        rows[split] = [(f"<{to}> {words}", num2words(n, lang=to)) for n, words in english for to in languages]
    facts = {"languages": list(languages), "num2words": metadata.version("num2words")}
    return _pairs(f"numbers to {', '.join(languages)}", rows, DEFAULT_SHARES, prepare, **facts)


def _draw_numbers(sizes: tuple[int, ...], seed: int) -> list[list[int]]:
    """Distinct numbers for train, valid and test."""
    generator = np.random.default_rng(seed)
    irregular, small = generator.permutation(_IRREGULAR), generator.permutation(np.arange(_IRREGULAR, _SMALL))
    share = len(small) // 20  # 5 %
    reserved = (np.concatenate([irregular, small[2 * share :]]), small[:share], small[share : 2 * share])
    drawn = [numbers[:size] for numbers, size in zip(reserved, sizes, strict=True)]
    others = generator.permutation(np.setdiff1d(np.arange(NUMBERS), np.concatenate(drawn)))
    ends = np.cumsum([size - len(numbers) for size, numbers in zip(sizes, drawn, strict=True)])
    more = np.split(others, ends)[: len(sizes)]
    return [generator.permutation(np.concatenate(both)).tolist() for both in zip(drawn, more, strict=True)]


def _prepared(rows: Sequence[tuple[str, str]], prepare: Prepare | None) -> list[Pair]:
    pairs = [Pair(source.strip(), target.strip()) for source, target in rows]
    return pairs if prepare is None else [prepare(pair) for pair in pairs]


def _sha256(splits: Mapping[str, Sequence[Pair]]) -> str:
    digest = hashlib.sha256()
    for split, pairs in splits.items():
        for pair in pairs:
            digest.update(b"\0".join(part.encode("utf-8", "surrogatepass") for part in (split, *pair)) + b"\0")
    return digest.hexdigest()


def _pairs(
    source: str,
    rows: Mapping[str, Sequence[tuple[str, str]] | None],
    shares: Sequence[float],
    prepare: Prepare | None = None,
    **facts,
) -> Pairs:
    """The pairs with their record; a split that is None is split off from train, an empty train or valid is refused."""
    read = {name: _prepared(texts, prepare) for name, texts in rows.items() if texts is not None}
    complete = [pair for pair in read["train"] if all(pair)]  # before the split: one hash would hold all empty sources
    empty = len(read["train"]) - len(complete)
    missing = [0.0 if name in read else share for name, share in zip(SPLITS[1:], shares[1:], strict=True)]
    split_of = split_names((pair.source for pair in complete), (1 - sum(missing), *missing))
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for pair in complete:
        splits[split_of[pair.source]].append(pair)
    splits |= {name: pairs for name, pairs in read.items() if name != "train"}
    for split in ("train", "valid"):
        if not splits[split]:
            counts = ", ".join(f"{name} {len(splits[name])}" for name in SPLITS)
            raise InputError(
                f"{source}: the {split} split is empty (pairs: {counts}): give more pairs, or other shares (split 0.6 0.2 0.2)"
            )
    record = {"source": source, **facts, "pairs": sum(map(len, splits.values()))}
    record |= {f"{split}_pairs": len(pairs) for split, pairs in splits.items()} | {"empty": empty, "sha256": _sha256(splits)}
    record |= {f"{split}_sha256": _sha256({split: pairs}) for split, pairs in splits.items()}
    return Pairs(*(tuple(splits[split]) for split in SPLITS), record=record)


def load(
    train: Sequence[str] = (),
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    tfds: str | None = None,
    *,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
) -> Pairs:
    """Loads pairs from files, or from a tfds data set; without either, makes numbers in words.

    Args:
        train, valid, test: two aligned files, or one table; an empty valid or test is split off from train.
        tfds: the name of a data set, instead of files.
        split, prepare: as for `from_files`.
        columns, header: as for `from_tsv`.

    Raises:
        InputError: files and a data set are both given, the number of files is wrong, columns are given without a table, or the
            chosen loader raises an error.
    """
    files, given = dict(zip(SPLITS, (train, valid, test), strict=True)), {"split": split, "prepare": prepare}
    if columns is not None and len(train) != 1:
        raise InputError(f"--data.columns {' '.join(map(str, columns))} chooses columns of one table: give --data.train TABLE")
    if tfds is not None:
        if any(files.values()):
            raise InputError(f"data.tfds {tfds} and files are both given: give one of them")
        return from_tfds(tfds, **given)
    if not train:
        if any(files.values()):
            raise InputError("data.valid or data.test is given without data.train: give the training files too")
        return numbers(prepare=prepare)
    for name, paths in files.items():
        if len(paths) > 2 or (paths and len(paths) != len(train)):
            counts = f"data.{name} names {len(paths)} files, data.train {len(train)}"
            raise InputError(f"{counts}: give each two aligned files, or each one with tabs")
    if len(train) == 1:
        held_out = (paths[0] if paths else None for paths in (valid, test))
        return from_tsv(train[0], *held_out, columns=columns, header=header, **given)
    aligned = [(paths[0], paths[1]) if paths else None for paths in (valid, test)]
    return from_files((train[0], train[1]), *aligned, **given)
