"""Figures of held-out texts: unknown symbols, characters, vocabularies of many kinds. A function stands for the model."""

import numpy as np
import pytest

from experiments.text_figures import HeldOut, unknown_symbols
from seqjax.data import Document, encode_documents
from seqjax.data.text.encoding import build_vocabulary

TRAIN, HELD = "a rose is a rose is a rose, no more", "a rose is a \u73ab\u7470"


def held_out(kind, *, text=HELD, **changes):
    vocabulary = build_vocabulary(kind, TRAIN)
    tokens = encode_documents([Document("x", text)], vocabulary)
    _, unseen = unknown_symbols(encode_documents([Document("x", TRAIN)], vocabulary), vocabulary)
    options = {"characters": len(text), "unseen": unseen, "shape": {"batch_size": 2, "length": 3}} | changes
    return HeldOut(name="test", vocabulary=vocabulary, tokens=tokens, **options)


def cost(batches):
    """The mean loss of a model that gives every symbol 0.1 nats times its id."""
    pairs = [(batch["target"][batch["target_mask"]]) for batch in batches]
    return float(np.concatenate(pairs).mean()) / 10


@pytest.mark.parametrize("kind", ["character", "word", "word-punct"])
def test_an_untaught_unknown_symbol_costs_a_constant(kind):
    held = held_out(kind)
    targets, unknown = held.targets
    figures = held.figures(cost)
    ids = held.tokens[1:]
    known = 0.1 * ids[ids != held.vocabulary.unknown].mean()
    assert (targets, unknown) == (len(ids), {"character": 2, "word": 1, "word-punct": 1}[kind])
    assert figures["test_known_loss"] == pytest.approx(known)
    expected = ((targets - unknown) * (known - np.log1p(-held.unseen)) - unknown * np.log(held.unseen)) / targets
    assert figures["test_loss"] == held.loss(cost) == pytest.approx(expected)
    assert figures["test_unknown_share"] == unknown / targets
    per_character = expected * targets / len(HELD) / np.log(2)
    assert figures["test_bits_per_character"] == pytest.approx(per_character)
    unit = {"character": "test_bits"}.get(kind, "test_perplexity")
    assert figures[unit] == pytest.approx(expected / np.log(2) if kind == "character" else np.exp(expected))


def test_a_taught_unknown_symbol_counts_like_any_other():
    held = held_out("character", unseen=None)
    figures = held.figures(cost)
    assert figures["test_loss"] == held.loss(cost) == pytest.approx(0.1 * held.tokens[1:].mean())
    assert figures["test_known_loss"] > figures["test_loss"]


def test_a_text_of_known_symbols_has_one_loss_and_one_without_any_has_one_too():
    assert held_out("character", text="a rose").figures(cost).keys() == {
        "test_loss",
        "test_bits",
        "test_bits_per_character",
        "test_unknown_share",
    }
    alien = held_out("character", text="\u73ab\u7470", unseen=None).figures(cost)
    assert alien["test_unknown_share"] == 1 and "test_known_loss" not in alien
    untaught = held_out("character", text="\u73ab\u7470")  # every target costs the constant
    assert untaught.known_loss(cost) is None
    assert untaught.figures(cost)["test_loss"] == untaught.loss(cost) == pytest.approx(-np.log(untaught.unseen))


def test_the_probability_of_an_unseen_symbol_is_the_share_of_those_seen_once():
    vocabulary = build_vocabulary("character", "aabbc")
    assert unknown_symbols(vocabulary.encode("aabbc"), vocabulary) == (0.0, 0.2)
    document = encode_documents([Document("x", "aabbc")], vocabulary)  # begins with a start symbol, which is not predicted
    assert len(document) == 6 and unknown_symbols(document, vocabulary) == (0.0, 0.2)
    assert unknown_symbols(vocabulary.encode("abcabc"), vocabulary) == (0.0, 1 / 6)
    assert unknown_symbols(vocabulary.encode("aabz"), vocabulary) == (0.25, None)
    assert unknown_symbols(vocabulary.encode("abc"), vocabulary) == (0.0, 0.5)
    assert unknown_symbols(np.arange(9), build_vocabulary("byte", "")) == (0.0, None)
