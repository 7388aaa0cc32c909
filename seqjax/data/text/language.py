"""Language-model batches of contiguous text: row r of a batch continues in row r of the next."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqjax.data.batches import Batch, Stream, as_position
from seqjax.data.text.documents import AnyDocument
from seqjax.data.text.tokens import TokenFile, Tokens, chunks, token_pieces
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError


def encode_documents(documents: Iterable[AnyDocument], vocabulary: Vocabulary) -> np.ndarray:
    """The symbols of documents, concatenated; each document begins with the vocabulary's start symbol, if it has one.

    Args:
        documents: the documents, in order.
        vocabulary: the vocabulary that encodes them.

    Returns:
        int32, [N].

    Raises:
        InputError: there are no documents, or a symbol is outside a vocabulary that has no unknown symbol.

    Example:
        >>> from seqjax.data.text.characters import CharacterVocabulary
        >>> from seqjax.data.text.documents import Document
        >>> vocabulary = CharacterVocabulary(characters="ab")
        >>> encode_documents([Document("x", "ab"), Document("y", "b")], vocabulary).tolist()
        [0, 2, 3, 0, 3]
    """
    parts = list(token_pieces(documents, vocabulary))
    if not parts:
        raise InputError("there are no documents to encode: the split is empty")
    return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextStream(Stream):
    """An endless stream of training batches of one text.

    A batch is a dict: `tokens` and `target` (the next symbols), int32 [B, T]; `target_mask`, bool [B, T], False where
    the target is the start of a document, which is never predicted; `reset`, bool [B, T], True where the token is the start
    of a document, and at the first step of every epoch. Within an epoch, row r of batch i + 1 continues row r of batch i.

    The text is a ring of N symbols. Epoch 0 begins at symbol 0, epoch e at an offset drawn from (seed, e), so that its
    windows differ; it is cut into B rows of steps_per_epoch windows, and the few remaining symbols are skipped. Batch i is
    a pure function of the stream and i.

    Args:
        tokens: integer, [N], in memory or in a file.
        batch_size: B.
        length: T.
        start: the symbol that begins every document; None: only the first symbol of the text begins one.
        seed: the seed of the epochs' offsets, at least 0.

    Raises:
        InputError: tokens have a wrong dtype or rank, a size is below 1, seed is negative, or the text is too short.

    Example:
        >>> stream = TextStream(tokens=np.array([0, 3, 4, 5, 6, 7, 8, 9, 3]), batch_size=2, length=2, start=0, seed=0)
        >>> stream.steps_per_epoch, stream.batch(0)["tokens"].tolist(), stream.batch(1)["tokens"].tolist()
        (2, [[0, 3], [6, 7]], [[4, 5], [8, 9]])
        >>> iterator = iter(stream)
        >>> iterator.set_state({"next_index": 1})
        >>> next(iterator)["target"].tolist()
        [[5, 6], [9, 3]]
    """

    tokens: Tokens
    batch_size: int
    length: int
    start: int | None
    seed: int

    def __post_init__(self):
        object.__setattr__(self, "tokens", _checked(self.tokens, self.batch_size, self.length))
        needed = self.batch_size * self.length + 1
        if self.tokens.size < needed:
            raise InputError(
                f"the text has {self.tokens.size} tokens, batch {self.batch_size} x length {self.length} needs {needed}: "
                "give more text, a smaller batch or a shorter length"
            )
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, it must be at least 0")

    @property
    def steps_per_epoch(self) -> int:
        return (self.tokens.size - 1) // (self.batch_size * self.length)

    @cached_property
    def identity(self) -> dict:
        digest = hashlib.sha256()
        for chunk in chunks(self.tokens):
            digest.update(chunk.astype("<i4").tobytes())
        return {
            "tokens": digest.hexdigest(),
            "batch_size": self.batch_size,
            "length": self.length,
            "start": self.start,
            "seed": self.seed,
        }

    def batch(self, index: int) -> Batch:
        epoch, step = divmod(as_position(index), self.steps_per_epoch)
        offset = int(np.random.default_rng((self.seed, epoch)).integers(self.tokens.size)) if epoch else 0
        rows = offset + np.arange(self.batch_size) * (self.steps_per_epoch * self.length)
        return _batch(self.tokens, rows + step * self.length, self.length, self.start, first=step == 0)


class EvaluationBatches(Sequence[Batch]):
    """The batches that `evaluation_batches` returns, each made when it is asked for."""

    def __init__(self, tokens: Tokens, batch_size: int, length: int, start: int | None, ignored: int | None):
        self._tokens, self._length, self._start, self._ignored = tokens, length, start, ignored
        self._windows = -(-(tokens.size - 1) // (batch_size * length))
        self._rows = np.arange(batch_size) * (self._windows * length)  # [B]

    def __len__(self) -> int:
        return self._windows

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        window = range(self._windows)[index]
        begins = self._rows + window * self._length  # [B]
        batch = _batch(self._tokens, begins, self._length, self._start, first=window == 0)
        batch["target_mask"] &= begins[:, None] + np.arange(self._length) < self._tokens.size - 1
        if self._ignored is not None:
            batch["target_mask"] &= batch["target"] != self._ignored
        return batch


def evaluation_batches(
    tokens: Tokens, *, batch_size: int, length: int, start: int | None, ignored: int | None = None
) -> EvaluationBatches:
    """Batches of one shape in which every target of a text is counted exactly once.

    The text is cut into batch_size contiguous rows, with as few windows as possible; the unused end of the last rows repeats
    the beginning of the text, with False in target_mask. The state carries over from batch to batch.

    Args:
        tokens: integer, [N], N >= 2, in memory or in a file.
        batch_size: B.
        length: T.
        start: the symbol that begins every document and is never a target, or None.
        ignored: another symbol that is read but is no target, or None.

    Returns:
        A sequence of batches like those of `TextStream`, each made when it is asked for.

    Raises:
        InputError: tokens have a wrong dtype or rank, there are fewer than 2, or a size is below 1.

    Example:
        >>> first, second = evaluation_batches(np.array([0, 3, 4, 5, 6, 7]), batch_size=2, length=2, start=0)
        >>> first["target"].tolist(), second["target_mask"].tolist()
        ([[3, 4], [7, 0]], [[True, True], [False, False]])
    """
    tokens = _checked(tokens, batch_size, length)
    if tokens.size < 2:
        raise InputError(f"the text has {tokens.size} tokens, an evaluation needs at least 2: one to read and one to predict")
    return EvaluationBatches(tokens, batch_size, length, start, ignored)


def _batch(tokens: Tokens, begins: np.ndarray, length: int, start: int | None, *, first: bool) -> Batch:
    """The windows that begin at some positions [B] of the text, which wraps around."""
    positions = (begins[:, None] + np.arange(length + 1)) % tokens.size  # [B, T + 1]
    windows = tokens[positions].astype(np.int32)  # [B, T + 1]
    opens = positions == 0 if start is None else (positions == 0) | (windows == start)  # [B, T + 1]
    reset = opens[:, :-1].copy()  # [B, T]
    reset[:, 0] |= first
    return {"tokens": windows[:, :-1].copy(), "target": windows[:, 1:].copy(), "target_mask": ~opens[:, 1:], "reset": reset}


def _checked(tokens: Tokens, batch_size: int, length: int) -> Tokens:
    tokens = tokens if isinstance(tokens, TokenFile) else np.asarray(tokens)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise InputError(f"tokens are {tokens.dtype} {getattr(tokens, 'shape', '')}, they must be integers in one row")
    if batch_size < 1 or length < 1:
        raise InputError(f"batch size is {batch_size} and length {length}: both must be at least 1")
    return tokens
