"""Greedy decoding with a language model, tokens per second: seqjax.decode, a hand-written lax.scan in Flax, a loop in PyTorch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Values
from benchmarks.network import Network
from benchmarks.pictures import bars
from benchmarks.suites import Case, Selection, compete_in
from benchmarks.suites.language_model import model_weights

TITLE = "decoding with a language model"
SHAPED = False
TABLES = ("ratio", "tokens")
PICTURE = bars

SYMBOLS, EMBEDDING, UNITS, LAYERS, LENGTH = 128, 64, 256, 1, 256
ROWS = (1, 64)


@dataclasses.dataclass(frozen=True)
class DecodingTask:
    """A language model that goes on after one symbol, row by row.

    Args:
        network: the recurrent layers; they read the embedding.
        symbols: V.
        rows: B.
        length: symbols to decode.
    """

    network: Network
    symbols: int
    rows: int
    length: int

    def weights(self) -> dict:
        """The arrays of `benchmarks.suites.language_model.TrainingTask.weights`."""
        return model_weights(self.network, self.symbols)

    def first(self) -> np.ndarray:
        """The symbol each row begins with, int32 [B]."""
        return np.arange(self.rows, dtype=np.int32) % self.symbols

    def prompts(self) -> dict:
        """The same for seqjax.decode."""
        return {"tokens": jnp.asarray(self.first()[:, None]), "tokens_lengths": jnp.ones(self.rows, jnp.int32)}

    def values(self, tokens) -> Values:
        """The symbols, [B, length]; only each row's first if products are inexact, since rounding may choose another."""
        exact = jax.default_backend() == "cpu" and self.network.dtype == "float32"
        return {"tokens": np.asarray(tokens, np.float32)[:, : None if exact else 1]}


def cases(selection: Selection) -> list[Case]:
    selected = []
    if "forward" in selection.modes and "lstm" in selection.cells:
        for rows in ROWS:
            task = DecodingTask(Network("lstm", EMBEDDING, UNITS, LAYERS, dtype=selection.dtype), SYMBOLS, rows, LENGTH)
            facts = {"T": LENGTH, "B": rows, "D": EMBEDDING, "H": UNITS, "V": SYMBOLS}
            build = functools.partial(compete_in, "decode", task, selection.peers)
            selected.append(Case(facts, build, tokens=rows * LENGTH))
    return selected
