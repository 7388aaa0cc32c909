"""Scores of texts beside references: BLEU and chrF as computed by sacreBLEU, and exact match."""

import functools
from collections.abc import Sequence
from typing import Any

from seqjax.annotations import public
from seqjax.errors import InputError
from seqjax.extras import from_extra

TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")  # of sacreBLEU


@public
def bleu(outputs: Sequence[str], references: Sequence[str], *, tokenize: str = "13a") -> float:
    """BLEU of a corpus, 0 to 100, as computed by sacreBLEU, case kept.

        BLEU = 100 * min(1, exp(1 - r / c)) * (p_1 p_2 p_3 p_4) ** (1/4)

    where p_n is the share of the outputs' n-grams that occur in their references, and c and r are the numbers of words of the
    outputs and the references.

    Args:
        outputs: n texts.
        references: n texts, one for each output.
        tokenize: sacreBLEU's rule for words: "13a" (white space and punctuation, as for Western languages), "intl" (by Unicode's
            classes), "zh" (each Chinese character a word), "ja-mecab", "ko-mecab", "char" (each character) or "none".

    Returns:
        The score.

    Raises:
        InputError: no outputs, or another number of references; an unknown rule; sacrebleu, or what the rule needs, is not
            installed.

    Example:
        >>> round(bleu(["the cat sat on the mat"], ["the cat sat on a mat"]), 1)
        53.7
        >>> texts = ["\u4f60\u597d\u5417\u670b\u53cb"], ["\u4f60\u597d\u554a\u670b\u53cb"]
        >>> [round(bleu(*texts, tokenize=rule)) for rule in ("13a", "zh")]
        [0, 30]

    Papineni et al. 2002; Post 2018.
    """
    _check_pairs(outputs, references)
    return _bleu(tokenize).corpus_score(list(outputs), [list(references)]).score


@public
def chrf(outputs: Sequence[str], references: Sequence[str]) -> float:
    """chrF of a corpus, 0 to 100: the F-score (recall counts twice) of character n-grams, n = 1 to 6.

    Args:
        outputs: n texts.
        references: n texts, one for each output.

    Returns:
        The score.

    Raises:
        InputError: no outputs, or another number of references; sacrebleu is not installed.

    Example:
        >>> chrf(["a small house"], ["a small house"])
        100.0

    Popovic 2015.
    """
    _check_pairs(outputs, references)
    return _chrf().corpus_score(list(outputs), [list(references)]).score


@public
def exact_match(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The share of outputs equal to their reference, 0 to 1; any white space counts as one space.

    Args:
        outputs: n texts.
        references: n texts, one for each output.

    Returns:
        The share.

    Raises:
        InputError: no outputs, or another number of references.

    Example:
        >>> exact_match(["a small house", "two cats"], ["a  small house", "two cat"])
        0.5
    """
    _check_pairs(outputs, references)
    return sum(a.split() == b.split() for a, b in zip(outputs, references, strict=True)) / len(outputs)


@public
def text_scores(outputs: Sequence[str], references: Sequence[str], *, tokenize: str = "13a") -> dict[str, float]:
    """All scores of this file: {"bleu": 0 to 100, "chrf": 0 to 100, "exact_match": 0 to 1}.

    Args:
        outputs: n texts.
        references: n texts, one for each output.
        tokenize: as for `bleu`.

    Returns:
        The scores by name.

    Raises:
        InputError: no outputs, or another number of references; sacrebleu is not installed.

    Example:
        >>> text_scores(["a small house"], ["a small house"])["exact_match"]
        1.0
    """
    scores = {score.__name__: score(outputs, references) for score in (chrf, exact_match)}
    return {"bleu": bleu(outputs, references, tokenize=tokenize)} | scores


@public
def sentence_chrf(output: str, other: str) -> float:
    """chrF of one text beside another, 0 to 100; the utility in minimum Bayes risk decoding.

    Args:
        output: a text.
        other: the text that it is compared with.

    Returns:
        The score; 100 for equal texts, empty ones too.

    Raises:
        InputError: sacrebleu is not installed.

    Example:
        >>> sentence_chrf("a small house", "a small horse") > sentence_chrf("a small house", "two cats")
        True
    """
    return 100.0 if output == other else _chrf().sentence_score(output, [other]).score


@public
def words_are_rare(texts: Sequence[str]) -> bool:
    """True if texts have hardly any spaces, so that BLEU of words says little of them: Chinese, Thai, single words.

    Args:
        texts: references.

    Returns:
        True if there are fewer than two words a text on average, or more than 16 characters a word.

    Example:
        >>> words_are_rare(["a small house", "two cats"]), words_are_rare(["\u4f60\u597d\u5417"])
        (False, True)
    """
    words = sum(len(text.split()) for text in texts)
    characters = sum(len("".join(text.split())) for text in texts)
    return words < 2 * len(texts) or characters > 16 * words


@public
def text_signatures(*, tokenize: str = "13a") -> dict[str, str]:
    """sacreBLEU's signatures of `bleu` and `chrf`: version, tokenisation and settings, without which scores do not compare.

    Args:
        tokenize: as for `bleu`.

    Returns:
        {"bleu_signature": ..., "chrf_signature": ...}.

    Raises:
        InputError: an unknown rule; sacrebleu, or what the rule needs, is not installed.

    Example:
        >>> text_signatures()["bleu_signature"].split("|")[3]
        'tok:13a'
    """
    signatures = {}
    for name, metric in (("bleu", _bleu(tokenize)), ("chrf", _chrf())):
        metric.corpus_score(["a"], [["a"]])  # the signature counts the references of the last corpus
        signatures[f"{name}_signature"] = str(metric.get_signature())
    return signatures


def _check_pairs(outputs: Sequence[str], references: Sequence[str]) -> None:
    if len(outputs) != len(references) or not outputs:
        raise InputError(f"{len(outputs)} outputs and {len(references)} references: the numbers must be equal, and at least 1")


def _metrics() -> Any:
    with from_extra("text"):
        from sacrebleu import metrics

    return metrics


@functools.cache
def _bleu(tokenize: str) -> Any:
    if tokenize not in TOKENIZERS:
        raise InputError(f"tokenize is {tokenize!r}, it must be one of {', '.join(TOKENIZERS)}")
    try:
        return _metrics().BLEU(tokenize=tokenize, force=True)  # force: no warning where the texts look tokenised
    except RuntimeError:  # MeCab and its dictionary are extras of sacreBLEU
        extra = tokenize.split("-")[0]
        raise InputError(f"tokenize {tokenize} needs more packages: pip install 'sacrebleu[{extra}]', or take char") from None


@functools.cache
def _chrf() -> Any:
    return _metrics().CHRF()
