"""Interpolated Witten-Bell n-gram models, a baseline of counts, as functions on NumPy arrays."""

from typing import NamedTuple

import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array, check_positive, check_symbols
from seqjax.errors import InputError

_DENSE = 1 << 25  # the largest table of counts
_SECONDS, _BYTES = 4e-8, 50  # of `cost`: for each symbol and order; for each symbol


class NGram(NamedTuple):
    """Counts of every k-gram of a text, k = 1 to the order; made by `fit`.

    The key of a k-gram is V times the id of its first k-1 symbols, plus its last symbol (the empty gram has id 0); its id is
    the index of its key among the sorted keys. Keys therefore stay small for grams of any length.

    Args:
        vocabulary_size: V.
        start: a symbol that is only context, never predicted; or None.
        keys: for each order, int64 [grams], the sorted keys of the grams of the text.
        counts: for each order, int64 [grams], c(h, w): the number of times that symbol w followed context h.
        totals: for each order, int64 [contexts], c(h): the sum of c(h, w) over w.
        distinct: for each order, int64 [contexts], T(h): the number of different symbols that followed h.
    """

    vocabulary_size: int
    start: int | None
    keys: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]
    totals: tuple[np.ndarray, ...]
    distinct: tuple[np.ndarray, ...]


@public
def fit(tokens: np.ndarray, *, order: int, vocabulary_size: int, start: int | None = None) -> NGram:
    """Count the grams of a text.

    Args:
        tokens: integer, [N], 0 <= tokens < V.
        order: the longest gram, context and symbol together; 1 is the unigram model.
        vocabulary_size: V.
        start: a symbol at the beginning of documents, which is only context, never predicted; None: no such symbol.

    Returns:
        The model.

    Raises:
        InputError: tokens of a wrong dtype, rank or value; no tokens; an order below 1.

    Example:
        >>> model = fit(np.array([0, 1, 0, 1, 0, 2]), order=2, vocabulary_size=3)
        >>> distribution(model, [0]).round(3).tolist()
        [0.178, 0.533, 0.289]

    Source: Witten and Bell 1991; interpolated as in Chen and Goodman 1999, section 2.4.
    """
    check_positive(vocabulary_size=vocabulary_size)
    tokens = _checked(tokens, vocabulary_size)
    if start is not None:
        check_symbols(vocabulary_size, start=start)
    if order < 1:
        raise InputError(f"order is {order}, it must be at least 1 (a unigram model)")
    if not tokens.size:
        raise InputError("there are no tokens to count: an n-gram model needs at least one")
    tables = []
    context, contexts = np.zeros(tokens.size, np.int64), 1  # the empty gram before every symbol
    for k in range(min(order, tokens.size)):
        longer = k + 1 < min(order, tokens.size)  # only then the grams are contexts
        keys, gram, counts = _counted(context * vocabulary_size + tokens[k:], contexts * vocabulary_size, inverse=longer)
        if start is not None:
            counts[keys % vocabulary_size == start] = 0
        history = keys // vocabulary_size
        totals = np.bincount(history, weights=counts, minlength=contexts).astype(np.int64)
        distinct = np.bincount(history[counts > 0], minlength=contexts)
        tables.append((keys, counts, totals, distinct))
        context, contexts = gram[:-1], keys.size  # a gram is the next symbol's context
    return NGram(vocabulary_size, start, *zip(*tables, strict=True))


