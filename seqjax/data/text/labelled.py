"""Labelled lines of text in three splits: from tables, or from the modules of Python's library."""

import hashlib
import platform
import re
import sysconfig
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seqjax.checks import check_positive
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.splits import DEFAULT_SHARES, SPLITS, checked_shares, split_names
from seqjax.data.text.preparing import LabelledLine
from seqjax.data.text.tables import read_rows
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError

MODULES = (  # sizeable, and in the library of every Python from 3.11
    "argparse", "ast", "asyncio", "difflib", "doctest", "email", "http", "inspect", "logging", "mailbox",
    "multiprocessing", "optparse", "pickle", "ssl", "statistics", "subprocess", "tarfile", "typing", "unittest", "xml",
)  # fmt: skip
_SHORTEST = 12  # characters of a line of the library; shorter ones say little


Rows = tuple[LabelledLine, ...]
Prepare = Callable[[LabelledLine], LabelledLine]


@dataclass(frozen=True, repr=False)
class LabelledText:
    """Labelled lines in three splits, and a record of their provenance.

    Args:
        classes: the names of the classes; numbers are in numerical order, other names in alphabetical order.
        train, valid, test: the lines of each split; test may be empty.
        record: a flat dict of JSON values: source, classes (their number), lines and sha256 (of all and of each split), empty
            (the number of lines left out because they have no text or no label).

    Example:
        >>> library_lines(modules=("ast", "typing"), per_module=500)
        LabelledText(Python's library, 2 classes: 804 train, 90 valid, 106 test)
    """

    classes: tuple[str, ...]
    train: Rows
    valid: Rows
    test: Rows
    record: dict

    def __repr__(self) -> str:
        sizes = ", ".join(f"{self.record[split + '_lines']:,} {split}" for split in SPLITS)
        return f"LabelledText({self.record['source']}, {len(self.classes)} classes: {sizes})"


def read_table(
    path: str | Path, encoding: str = "utf-8", *, columns: Sequence[str | int] | None = None, header: str = "refuse"
) -> list[LabelledLine]:
    r"""Reads a table of labelled lines, in order.

    A line is `label<TAB>text`; in a file without any tab it is `label text`, split at the first blank; in JSON lines (*.jsonl) it
    has the keys label and text. Blank lines are left out.

    Args:
        path: the file, plain or *.gz.
        encoding: of the file, such as utf-8 or latin-1.
        columns: the columns, or the keys, of label and text; None: there are two.
        header: "refuse", "skip" or "keep" a first row of titles; for both see `tables.read_rows`.

    Returns:
        The lines, with white space stripped from either part; the text or the label of a line may be empty.

    Raises:
        InputError: the file is missing, damaged, empty or in another encoding, a line has other columns (with its
            number), or the first row is one of titles.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "questions.txt")
        ...     _ = path.write_text("person Who was Galileo ?\nplace Where is Aspen ?\n")
        ...     read_table(path)[1]
        LabelledLine(label='place', text='Where is Aspen ?')
    """
    form = {"columns": columns, "header": header, "encoding": encoding}
    pairs = read_rows(path, ("label", "text"), blank=columns is None, **form)
    rows = [LabelledLine(label.strip(), text.strip()) for label, text in pairs if label.strip() or text.strip()]
    if not rows:
        raise InputError(f"{path} holds no line: a line is a label, a tab and a text")
    return rows


def from_tables(
    train: str | Path,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    *,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
    encoding: str = "utf-8",
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
) -> LabelledText:
    r"""Loads labelled lines from tables; see `read_table`.

    If valid or test is missing, its share of train is split off by a hash of the text, so that equal texts stay together.

    Args:
        train: the table.
        valid, test: likewise, or None.
        split: the shares of a missing valid and test.
        prepare: a function applied to each line before the split, e.g. to lower-case it; None: lines stay as they are.
        encoding: of the tables, such as utf-8 or latin-1.
        columns, header: as for `read_table`.

    Returns:
        The lines; those without a label or a text are left out and counted.

    Raises:
        InputError: a table cannot be read, the split is invalid or leaves train or valid empty, or a label of valid or test
            is not in train.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "films.tsv")
        ...     _ = table.write_text("good\tA gem.\nbad\tToo long.\n")
        ...     from_tables(table, valid=table, split=(1, 0, 0)).classes
        ('bad', 'good')
    """
    files = zip(SPLITS, (train, valid, test), strict=True)
    form = {"columns": columns, "header": header}
    tables = {name: read_table(path, encoding, **form) for name, path in files if path is not None}
    return _labelled(str(train), tables, split, prepare)


