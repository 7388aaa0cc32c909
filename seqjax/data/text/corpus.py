"""Corpora in three splits: files, folders, the source of Python's library, its manual, or a tfds text by name."""

import ast
import contextlib
import hashlib
import platform
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from seqjax.checks import as_path
from seqjax.data.splits import DEFAULT_SHARES, SPLITS, checked_shares, split_names
from seqjax.data.text.documents import AnyDocument, Document, ExampleDocuments, cut_in_shares, open_document
from seqjax.data.text.files import TextFile, archived, files_below, is_archive, is_included, read_text
from seqjax.data.tfds import read_examples
from seqjax.errors import InputError

_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "encodings", "pydoc_data"}


@dataclass(frozen=True, repr=False)
class Corpus:
    """Documents in three splits, and a record of their provenance.

    Args:
        train, valid, test: the documents of each split; test may be empty.
        record: a flat dict of JSON values: source, python (the version, where the text depends on it), files
            (for tfds, examples), characters and sha256 (of the texts of all splits and of each).

    Example:
        >>> corpus = pydoc()
        >>> corpus.record["source"], corpus.record["files"], corpus.train[0].name
        ('pydoc', 1, 'assert')
    """

    train: Sequence[AnyDocument]
    valid: Sequence[AnyDocument]
    test: Sequence[AnyDocument]
    record: dict

    def __repr__(self) -> str:
        sizes = ", ".join(f"{self.record[split + '_characters']:,} {split}" for split in SPLITS)
        return f"Corpus({self.record['source']}: {sizes} characters)"


def load(
    path: str | Path | None = None,
    corpus: str = "stdlib",
    tfds: str | None = None,
    split: Sequence[float] = DEFAULT_SHARES,
    *,
    include: Sequence[str] = (),
    encoding: str = "utf-8",
    unreadable: str = "refuse",
) -> Corpus:
    """Loads a corpus from a path, else by a tfds name, else one that comes with Python.

    Args:
        path: a text file or a folder of them.
        corpus: "stdlib" or "pydoc", used if neither path nor tfds is given.
        tfds: the name of a text data set of TensorFlow Datasets.
        split: the shares of train, valid and test.
        include, encoding, unreadable: of the files at the path, as for `from_path`.

    Returns:
        The corpus.

    Raises:
        InputError: path and tfds are both given, the corpus is unknown, or the chosen loader raises an error.
    """
    if path is not None and tfds is not None:
        raise InputError(f"path {path} and tfds {tfds} are both given: give one of them")
    if corpus != "stdlib" and (path or tfds) is not None:
        raise InputError(f"corpus {corpus} and {path or tfds} are both given: give one of them")
    if path is not None:
        return from_path(path, split, include=include, encoding=encoding, unreadable=unreadable)
    for name, value, default in (
        ("include", " ".join(include), ""),
        ("encoding", encoding, "utf-8"),
        ("unreadable", unreadable, "refuse"),
    ):
        if value != default:
            raise InputError(f"{name} is {value}: it is for the files of a path, give a path")
    if tfds is not None:
        return from_tfds(tfds, split=split)
    loaders = {"stdlib": stdlib, "pydoc": pydoc}
    if corpus not in loaders:
        raise InputError(f"corpus {corpus!r} is not known: choose one of {', '.join(loaders)}, or give a path")
    return loaders[corpus](split)


