"""The figures of a translator: losses and translation scores."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.translation.text import Bitext
from seqjax import decode, metrics
from seqjax.contracts import Decoder
from seqjax.data.text.pairs import Pair
from seqjax.data.text.tags import by_tag
from seqjax.types import Params


def scores_of(outputs: Sequence[str], pairs: Sequence[Pair]) -> dict[str, float]:
    """BLEU, chrF and exact match; with tagged sources also those of each tag, and exact_match is the lowest of the tags."""
    targets = [pair.target for pair in pairs]
    scores = metrics.text_scores(outputs, targets)
    for tag, rows in by_tag(pairs).items():
        tag_scores = metrics.text_scores([outputs[n] for n in rows], [targets[n] for n in rows])
        scores |= {f"{figure}_{tag}": value for figure, value in tag_scores.items()}
        scores["exact_match"] = min(scores["exact_match"], tag_scores["exact_match"])
    return scores


def split_figures(model: Decoder, params: Params, text: Bitext, split: str, outputs: Sequence[str], **shapes) -> dict[str, float]:
    """The final figures of a split and its translations.

    The loss is that of `decode.score`, which searches maximise: it has no label smoothing and no coverage loss, and is infinite
    for a target with a symbol that is never written.
    """
    _, scored = _score(model, params, text, split, **shapes)
    loss = -sum(float(scores.sum()) for scores in scored) / sum(map(len, text.encoded[split].target))
    figures = {"loss": loss, "perplexity": metrics.perplexity(loss)} | scores_of(outputs, text.pairs[split])
    return {f"{'validation' if split == 'valid' else split}_{name}": value for name, value in figures.items()}


def log_probabilities(model: Decoder, params: Params, text: Bitext, split: str, **shapes) -> np.ndarray:
    """The log-probability of each pair's target, in nats, float64 [N]."""
    batches, scored = _score(model, params, text, split, **shapes)
    nats = np.zeros(len(text.pairs[split]))
    for batch, scores in zip(batches, scored, strict=True):
        rows = batch["index"] >= 0
        nats[batch["index"][rows]] = scores[rows]
    return nats


def _score(model: Decoder, params: Params, text: Bitext, split: str, **shapes):
    """The batches of a split, and the log-probabilities of the rows of each batch, float32 [B]."""
    scored, batches = [], text.batches(split, **shapes)
    for batch in batches:
        tokens, lengths = jnp.asarray(batch["target"]), jnp.asarray(batch["target_lengths"])
        scored.append(decode.score(model, params, batch, tokens, lengths).scores)
    return batches, jax.device_get(scored)