def library_lines(
    modules: Sequence[str] = MODULES,
    *,
    per_module: int = 1000,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
) -> LabelledText:
    """Lines of Python's standard library, labelled by the module that they come from; nothing is downloaded.

    A line is stripped of white space. Lines of fewer than 12 characters are left out, and so are lines that two of the modules
    share. Of every module, `per_module` lines are drawn by their hash, so that classes are of equal sizes as far as the modules
    are long enough.

    Args:
        modules: names of modules and packages; those that this Python lacks are left out.
        per_module: the largest number of lines of a module, at least 1.
        split: the shares of train, valid and test; a line's split depends on its hash.
        prepare: as for `from_tables`.

    Returns:
        The lines; their record names the Python version.

    Raises:
        InputError: this Python comes without the sources of two of the modules, or the split is invalid.

    Example:
        >>> {line.label for line in library_lines(modules=("ast", "typing"), per_module=20).train} == {"ast", "typing"}
        True
    """
    check_positive(per_module=per_module)
    root, lines = Path(sysconfig.get_path("stdlib")), {}
    for module in modules:
        files = [root / f"{module}.py", *sorted((root / module).rglob("*.py"))]
        texts = [file.read_bytes().decode("utf-8", "replace") for file in files if file.is_file() and "test" not in file.parts]
        stripped = {line.strip() for text in texts for line in text.splitlines()}
        lines[module] = {line for line in stripped if len(line) >= _SHORTEST}
    counts = Counter(line for texts in lines.values() for line in texts)
    kept = {module: sorted((line for line in texts if counts[line] == 1), key=_draw) for module, texts in lines.items()}
    rows = [LabelledLine(module, line) for module, texts in kept.items() for line in texts[:per_module]]
    if len({row.label for row in rows}) < 2:
        raise InputError(f"this Python comes without its sources (no two of the modules below {root}): give tables")
    rows.sort(key=lambda row: _draw(row.text))
    return _labelled("Python's library", {"train": rows}, split, prepare, python=platform.python_version())


def load(
    train: str | None = None,
    valid: str | None = None,
    test: str | None = None,
    *,
    split: Sequence[float] = DEFAULT_SHARES,
    prepare: Prepare | None = None,
    encoding: str = "utf-8",
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
) -> LabelledText:
    """Loads labelled lines from tables; without a training table, lines of Python's library.

    Args:
        train, valid, test: tables; a missing valid or test is split off from train.
        split, prepare, encoding, columns, header: as for `from_tables`.

    Raises:
        InputError: valid, test, columns, a header or an encoding is given without train, or the chosen loader raises an error.
    """
    if train is None and (valid or test):
        raise InputError("data.valid or data.test is given without data.train: give the training table too")
    if train is None and columns is not None:
        raise InputError(f"--data.columns {' '.join(map(str, columns))} chooses columns of a table: give --data.train TABLE")
    if train is None and header != "refuse":
        raise InputError(f"--data.header {header} is for the first row of a table: give --data.train TABLE")
    if train is None and encoding != "utf-8":
        raise InputError(f"--data.encoding {encoding} is that of a table: give --data.train TABLE")
    if train is None:
        return library_lines(split=split, prepare=prepare)
    options = {"split": split, "prepare": prepare, "encoding": encoding, "columns": columns, "header": header}
    return from_tables(train, valid, test, **options)


def unsplit(
    path: str | Path,
    *,
    prepare: Prepare | None = None,
    encoding: str = "utf-8",
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
) -> tuple[tuple[LabelledLine, ...], dict]:
    r"""Loads all lines of a table in order and without splitting, for evaluation.

    Args:
        path: the table; see `read_table`.
        prepare, encoding, columns, header: as for `from_tables`.

    Returns:
        (rows, record): the lines with a label and a text; the record has source, lines, empty (the number of others) and sha256.

    Raises:
        InputError: the table cannot be read, or no line has both.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "films.tsv")
        ...     _ = path.write_text("good\tA gem.\n")
        ...     unsplit(path)[0]
        (LabelledLine(label='good', text='A gem.'),)
    """
    table = read_table(path, encoding, columns=columns, header=header)
    lines = list(map(prepare, table)) if prepare else table
    rows = tuple(row for row in lines if row.label and row.text)
    if not rows:
        raise InputError(f"{path} holds no line with a label and a text")
    facts = {"lines": len(rows), "empty": len(lines) - len(rows), "sha256": _sha256({"all": rows})}
    return rows, {"source": str(path)} | facts


