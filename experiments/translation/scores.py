"""How good translations are: BLEU and chrF as sacreBLEU has them, and how many are right to the letter."""

import functools
from collections.abc import Sequence

from seqjax.errors import InputError


def score(outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The figures of translations beside one reference each.

        exact_match = share of outputs equal to their reference, white space aside

    Args:
        outputs: translations.
        references: as many.

    Returns:
        bleu and chrf, from 0 to 100 as sacreBLEU has them by default (tokenisation 13a, case kept), and exact_match, from 0 to 1.

    Raises:
        InputError: nothing to score, or other numbers of both.

    Example:
        >>> score(["a small house"], ["a small house"])["exact_match"]
        1.0

    Papineni et al. 2002; Popovic 2015; Post 2018.
    """
    import sacrebleu

    if len(outputs) != len(references) or not outputs:
        raise InputError(f"{len(outputs)} outputs and {len(references)} references: there must be as many, and at least one")
    equal = [a.split() == b.split() for a, b in zip(outputs, references, strict=True)]
    bleu = sacrebleu.corpus_bleu(list(outputs), [list(references)], force=True)  # force: do not guess whether it is tokenised
    chrf = sacrebleu.corpus_chrf(list(outputs), [list(references)])
    return {"bleu": bleu.score, "chrf": chrf.score, "exact_match": sum(equal) / len(equal)}


def similarity(output: str, other: str) -> float:
    """chrF of one output beside another, 0 to 100: what minimum Bayes risk expects of it.

    Example:
        >>> similarity("a small house", "a small horse") > similarity("a small house", "two cats")
        True
    """
    return 100.0 if output == other else _chrf().sentence_score(output, [other]).score


@functools.cache
def _chrf():
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def signatures() -> dict[str, str]:
    """What a BLEU and a chrF are worth nothing without.

    Example:
        >>> signatures()["bleu_signature"].split("|")[3]
        'tok:13a'
    """
    from sacrebleu.metrics.bleu import BLEU

    found = {}
    for name, metric in (("bleu", BLEU(force=True)), ("chrf", _chrf())):
        metric.corpus_score(["a"], [["a"]])
        found[f"{name}_signature"] = str(metric.get_signature())
    return found
