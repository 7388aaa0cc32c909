"""Decoding with the encoder-decoders of experiments/translation: greedy and beam search, against a loop in PyTorch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Values
from benchmarks.pictures import bars
from benchmarks.suites import Case, Selection, compete_in
from experiments.translation.config import PRESETS, Network, build_model
from seqjax.data.text.words import WordVocabulary
from seqjax.models.seq2seq import Seq2Seq

TITLE = "decoding with an encoder-decoder"
SHAPED = False
TABLES = ("ratio", "time", "tokens")
PICTURE = bars

MODELS = {"tiny": 120, "multi30k": 5000}  # presets, and the symbols of their vocabularies
ROWS, WIDTHS, LENGTH = (1, 64), (1, 5), 20
SHORTEST, LONGEST = 12, 20  # symbols of a source


@dataclasses.dataclass(frozen=True)
class TranslationTask:
    """Sources to translate.

    Args:
        network: a preset's network: a bidirectional GRU, additive attention, a GRU with input feeding.
        symbols: V, of source and target.
        rows: B.
        width: beams; 1: greedy.
        length: symbols to decode.
        length_penalty: the length penalty of beam search.
        end_bias: the end symbol's bias; a low one keeps it from being emitted, so that all competitors do the same work.
        dtype: the dtype of the weights.
        start, end, pad: the special symbols.
    """

    network: Network
    symbols: int
    rows: int
    width: int
    length: int = LENGTH
    length_penalty: float = 1.0
    end_bias: float = -1e3
    dtype: str = "float32"
    start, end, pad = 1, 0, 2

    def model(self) -> Seq2Seq:
        """The model that the experiment builds."""
        words = tuple(f"w{i}" for i in range(self.symbols - 4))  # and four special ones
        vocabulary = WordVocabulary(words=words, start=self.start, end=self.end, pad=self.pad, unknown=self.pad + 1)
        return build_model(self.network, "token", vocabulary, vocabulary)

    def weights(self) -> dict:
        """The model's parameters, float32: of the usual scale, but logits as far apart as a trained model's, so that no two
        hypotheses are equally likely to all but rounding."""
        random = np.random.default_rng(4)

        def draw(path, like):
            name = path[-1].key
            scale = 0.1 if name.endswith("bias") else 1.0 if name.endswith("embedding") else like.shape[0] ** -0.5
            return np.float32(scale) * random.standard_normal(like.shape, np.float32)

        params = jax.tree.map_with_path(draw, jax.eval_shape(self.model().init, jax.random.key(0)))
        projection = params["decoder"]["projection"]
        if "kernel" in projection:
            projection["kernel"] *= np.float32(self.network.hidden_size**0.5)
        projection["bias"][self.end] = self.end_bias
        return params

    def batch(self) -> dict:
        """Sources, int32 [B, S], and their lengths."""
        random = np.random.default_rng(5)
        lengths = random.integers(SHORTEST, LONGEST + 1, size=self.rows, dtype=np.int32)
        source = random.integers(self.pad + 1, self.symbols, size=(self.rows, LONGEST), dtype=np.int32)
        source = np.where(np.arange(LONGEST) < lengths[:, None], source, self.pad)
        return {"source": jnp.asarray(source), "source_lengths": jnp.asarray(lengths)}

    def values(self, tokens: np.ndarray, scores: np.ndarray) -> Values:
        """The best hypotheses, [B, L] and [B]; only first symbols if products are inexact, since rounding may choose another."""
        exact = jax.default_backend() == "cpu" and self.dtype == "float32"
        named = {"tokens": tokens.astype(np.float32)[:, : None if exact else 1]}
        return named | ({"scores": scores.astype(np.float32)} if exact else {})


def cases(selection: Selection) -> list[Case]:
    selected = []
    if "forward" in selection.modes and "gru" in selection.cells:
        for name, symbols in MODELS.items():
            network = PRESETS[name].model
            for width in WIDTHS:
                for rows in ROWS:
                    task = TranslationTask(network, symbols, rows, width, dtype=selection.dtype)
                    facts = {"model": name, "search": "greedy" if width == 1 else f"beam {width}"}
                    facts["rows"] = "1 row" if rows == 1 else f"{rows} rows"
                    sizes = {"T": LENGTH, "D": network.embedding_size, "H": network.hidden_size, "V": symbols}
                    build = functools.partial(compete_in, "translate", task, selection.peers)
                    selected.append(Case(facts | sizes, build, tokens=rows * LENGTH))
    return selected
