"""What a run is judged by: losses, and figures of its translations."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from experiments.translation.text import Text, by_tag
from seqjax import decode, metrics
from seqjax.data.text.buckets import evaluation_pairs
from seqjax.data.text.pairs import Pair
from seqjax.decode import Search
from seqjax.models.seq2seq import Seq2Seq
from seqjax.train.step import evaluate, make_eval_step
from seqjax.types import Params

SHOWN = 8  # pairs in samples.txt


class Judge:
    """Measures weights on the splits of a text.

    Args:
        text, model: of the run.
        search: how translations are looked for.
        batch_size: of the batches that losses are measured on.
        mesh: of `data_mesh`.
        shapes: of the training batches, so that losses compile little that is new.
    """

    def __init__(self, text: Text, model: Seq2Seq, search: Search, *, batch_size: int = 64, mesh=None, shapes=()):
        self._text, self._model, self._search = text, model, search
        self._shapes = {"batch_size": batch_size, "shapes": shapes}
        self._eval_step = make_eval_step(model, mesh=mesh)
        self._outputs: list[str] = []

    def watch(self, params: Params, pairs: int) -> dict[str, float]:
        """During training: the validation loss as training has it, and figures of greedy translations of so many pairs."""
        watched = self._text.pairs["valid"][:pairs]
        self._outputs = self.translate(params, watched, self._search.as_greedy())
        loss = evaluate(self._eval_step, self._model, params, self._batches("valid"))
        return {"loss": loss} | figures(self._outputs, watched)

    def sample(self, step: int) -> str:
        """The last translations that `watch` saw, as a text to read."""
        pairs = self._text.pairs["valid"][:SHOWN]
        rows = [f"< {pair.source}\n= {pair.target}\n> {output}\n" for pair, output in zip(pairs, self._outputs, strict=False)]
        return "\n".join([f"--- after {step} steps: source, reference, greedy output ---", *rows])

    def final(self, params: Params, split: str) -> dict[str, float]:
        """The figures of a split, its translations found with the config's search."""
        return self.figures(params, split, self.translate(params, self._text.pairs[split], self._search))

    def figures(self, params: Params, split: str, outputs: Sequence[str]) -> dict[str, float]:
        """What results.json says of a split and its translations."""
        name = "validation" if split == "valid" else split
        found = loss_figures(self.loss(params, split)) | figures(outputs, self._text.pairs[split])
        return {f"{name}_{figure}": value for figure, value in found.items()}

    def translate(self, params: Params, pairs: Sequence[Pair], search) -> list[str]:
        """The best translation of every source."""
        sources = [pair.source for pair in pairs]
        return [best[0].text for best in decode.texts(self._model, params, sources, self._text.vocabularies, search=search)]

    def loss(self, params: Params, split: str) -> float:
        """Nats per target symbol, as searches and `score` have them: infinite where a target may not be written."""
        nats = []
        for batch in self._batches(split):
            tokens, lengths = jnp.asarray(batch["target"]), jnp.asarray(batch["target_lengths"])
            nats.append(decode.score(self._model, params, batch, tokens, lengths).scores)
        count = sum(map(len, self._text.encoded[split].target))
        return -sum(float(of.sum()) for of in jax.device_get(nats)) / count

    def _batches(self, split: str) -> list[dict]:
        source, target, _ = self._text.encoded[split]
        return evaluation_pairs(source, target, **self._shapes)


def figures(outputs: Sequence[str], pairs: Sequence[Pair]) -> dict[str, float]:
    """BLEU, chrF and exact match; where sources have tags, of each tag too: exact_match then is the lowest of them."""
    targets = [pair.target for pair in pairs]
    found = metrics.text_scores(outputs, targets)
    for tag, places in by_tag(pairs).items():
        of_tag = metrics.text_scores([outputs[n] for n in places], [targets[n] for n in places])
        found |= {f"{figure}_{tag}": value for figure, value in of_tag.items()}
        found["exact_match"] = min(found["exact_match"], of_tag["exact_match"])
    return found


def loss_figures(nats: float) -> dict[str, float]:
    """The loss, in nats per target symbol, and as people quote it."""
    return {"loss": nats, "perplexity": metrics.perplexity(nats)}