def line_series(
    rows: Sequence[LabelledLine], words: Vocabulary, classes: Labels, *, max_length: int | None = None, source: str = "the text"
) -> Series:
    """Labelled lines as a Series of symbols.

    Args:
        rows: the lines; all with a label, or none.
        words: the vocabulary.
        classes: the classes.
        max_length: the largest number of symbols of a line, further ones are cut off; None: no limit.
        source: the name of the lines, for messages.

    Returns:
        Series with the input "tokens", int32 [T] of each line, and labels if the lines have some.

    Raises:
        InputError: a label is not one of the classes, a line has no symbol, max_length is below 1, or the vocabulary refuses one.

    Example:
        >>> from seqjax.data.text.words import WordVocabulary
        >>> words, classes = WordVocabulary.from_text("a gem"), Labels(names=("bad", "good"))
        >>> series = line_series([LabelledLine("good", "a gem")], words, classes)
        >>> series.read(0)["tokens"].tolist(), series.labels.tolist()
        ([2, 3], [1])
    """
    labelled = any(row.label for row in rows)
    if labelled:
        _check_labels(rows, classes.names, source)
    tokens = [words.encode(row.text) for row in rows]
    number = {name: n for n, name in enumerate(classes.names)}
    series = Series(
        inputs={"tokens": tokens},
        lengths=np.array([len(row) for row in tokens], np.int64),
        classes=classes,
        names=tuple(f"line {n}" for n in range(1, len(rows) + 1)),
        labels=np.array([number[row.label] for row in rows], np.int64) if labelled else None,
    )
    return series if max_length is None else cut_lines(series, max_length)


def cut_lines(series: Series, max_length: int) -> Series:
    """The same lines, each with its first symbols only.

    Args:
        series: returned by `line_series`.
        max_length: the largest number of symbols of a line.

    Raises:
        InputError: max_length is below 1.
    """
    check_positive(max_length=max_length)
    tokens = [row[:max_length] for row in series.inputs["tokens"]]
    return replace(series, inputs={"tokens": tokens}, lengths=np.minimum(series.lengths, max_length))


def _labelled(
    source: str,
    tables: Mapping[str, Sequence[LabelledLine]],
    shares: Sequence[float],
    prepare: Prepare | None,
    **facts,
) -> LabelledText:
    """The lines with their record; a missing split is split off from train."""
    shares = checked_shares(shares)
    prepared = {name: list(map(prepare, rows)) if prepare else list(rows) for name, rows in tables.items()}
    read = {name: [row for row in rows if row.label and row.text] for name, rows in prepared.items()}
    missing = [0.0 if name in read else share for name, share in zip(SPLITS[1:], shares[1:], strict=True)]
    split_of = split_names((row.text for row in read["train"]), (1 - sum(missing), *missing))
    splits: dict[str, list[LabelledLine]] = {name: [] for name in SPLITS}
    for row in read["train"]:
        splits[split_of[row.text]].append(row)
    splits |= {name: rows for name, rows in read.items() if name != "train"}
    complete = {name: tuple(rows) for name, rows in splits.items()}
    for split in ("train", "valid"):
        if not complete[split]:
            counts = ", ".join(f"{name} {len(rows)}" for name, rows in complete.items())
            raise InputError(
                f"{source}: the {split} split is empty (lines: {counts}): give more lines, or other shares (split 0.6 0.2 0.2)"
            )
    classes = sorted({row.label for row in complete["train"]}, key=_in_order)
    for split in SPLITS[1:]:
        _check_labels(complete[split], classes, f"{source}: {split}")
    record = {"source": source, **facts, "classes": len(classes), "lines": sum(map(len, complete.values()))}
    record |= {f"{split}_lines": len(rows) for split, rows in complete.items()}
    record |= {"empty": sum(map(len, prepared.values())) - record["lines"], "sha256": _sha256(complete)}
    record |= {f"{split}_sha256": _sha256({split: rows}) for split, rows in complete.items()}
    return LabelledText(tuple(classes), *(complete[split] for split in SPLITS), record=record)


def _check_labels(rows: Sequence[LabelledLine], classes: Sequence[str], source: str):
    """Raises InputError unless every label is one of the classes."""
    unknown = sorted({row.label for row in rows} - set(classes), key=_in_order)
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        names = f"{' '.join(unknown[:5])}{more}"
        raise InputError(f"{source} has labels that training has not: {names}; the classes are {' '.join(classes)}")


def _sha256(splits: Mapping[str, Sequence[LabelledLine]]) -> str:
    digest = hashlib.sha256()
    for split, rows in splits.items():
        for row in rows:
            digest.update(b"\0".join(part.encode("utf-8", "surrogatepass") for part in (split, *row)) + b"\0")
    return digest.hexdigest()


def _draw(text: str) -> bytes:
    """A key for sorting in an order that is random, independent of `hashed_split`, and the same everywhere."""
    return hashlib.sha256(b"draw\0" + text.encode("utf-8", "surrogatepass")).digest()


def _in_order(label: str):
    return (0, int(label), "") if re.fullmatch(r"[0-9]{1,15}", label) else (1, 0, label)
