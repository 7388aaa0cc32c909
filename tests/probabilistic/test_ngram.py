"""Witten-Bell n-grams against a dictionary and the formula."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from seqjax.errors import InputError
from seqjax.probabilistic import ngram


def brute_force(text, order, size, start):
    """p(w | h) by the recursive formula over a dictionary of counts."""
    followers = defaultdict(Counter)
    for t, symbol in enumerate(text):
        for k in range(min(order, t + 1)):
            if symbol != start:
                followers[tuple(text[t - k : t])][symbol] += 1

    def p(symbol, context):
        lower = 1 / size if not context else p(symbol, context[1:])
        counts = followers.get(context)
        return lower if not counts else (counts[symbol] + len(counts) * lower) / (sum(counts.values()) + len(counts))

    def truncated(symbol, context):
        return p(symbol, tuple(context[len(context) - min(order - 1, len(context)) :]))

    return truncated


def some_text(size, count, seed=0):
    """A text with structure: symbols cluster, contexts repeat, some symbols never occur."""
    draw = np.random.default_rng(seed)
    return np.minimum(draw.geometric(0.4, count) - 1, size - 2).repeat(draw.integers(1, 3, count))[:count]


@pytest.mark.parametrize("start", [None, 0])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_equal_the_formula(order, start):
    size = 6
    text, other = some_text(size, 150), some_text(size, 60, seed=1)
    other[20] = size - 1  # not in the text: full back-off after it
    model = ngram.fit(text, order=order, vocabulary_size=size, start=start)
    p = brute_force(text.tolist(), order, size, start)
    expected = [p(w, other[:t].tolist()) for t, w in enumerate(other.tolist())]
    np.testing.assert_allclose(np.exp(ngram.log_probabilities(model, other)), expected, rtol=1e-12)
    for t in range(len(other)):
        distribution = ngram.distribution(model, other[:t])
        np.testing.assert_allclose(distribution, [p(w, other[:t].tolist()) for w in range(size)], rtol=1e-12)
        np.testing.assert_allclose(distribution.sum(), 1, rtol=1e-12)
    counted = other != (-1 if start is None else start)
    assert ngram.cross_entropy(model, other) == pytest.approx(-np.log(expected)[counted].mean(), rel=1e-12)
    mask = np.arange(other.size) % 3 == 0
    assert ngram.cross_entropy(model, other, mask) == pytest.approx(-np.log(expected)[counted & mask].mean(), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_truncated_model_is_the_fitted_one(order):
    text = some_text(6, 200)
    truncated = ngram.truncate(ngram.fit(text, order=4, vocabulary_size=6, start=0), order)
    fitted = ngram.fit(text, order=order, vocabulary_size=6, start=0)
    for one, other in zip(truncated[2:], fitted[2:], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="order is 0"):
        ngram.truncate(truncated, 0)


def test_a_hand_computed_bigram():
    # unigrams of 0 1 0 1 0 2: (c + 3/3) / (6 + 3); after 0 come 1 1 2: (c + 2 p) / (3 + 2)
    model = ngram.fit(np.array([0, 1, 0, 1, 0, 2]), order=2, vocabulary_size=3)
    np.testing.assert_allclose(ngram.distribution(model, []), [4 / 9, 3 / 9, 2 / 9], rtol=1e-12)
    np.testing.assert_allclose(ngram.distribution(model, [0]), [8 / 45, 24 / 45, 13 / 45], rtol=1e-12)


def test_a_start_is_context_and_never_predicted():
    text = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    model = ngram.fit(text, order=2, vocabulary_size=3, start=0)
    after_start, after_two = ngram.distribution(model, [0]), ngram.distribution(model, [2])
    assert after_start.argmax() == 1
    np.testing.assert_allclose(after_two, ngram.distribution(model, []), rtol=1e-12)  # only starts follow: backs off fully
    np.testing.assert_allclose(
        ngram.distribution(model, [])[0], 2 / 7 / 3, rtol=1e-12
    )  # the share of the uniform distribution alone
    assert sum(count.sum() for count in model.counts) == 5 + 5


def test_keys_do_not_overflow_where_powers_of_the_vocabulary_do():
    size = 50_000  # to the power of 7 it is far beyond 64 bits
    text = np.random.default_rng(0).integers(size - 20, size, 300)
    model = ngram.fit(text, order=7, vocabulary_size=size)
    p = brute_force(text.tolist(), 7, size, None)
    expected = [p(w, text[:t].tolist()) for t, w in enumerate(text.tolist())]
    np.testing.assert_allclose(np.exp(ngram.log_probabilities(model, text)), expected, rtol=1e-12)


def test_longer_contexts_help_on_text_that_has_them():
    text = np.resize([1, 2, 3, 1, 3, 2, 4, 4], 4000)
    losses = [ngram.cross_entropy(ngram.fit(text[:2000], order=n, vocabulary_size=5), text[2000:]) for n in (1, 2, 3, 4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.3
    assert losses[-1] < 0.02


def test_texts_shorter_than_the_order():
    model = ngram.fit(np.array([1]), order=4, vocabulary_size=2)
    np.testing.assert_allclose(np.exp(ngram.log_probabilities(model, np.array([1]))), [0.75])
    assert ngram.log_probabilities(model, np.array([], np.int32)).shape == (0,)
    np.testing.assert_allclose(ngram.distribution(model, [0, 1, 0, 1]).sum(), 1)


MODEL = ngram.fit(np.array([0, 1]), order=2, vocabulary_size=2, start=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ngram.fit(np.array([0, 5]), order=2, vocabulary_size=5), "tokens are from 0 to 5, they must be from 0 to 4"),
        (lambda: ngram.fit(np.array([0.0]), order=2, vocabulary_size=5), "tokens is float64"),
        (lambda: ngram.fit(np.array([], np.int32), order=2, vocabulary_size=5), "no tokens to count"),
        (lambda: ngram.fit(np.array([1]), order=0, vocabulary_size=5), "order is 0"),
        (lambda: ngram.log_probabilities(MODEL, np.array([-1])), "from -1 to -1"),
        (lambda: ngram.distribution(MODEL, [2]), "from 2 to 2"),
        (lambda: ngram.cross_entropy(MODEL, np.array([0, 0])), "none of the 2 tokens counts"),
        (lambda: ngram.cross_entropy(MODEL, np.array([0, 1]), np.array([1, 1])), r"mask is int64\[2\], it must be bool \[2\]"),
    ],
)
def test_wrong_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