def from_path(
    path: str | Path,
    split: Sequence[float] = DEFAULT_SHARES,
    *,
    include: Sequence[str] = (),
    encoding: str = "utf-8",
    unreadable: str = "refuse",
) -> Corpus:
    """Loads a text file, or a folder of them; files named *.gz, *.bz2 or *.xz are unpacked, and a zip archive is a folder.

    A single file is cut in order, by characters. A folder is read recursively, through links, without hidden files, sorted by
    relative path. A file with train, valid or test as a word of that path (`ptb.valid.txt`, `test/01.txt`; the last such word
    counts) belongs to that split; the others are split by a hash of the relative path, each split getting one at least. Files
    without text are left out. The texts stay in their files until they are needed.

    Args:
        path: the file or folder.
        split: the shares of train, valid and test.
        include: patterns such as *.md, of which a file of the folder must match one; empty: all files.
        encoding: the name of the files' encoding in Python.
        unreadable: "refuse" raises an error for a file of the folder that cannot be read or is not in the encoding; "skip"
            leaves it out and counts it in the record.

    Returns:
        The corpus; its characters are those of the files, carriage returns included.

    Raises:
        InputError: the path is missing or empty, no file matches, a text is not in the encoding (with file and byte offset), or
            the split is not three shares of sum 1 or leaves train or valid empty.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "notes.txt").write_text("abcdefghij", encoding="utf-8")
        ...     corpus = from_path(f"{folder}/notes.txt")
        ...     corpus.train[0].text, corpus.valid[0].text, corpus.test[0].text
        ('abcdefgh', 'i', 'j')
    """
    expected = f"give a {encoding.upper()} text file or a folder of them"
    if not str(path):
        raise InputError(f"the path is empty: {expected}")
    if unreadable not in ("refuse", "skip"):
        raise InputError(f'unreadable is {unreadable!r}, it must be "refuse" or "skip"')
    shares, path = checked_shares(split), as_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: {expected}")
    if is_archive(path):
        files = archived(path, encoding)
    else:
        files = files_below(path, encoding=encoding) if path.is_dir() else {path.name: TextFile(path, encoding)}
    if len(files) == 1 and not path.is_dir():
        if include:
            raise InputError(f"include is {' '.join(include)}: it chooses among the files of a folder, and {path} is one file")
        [(name, file)] = files.items()
        document = open_document(name, file)
        if document is None:
            raise InputError(f"{path} is empty: a corpus needs text")
        return _corpus(str(path), [*map(tuple, cut_in_shares([document], shares))], files=1)
    chosen = {name: file for name, file in files.items() if is_included(name, include)}
    if files and not chosen:
        raise InputError(f"no file of {path} matches {' '.join(include)} ({len(files)} files): give other patterns to include")
    documents, skipped = [], []
    for name, file in chosen.items():
        try:
            documents.append(open_document(name, file))
        except InputError as error:
            if unreadable == "refuse":
                raise InputError(f"{error}: choose files by include, or leave such out by unreadable skip") from None
            skipped.append(str(error))
    with_text = [document for document in documents if document is not None]
    facts: dict[str, Any] = {"empty": len(documents) - len(with_text)}
    if skipped:
        facts |= {"skipped": len(skipped), "first_skipped": skipped[0]}
    if not with_text:
        counts = f"{len(chosen)} files, " + (f"{len(skipped)} unreadable, such as: {skipped[0]}" if skipped else "all empty")
        raise InputError(f"folder {path} holds no text ({counts}): a corpus needs text")
    return _corpus(str(path), _assign(with_text, shares, _named_split), **facts)


def stdlib(split: Sequence[float] = DEFAULT_SHARES) -> Corpus:
    """Loads the source of Python's standard library, about nine million characters.

    All *.py files below sysconfig's stdlib path, except those in site-packages, dist-packages, test, tests, idlelib, lib2to3,
    encodings and pydoc_data. Each file is a document, split by a hash of its relative path. Files that are not UTF-8 are left
    out.

    Args:
        split: the shares of train, valid and test.

    Returns:
        The corpus; its record names the Python version.

    Raises:
        InputError: this Python comes without its sources, or the split is invalid.
    """
    shares, root = checked_shares(split), Path(sysconfig.get_path("stdlib"))
    files = {file.relative_to(root).as_posix(): file for file in root.rglob("*.py")}
    documents = []
    for name in sorted(name for name in files if _NOT_LIBRARY.isdisjoint(name.split("/"))):
        with contextlib.suppress(UnicodeDecodeError):
            documents.append(Document(name, files[name].read_bytes().decode("utf-8")))
    documents = [document for document in documents if document.text]
    if not documents:
        raise InputError(f"this Python comes without its sources (no .py file below {root}): give a text with --data.path")
    splits = _assign(documents, shares)
    return _corpus("stdlib", splits, python=platform.python_version())


