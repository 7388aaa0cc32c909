"""Figures of the texts that a model writes, beside their references."""

import sys
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import decode, metrics
from seqjax.contracts import Decoder
from seqjax.data.batches import Batch
from seqjax.decode import Hypothesis
from seqjax.types import Params

WESTERN = ("13a", "intl", "none")  # rules that take what stands between spaces for a word


def scores_of(
    outputs: Sequence[Hypothesis], references: Sequence[str], tokenize: str, groups: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """BLEU, chrF, exact match, and the share of outputs that were cut at their limit of length.

    Args:
        outputs: the best output of each line.
        references: a text for each.
        tokenize: BLEU's rule, see `metrics.bleu`.
        groups: the places of the outputs of each group; there are also the scores of each, and exact_match is their lowest.
    """
    texts = [output.text for output in outputs]
    scores = metrics.text_scores(texts, references, tokenize=tokenize)
    scores["cut"] = sum(output.cut for output in outputs) / len(outputs)
    for name, places in groups.items():
        group_scores = metrics.text_scores([texts[n] for n in places], [references[n] for n in places], tokenize=tokenize)
        scores |= {f"{figure}_{name}": value for figure, value in group_scores.items()}
        scores["exact_match"] = min(scores["exact_match"], group_scores["exact_match"])
    return scores


def log_probabilities(model: Decoder, params: Params, batches: Sequence[Batch]) -> np.ndarray:
    """The log-probability of each target, in nats, float64 [N]; the rows of batches say by `index` to which it belongs."""
    scored = []
    for batch in batches:
        tokens, lengths = jnp.asarray(batch["target"]), jnp.asarray(batch["target_lengths"])
        scored.append(decode.score(model, params, batch, tokens, lengths).scores)
    places = np.concatenate([batch["index"] for batch in batches])
    nats = np.zeros(places.max() + 1)
    nats[places[places >= 0]] = np.concatenate(jax.device_get(scored))[places >= 0]
    return nats


def chosen_monitor(monitor: str, references: Sequence[str], tokenize: str) -> str:
    """The figure to monitor: for "auto" bleu, or chrf with a warning if the references have hardly any words for BLEU's rule."""
    if tokenize not in WESTERN or not metrics.words_are_rare(references):
        return "bleu" if monitor == "auto" else monitor
    monitor = "chrf" if monitor == "auto" else monitor
    writing = f"warning: the targets have hardly any spaces, so that BLEU with tokenisation {tokenize} says little of them"
    remedy = "--data.bleu-tokenize zh, ja-mecab or char may fit their writing"
    print(f"{writing}: {remedy}; {monitor} chooses the best weights", file=sys.stderr, flush=True)
    return monitor


def warn_of_cut(outputs: Sequence[Hypothesis], flag: str, where: str = ""):
    """Prints a warning of the number of outputs that reached their limit of length before their end.

    Args:
        outputs: the best output of each line.
        flag: the flag that sets another limit.
        where: their origin, for the message.
    """
    cut = sum(output.cut for output in outputs)
    if cut:
        rule = f"cut at their limit of length, which {flag} changes"
        print(f"warning: {cut:,} of {len(outputs):,} outputs{where} were {rule}", file=sys.stderr, flush=True)