def _counted(grams: np.ndarray, limit: int, *, inverse: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct keys of grams below a limit, sorted; for each gram the index of its key (if `inverse`); their counts."""
    if limit > min(4 * grams.size, _DENSE):
        if inverse:
            return np.unique(grams, return_inverse=True, return_counts=True)
        keys, counts = np.unique(grams, return_counts=True)
        return keys, grams[:0], counts
    table = np.bincount(grams, minlength=limit)  # a table of all possible keys is faster than sorting
    keys = np.flatnonzero(table)
    counts = table[keys]
    table[keys] = np.arange(keys.size)
    return keys, table[grams] if inverse else grams[:0], counts


@public
def cost(tokens: int, order: int) -> tuple[float, float]:
    """A rough estimate of the seconds and gigabytes that `fit` takes, from measurements of English prose on one x86 core.

    Args:
        tokens: N, the length of the text.
        order: the longest gram.

    Example:
        >>> seconds, gigabytes = cost(100_000_000, order=5)
        >>> round(seconds), round(gigabytes)
        (20, 5)
    """
    return tokens * order * _SECONDS, tokens * _BYTES / 1e9


@public
def truncate(model: NGram, order: int) -> NGram:
    """The model of a lower order of the same text, without counting again.

    Args:
        model: as returned by `fit`.
        order: at least 1; an order above the model's has no effect.

    Returns:
        The model that `fit` returns for that order.

    Raises:
        InputError: an order below 1.

    Example:
        >>> text = np.array([0, 1, 0, 1, 0, 2])
        >>> bigram = truncate(fit(text, order=5, vocabulary_size=3), 2)
        >>> distribution(bigram, [0]).round(3).tolist()
        [0.178, 0.533, 0.289]
    """
    if order < 1:
        raise InputError(f"order is {order}, it must be at least 1 (a unigram model)")
    return NGram(model.vocabulary_size, model.start, *(tables[:order] for tables in model[2:]))


@public
def log_probabilities(model: NGram, tokens: np.ndarray) -> np.ndarray:
    """The log-probability of every symbol given the symbols before it.

        p(w | h) = (c(h, w) + T(h) p(w | h')) / (c(h) + T(h))

    where h' is h without its oldest symbol. p(w | h) = p(w | h') if no symbol followed h in the text; below the unigrams
    p is 1 / V.

    Args:
        model: as returned by `fit`.
        tokens: integer, [N]; the first ones have only the shorter context before them.

    Returns:
        float64, [N], in nats.

    Raises:
        InputError: tokens of a wrong dtype, rank or value.

    Example:
        >>> model = fit(np.array([0, 1, 0, 1]), order=2, vocabulary_size=2)
        >>> np.exp(log_probabilities(model, np.array([0, 1]))).round(3).tolist()
        [0.5, 0.833]
    """
    tokens = _checked(tokens, model.vocabulary_size)
    p = np.full(tokens.size, 1 / model.vocabulary_size)
    context = np.zeros(tokens.size, np.int64)
    for k in range(min(len(model.keys), tokens.size)):
        gram = _interpolate(model, k, context, tokens[k:], p[k:])
        context = gram[:-1]
    return np.log(p)


@public
def cross_entropy(model: NGram, tokens: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The mean of -log p over all symbols but the start symbols.

    Args:
        model: as returned by `fit`.
        tokens: integer, [N].
        mask: bool, [N], True where a symbol counts; None: everywhere. Start symbols never count.

    Returns:
        Nats per symbol.

    Raises:
        InputError: tokens or mask of a wrong dtype, shape or value; no symbol counts.

    Example:
        >>> model = fit(np.array([0, 1, 0, 1]), order=1, vocabulary_size=2)
        >>> round(cross_entropy(model, np.array([0, 1])), 4) == round(float(np.log(2)), 4)
        True
    """
    tokens = _checked(tokens, model.vocabulary_size)
    counted = np.ones(tokens.size, np.bool_) if model.start is None else tokens != model.start
    if mask is not None:
        counted &= np.asarray(check_array("mask", mask, "bool", *tokens.shape))
    if not counted.any():
        raise InputError(f"none of the {tokens.size} tokens counts: a cross-entropy needs at least one")
    return float(-log_probabilities(model, tokens)[counted].mean())


@public
def distribution(model: NGram, context) -> np.ndarray:
    """The probability of every symbol after a context.

    Args:
        model: as returned by `fit`.
        context: integer, [any length]; only its last order - 1 symbols are used.

    Returns:
        float64, [V], with sum 1.

    Raises:
        InputError: a context of a wrong dtype, rank or value.

    Example:
        >>> model = fit(np.array([0, 1, 0, 1]), order=3, vocabulary_size=2)
        >>> distribution(model, [1, 0]).round(3).tolist()
        [0.083, 0.917]
    """
    size = model.vocabulary_size
    context = _checked(context, size)
    p, symbols = np.full(size, 1 / size), np.arange(size)
    for k in range(min(len(model.keys), context.size + 1)):
        history = np.zeros(1, np.int64)
        for j, symbol in enumerate(context[context.size - k :]):
            history = _find(model, j, history, symbol)
        _interpolate(model, k, np.repeat(history, size), symbols, p)
    return p


def _find(model: NGram, k: int, context: np.ndarray, symbols) -> np.ndarray:
    """Ids of the (k+1)-grams made of k-grams and the symbols after them; -1 if the model has no such gram."""
    keys = model.keys[k]
    key = np.where(context < 0, -1, context * model.vocabulary_size + symbols)
    gram = np.minimum(np.searchsorted(keys, key), keys.size - 1)
    return np.where(keys[gram] == key, gram, -1)


def _interpolate(model: NGram, k: int, context: np.ndarray, symbols: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Replace p(w | h') by p(w | h) in the array p; return the ids of the grams (h, w)."""
    gram = _find(model, k, context, symbols)
    count = np.where(gram < 0, 0, model.counts[k][gram])
    total, distinct = (np.where(context < 0, 0, table[k][context]) for table in (model.totals, model.distinct))
    followed = total > 0  # contexts that some symbol followed in the text
    p[followed] = ((count + distinct * p) / np.maximum(total + distinct, 1))[followed]
    return gram


def _checked(tokens, vocabulary_size: int) -> np.ndarray:
    tokens = np.asarray(check_array("tokens", tokens, "integer", "N"))
    if tokens.size and (tokens.min() < 0 or tokens.max() >= vocabulary_size):
        raise InputError(f"tokens are from {tokens.min()} to {tokens.max()}, they must be from 0 to {vocabulary_size - 1}")
    return tokens.astype(np.int64)