def pydoc(split: Sequence[float] = DEFAULT_SHARES) -> Corpus:
    """Loads the topics of Python's manual, about 465,000 characters of English prose; each topic is a document.

    They are the dictionary in pydoc_data/topics.py, which is parsed but never executed, split by a hash of the topic's name.

    Args:
        split: the shares of train, valid and test.

    Returns:
        The corpus; its record names the Python version.

    Raises:
        InputError: this Python comes without the topics, or the split is invalid.
    """
    shares, path = checked_shares(split), Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py")
    if not path.is_file():
        raise InputError(f"this Python comes without its manual's topics (no {path}): give a text with --data.path")
    assigned = [node.value for node in ast.parse(read_text(path)).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    topics = next((ast.literal_eval(value) for value in assigned if isinstance(value, ast.Dict)), {})
    documents = [Document(name, topics[name]) for name in sorted(topics) if topics[name]]
    splits = _assign(documents, shares)
    return _corpus("pydoc", splits, files=1, python=platform.python_version())


def from_tfds(name: str, data_dir: str | Path | None = None, *, split: Sequence[float] = DEFAULT_SHARES) -> Corpus:
    """Loads a text data set of TensorFlow Datasets without TensorFlow; each example is a document.

    The texts stay in the data set until they are needed. Its train, validation (or valid) and test splits are used as they are.
    If valid or test is missing, its share of train's characters is cut from the end of train, in the order train, valid, test.
    Some data sets need TensorFlow to be prepared: for those, install seqjax[tfds-tf].

    Args:
        name: the data set's name in tfds: "tiny_shakespeare", "lm1b".
        data_dir: the folder where tfds stores data; None: tfds's default.
        split: the shares of a missing valid and test.

    Returns:
        The corpus.

    Raises:
        InputError: the name is unknown, there is no network, text feature or train split, or the split is invalid.
    """
    shares = checked_shares(split)
    examples = read_examples(name, data_dir, _only_text, what="text", instead="a text with --data.path")

    def documents(split: str) -> Sequence[AnyDocument]:
        return ExampleDocuments(split, examples.get(split, ()))

    train, valid, test = documents("train"), documents("validation") or documents("valid"), documents("test")
    missing = (0.0 if valid else shares[1], 0.0 if test else shares[2])
    train, *cut = cut_in_shares(train, (1 - sum(missing), *missing))
    return _corpus(f"tfds:{name}", (train, valid or cut[0], test or cut[1]))


def _only_text(texts: Sequence[str], supervised) -> tuple[str, ...]:
    if "text" not in texts and len(texts) != 1:
        raise InputError(f"it must have one text feature, or one named text; it has {', '.join(texts) or 'none'}")
    return ("text" if "text" in texts else texts[0],)


def _named_split(name: str) -> str | None:
    words = re.findall(r"(?<![a-z])(train|valid|test)(?:ing|ation|set|s)?(?![a-z])", name.lower())
    return words[-1] if words else None


def _assign(
    documents: Sequence[AnyDocument], shares: Sequence[float], named=lambda name: None
) -> tuple[tuple[AnyDocument, ...], ...]:
    """The documents of each split: the one that `named` gives for a document's name, else by the name's hash."""
    splits, given = {split: [] for split in SPLITS}, {document.name: named(document.name) for document in documents}
    hashed = split_names((name for name, split in given.items() if split is None), shares)
    for document in documents:
        splits[given[document.name] or hashed[document.name]].append(document)
    return tuple(map(tuple, splits.values()))


def _corpus(source: str, splits: Sequence[Sequence[AnyDocument]], *, files: int | None = None, **facts) -> Corpus:
    """The corpus with its record, `facts` included; an empty train or valid split is refused."""
    characters = {split: sum(d.characters for d in documents) for split, documents in zip(SPLITS, splits, strict=True)}
    for split in ("train", "valid"):
        if not characters[split]:
            counts = ", ".join(f"{name} {n}" for name, n in characters.items())
            raise InputError(
                f"{source}: the {split} split is empty (characters: {counts}): give more text, or other shares (split)"
            )
    sums = {f"{split}_sha256": _sha256(documents) for split, documents in zip(SPLITS, splits, strict=True)}
    sums = {"sha256": hashlib.sha256("".join(sums.values()).encode()).hexdigest()} | sums
    record = {"source": source, **facts, "files": sum(map(len, splits)) if files is None else files}
    record |= {"characters": sum(characters.values())} | {f"{split}_characters": n for split, n in characters.items()}
    return Corpus(*splits, record=record | sums)


def _sha256(documents: Sequence[AnyDocument]) -> str:
    """The SHA-256 of texts, wherever they lie."""
    digest = hashlib.sha256()
    for document in documents:
        for part in chain(document.pieces(), "\0"):
            digest.update(part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
