"""Corpora as symbols, made once and kept in files if they are long."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax.data.splits import SPLITS
from seqjax.data.text.corpus import Corpus
from seqjax.data.text.documents import AnyDocument
from seqjax.data.text.encoding import build_vocabulary
from seqjax.data.text.tokens import TokenFile, Tokens, chunks, token_dtype, token_pieces
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.serial import from_json, to_json
from seqjax.writing import CannotWriteError, lock, write_bytes

IN_MEMORY = 50_000_000  # characters of a corpus whose symbols are not kept in files
_FORM = 1  # of the files; another number for another form

Notice = Callable[[str, int, int], object]  # a phase, characters that are done, and all characters


@dataclasses.dataclass(frozen=True)
class VocabularySettings:
    """The settings that a vocabulary is built with.

    Args:
        kind, min_count, max_size, normalization: as for `build_vocabulary`.
    """

    kind: str
    min_count: int = 1
    max_size: int | None = None
    normalization: str | None = None


class EncodedCorpus(NamedTuple):
    """The symbols of a corpus.

    Args:
        vocabulary: the vocabulary.
        tokens: integer [N] for each split that is not empty, by name.
        everything: those of all splits in turn, integer [N].
    """

    vocabulary: Vocabulary
    tokens: dict[str, Tokens]
    everything: Tokens


def encode_corpus(
    corpus: Corpus,
    vocabulary: Vocabulary | VocabularySettings,
    *,
    in_memory: int = IN_MEMORY,
    notice: Notice = lambda phase, done, total: None,
) -> EncodedCorpus:
    """Encodes the documents of every split; each document begins with the vocabulary's start symbol, if it has one.

    The symbols of a corpus of more than `in_memory` characters are kept in a file, in a folder named after the hash of the text
    and of the vocabulary's settings below `cache_folder()`, and are read from there the next time. The folder appears when it is
    complete, and is checked by a hash, so that an interruption or damage costs only the time to make it again.

    Args:
        corpus: the corpus.
        vocabulary: a vocabulary, or the settings to build one of the training split.
        in_memory: the most characters of a corpus whose symbols are held in memory.
        notice: called from time to time while the text is read.

    Returns:
        The corpus as symbols.

    Raises:
        InputError: the vocabulary cannot be built or refuses a text, or the files cannot be written.

    Example:
        >>> from seqjax.data.text.corpus import pydoc
        >>> encoded = encode_corpus(pydoc(), VocabularySettings("character"))
        >>> encoded.tokens["train"].dtype, len(encoded.everything) == sum(map(len, encoded.tokens.values()))
        (dtype('uint8'), True)
    """
    if corpus.record["characters"] > in_memory:
        return _kept(corpus, vocabulary, notice)
    vocabulary = _vocabulary(corpus, vocabulary, notice)
    dtype, parts = token_dtype(len(vocabulary)), [np.zeros(0, np.uint8)]
    edges = [0]
    for split in SPLITS:
        parts += [piece.astype(dtype) for piece in token_pieces(getattr(corpus, split), vocabulary)]
        edges.append(sum(map(len, parts)))
    tokens = np.concatenate(parts)
    return _of_edges(vocabulary, edges, lambda begin, end: tokens[begin:end])


def cache_folder() -> Path:
    """The folder of kept files: SEQJAX_CACHE, else seqjax in XDG_CACHE_HOME, else ~/.cache/seqjax; it may always be deleted."""
    own, base = os.environ.get("SEQJAX_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own).expanduser() if own else Path(base or "~/.cache").expanduser() / "seqjax"


def _vocabulary(corpus: Corpus, vocabulary: Vocabulary | VocabularySettings, notice: Notice) -> Vocabulary:
    if isinstance(vocabulary, Vocabulary):
        return vocabulary
    documents = _noticed(corpus.train, "vocabulary", corpus.record["train_characters"], notice)
    separator = "\n" if vocabulary.kind in ("word", "bpe", "unigram") else ""  # so that no word spans two documents
    texts = itertools.chain.from_iterable(itertools.chain(document.pieces(), (separator,)) for document in documents)
    return build_vocabulary(text=texts, **dataclasses.asdict(vocabulary))


def _kept(corpus: Corpus, vocabulary: Vocabulary | VocabularySettings, notice: Notice) -> EncodedCorpus:
    place = cache_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with open(place / f"{_name(corpus)}.lock", "w") as file:
            lock(file.fileno(), wait=True)  # where files cannot be locked, two processes may do the same work
            vocabulary = _kept_vocabulary(place, corpus, vocabulary, notice)
            folder = place / _name(corpus, to_json(vocabulary))
            if (encoded := _read(folder)) is None:
                _write(folder, corpus, vocabulary, notice)
                encoded = _read(folder)
    except (OSError, CannotWriteError) as error:
        size = f"{corpus.record['characters'] / 1e6:,.0f} MB or more"
        reason = f"cannot keep the symbols of the text ({size}) in {place}: {getattr(error, 'strerror', None) or error}"
        raise InputError(f"{reason}; name another folder by the environment variable SEQJAX_CACHE") from None
    if encoded is None:
        raise InputError(f"{folder} does not hold what was written there: the disk may be damaged")
    return encoded


def _name(corpus: Corpus, *more) -> str:
    return "text-" + hashlib.sha256(json.dumps([_FORM, corpus.record["sha256"], *more], sort_keys=True).encode()).hexdigest()[:32]


def _kept_vocabulary(place: Path, corpus: Corpus, vocabulary: Vocabulary | VocabularySettings, notice: Notice) -> Vocabulary:
    if isinstance(vocabulary, Vocabulary):
        return vocabulary
    path = place / f"{_name(corpus, dataclasses.asdict(vocabulary))}.json"
    with contextlib.suppress(OSError, ValueError):
        kept = from_json(json.loads(path.read_text(encoding="utf-8")))
        if isinstance(kept, Vocabulary):
            return kept
    built = _vocabulary(corpus, vocabulary, notice)
    write_bytes(path, json.dumps(to_json(built)).encode())
    return built


def _write(folder: Path, corpus: Corpus, vocabulary: Vocabulary, notice: Notice):
    dtype, digest, count, edges = token_dtype(len(vocabulary)), hashlib.sha256(), 0, [0]
    part = folder.with_suffix(".part")  # left by a process that was killed
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # damaged
    part.mkdir()
    try:
        with open(part / "tokens", "wb") as file:
            for split in SPLITS:
                documents = _noticed(getattr(corpus, split), f"{split} split", corpus.record[f"{split}_characters"], notice)
                for piece in token_pieces(documents, vocabulary):
                    content = piece.astype(dtype).tobytes()
                    digest.update(content)
                    file.write(content)
                    count += piece.size
                edges.append(count)
        about = {"vocabulary": to_json(vocabulary), "edges": edges, "sha256": digest.hexdigest()}
        (part / "about.json").write_text(json.dumps(about), encoding="utf-8")
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _read(folder: Path) -> EncodedCorpus | None:
    """The corpus in a folder; None if there is none, or it is damaged."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        vocabulary: Any = from_json(about["vocabulary"])
        edges, expected = about["edges"], about["sha256"]
        dtype = token_dtype(len(vocabulary))
        everything, digest = TokenFile(folder / "tokens", dtype), hashlib.sha256()
        for chunk in chunks(everything):
            digest.update(chunk.tobytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if digest.hexdigest() != expected:
        return None
    return _of_edges(vocabulary, edges, lambda begin, end: TokenFile(folder / "tokens", dtype, begin, end))


def _of_edges(vocabulary: Vocabulary, edges: list[int], part: Callable[[int, int], Tokens]) -> EncodedCorpus:
    places = zip(SPLITS, itertools.pairwise(edges), strict=True)
    return EncodedCorpus(vocabulary, {split: part(*ends) for split, ends in places if ends[0] < ends[1]}, part(0, edges[-1]))


@dataclasses.dataclass(frozen=True)
class _Noticed:
    """A document that tells how many of its characters have been read."""

    document: AnyDocument
    tell: Callable[[int], object]

    def pieces(self) -> Iterator[str]:
        for piece in self.document.pieces():
            self.tell(len(piece))
            yield piece


def _noticed(documents: Iterable[AnyDocument], phase: str, total: int, notice: Notice) -> Iterator[_Noticed]:
    done = 0

    def tell(more: int):
        nonlocal done
        done += more
        notice(phase, done, total)

    return (_Noticed(document, tell) for document in documents)
