"""The figures of a translator: losses and translation scores."""

from collections.abc import Sequence

from experiments.translation.text import Bitext
from experiments.written import log_probabilities, scores_of, warn_of_cut
from seqjax import metrics
from seqjax.contracts import Decoder
from seqjax.data.text.pairs import Pair
from seqjax.data.text.tags import by_tag
from seqjax.decode import Hypothesis
from seqjax.types import Params


def pair_scores(outputs: Sequence[Hypothesis], pairs: Sequence[Pair], tokenize: str) -> dict[str, float]:
    """The scores of translations, also of each tag; lines that are blank on both sides do not count."""
    rows = [n for n, pair in enumerate(pairs) if any(pair)] or range(len(pairs))
    kept = [pairs[n] for n in rows]
    return scores_of([outputs[n] for n in rows], [pair.target for pair in kept], tokenize, by_tag(kept))


def split_figures(
    model: Decoder, params: Params, text: Bitext, split: str, outputs: Sequence[Hypothesis], tokenize: str, flag: str, **shapes
) -> dict[str, float]:
    """The final figures of a split and its translations; a warning counts those that were cut, and names `flag`.

    The loss is that of `decode.score`, which searches maximise: it has no label smoothing and no coverage loss, and is infinite
    for a target with a symbol that is never written.
    """
    nats = log_probabilities(model, params, text.batches(split, **shapes))
    loss = -float(nats.sum()) / sum(map(len, text.encoded[split].target))
    warn_of_cut(outputs, flag, f" of {split}")
    figures = {"loss": loss, "perplexity": metrics.perplexity(loss)} | pair_scores(outputs, text.pairs[split], tokenize)
    return {f"{'validation' if split == 'valid' else split}_{name}": value for name, value in figures.items()}
