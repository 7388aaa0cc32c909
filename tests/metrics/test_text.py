"""Scores of texts: compared with a calculation by hand, and refused where they cannot be computed."""

import importlib.util
import math
import sys
from collections import Counter

import pytest

from seqjax import metrics
from seqjax.errors import InputError
from seqjax.metrics import text

OUTPUTS = ["the cat sat on the mat", "a dog ran home  today", "two"]
REFERENCES = ["the cat sat on a mat", "a dog ran home today", "three"]


def grams(items, n):
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))


def test_bleu_is_the_geometric_mean_of_clipped_precisions_times_the_brevity_penalty():
    words = [(output.split(), reference.split()) for output, reference in zip(OUTPUTS, REFERENCES, strict=True)]
    precisions = []
    for n in range(1, 5):
        matches = sum((grams(a, n) & grams(b, n)).total() for a, b in words)
        precisions.append(matches / sum(grams(a, n).total() for a, _ in words))
    outputs, references = (sum(map(len, side)) for side in zip(*words, strict=True))
    brevity = min(1, math.exp(1 - references / outputs))
    expected = 100 * brevity * math.exp(sum(map(math.log, precisions)) / 4)
    assert metrics.bleu(OUTPUTS, REFERENCES) == pytest.approx(expected, rel=1e-6)


def test_chrf_is_the_mean_f_score_of_character_n_grams():
    output, reference = "a small house", "a small horse"
    scores = []
    for n in range(1, 7):
        a, b = (grams(side.replace(" ", ""), n) for side in (output, reference))
        precision, recall = (a & b).total() / a.total(), (a & b).total() / b.total()
        scores.append((precision, recall))
    precision, recall = (sum(side) / 6 for side in zip(*scores, strict=True))
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    assert metrics.sentence_chrf(output, reference) == pytest.approx(expected, rel=1e-6)
    assert metrics.chrf([output], [reference]) == pytest.approx(expected, rel=1e-6)
    assert metrics.sentence_chrf("", "") == 100


def test_all_scores_together_are_each_alone():
    assert metrics.text_scores(OUTPUTS, REFERENCES) == {
        "bleu": metrics.bleu(OUTPUTS, REFERENCES),
        "chrf": metrics.chrf(OUTPUTS, REFERENCES),
        "exact_match": 1 / 3,
    }
    bleu, chrf = metrics.text_signatures().values()
    assert bleu.startswith("nrefs:1|case:mixed|eff:no|tok:13a") and chrf.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")


@pytest.mark.parametrize("score", [metrics.bleu, metrics.chrf, metrics.exact_match, metrics.text_scores])
@pytest.mark.parametrize("references", [[], ["a", "b"]])
def test_uneven_or_no_texts_are_refused(score, references):
    with pytest.raises(InputError, match="the numbers must be equal, and at least 1"):
        score(references[:1], references)


def test_a_missing_sacrebleu_is_told_with_the_extra_that_holds_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    text._bleu.cache_clear()
    text._chrf.cache_clear()
    for score in (metrics.bleu, metrics.chrf, metrics.text_scores):
        with pytest.raises(InputError, match=r"sacrebleu.* is not installed: pip install 'seqjax\[text\]'"):
            score(["a"], ["b"])
    with pytest.raises(InputError, match="sacrebleu"):
        metrics.text_signatures()
    assert metrics.exact_match(["a"], ["a"]) == 1


def test_bleu_takes_for_words_what_its_rule_says():
    outputs, references = ["\u6211\u559c\u6b22\u559d\u8336\u3002"], ["\u6211\u559c\u6b22\u559d\u6c34\u3002"]
    scores = {rule: metrics.bleu(outputs, references, tokenize=rule) for rule in ("13a", "zh", "char", "none")}
    assert scores["13a"] == scores["none"] == 0 < 50 < scores["zh"] == scores["char"]
    assert metrics.text_scores(outputs, references, tokenize="zh")["bleu"] == scores["zh"]
    assert "|tok:zh|" in metrics.text_signatures(tokenize="zh")["bleu_signature"]
    with pytest.raises(InputError, match="tokenize is 'th', it must be one of 13a, intl, zh"):
        metrics.bleu(outputs, references, tokenize="th")
    if importlib.util.find_spec("MeCab") is None:
        with pytest.raises(InputError, match=r"tokenize ja-mecab needs more packages: pip install 'sacrebleu\[ja\]'"):
            metrics.bleu(outputs, references, tokenize="ja-mecab")


def test_texts_without_spaces_have_few_words_or_long_ones():
    assert metrics.words_are_rare(["\u6211\u559c\u6b22"]) and metrics.words_are_rare(["k ae t", *["kaet"] * 9])
    assert metrics.words_are_rare([20 * "x" + " " + 20 * "y"]) and not metrics.words_are_rare(["ein kleines Haus", "zwei Katzen"])
