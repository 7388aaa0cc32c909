"""N-gram models, with which language models are compared."""

from collections.abc import Sequence

import numpy as np

from seqjax.data.text.tokens import Tokens
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.probabilistic import ngram


def ngram_losses(train: Tokens, valid: Tokens, vocabulary: Vocabulary, orders: Sequence[int], limit: int) -> dict[str, float]:
    """The losses, in nats per symbol, of n-gram models of a training text over all targets of another text, by name.

    Prints their cost, and leaves them out if the training text has more symbols than `limit`.

    Args:
        train, valid: the texts, integer [N].
        vocabulary: their vocabulary.
        orders: the orders of the models.
        limit: the most symbols that are counted (--ngram-limit).
    """
    if not orders:
        return {}
    seconds, gigabytes = ngram.cost(len(train), max(orders))
    price = f"n-grams of {len(train):,} symbols, about {max(seconds, 1):.0f} s and {max(gigabytes, 0.1):.1f} GB"
    if len(train) > limit:
        print(f"n-gram models are left out: {price}, are more than --ngram-limit {limit:,}", flush=True)
        return {}
    print(f"counting {price}", flush=True)
    longest = ngram.fit(train[:], order=max(orders), vocabulary_size=len(vocabulary), start=vocabulary.start)
    targets = np.arange(len(valid)) > 0
    return {ngram_name(n): ngram.cross_entropy(ngram.truncate(longest, n), valid[:], targets) for n in orders}


def ngram_name(order: int) -> str:
    """The name of an n-gram model in results and tables.

    Example:
        >>> [ngram_name(order) for order in (2, 3, 5)]
        ['bigram', 'trigram', '5gram']
    """
    return {1: "unigram", 2: "bigram", 3: "trigram"}.get(order, f"{order}gram")
