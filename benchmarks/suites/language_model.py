"""One training step of a language model: embedding, LSTM layers, softmax cross-entropy, clipping, Adam."""

import dataclasses
import functools

import numpy as np

from benchmarks.harness import SUMS, Values
from benchmarks.network import Network, make_weights, name_weights
from benchmarks.pictures import bars
from benchmarks.suites import Case, Selection, compete_in

TITLE = "a language model's training step"
SHAPED = False
TABLES = ("ratio", "tokens", "first call")
PICTURE = bars

MODELS = {  # symbols, embedding, units, layers, steps, rows
    "characters": (128, 64, 256, 1, 128, 32),
    "words": (10_000, 200, 200, 2, 35, 20),  # the small model of Zaremba et al. 2014
}


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """A language model and a batch.

    Args:
        network: the recurrent layers; they read the embedding.
        symbols: V.
        steps, rows: T and B.
        learning_rate: Adam's learning rate.
        clip_norm: the maximal norm of the gradient; not reached in the first steps, or PyTorch's second biases would count.
    """

    network: Network
    symbols: int
    steps: int
    rows: int
    learning_rate: float = 1e-3
    clip_norm: float = 5.0

    def weights(self) -> dict:
        """float32 arrays: "embedding" [V, E], "layers", "kernel" [H, V], "bias" [V]."""
        return model_weights(self.network, self.symbols)

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and targets, int32 [B, T]."""
        symbols = np.random.default_rng(2).integers(self.symbols, size=(self.rows, self.steps + 1), dtype=np.int32)
        return symbols[:, :-1], symbols[:, 1:]

    def named(self, loss: float, gradient: dict) -> Values:
        """The loss and the gradients by name, to be checked."""
        named = name_weights(gradient["layers"]) | {name: gradient[name] for name in ("embedding", "kernel", "bias")}
        values = {f"{SUMS} {name}": np.asarray(value, np.float32) for name, value in named.items()}
        return values | {"loss": np.float32([loss])}


def model_weights(network: Network, symbols: int) -> dict:
    """An embedding, recurrent layers and a projection."""
    random = np.random.default_rng(3)
    kernel = random.standard_normal((network.output_size, symbols), np.float32) / np.sqrt(network.output_size)
    embedding = random.standard_normal((symbols, network.input_size), np.float32)
    bias = 0.1 * random.standard_normal(symbols, np.float32)
    arrays = {"embedding": embedding, "kernel": kernel.astype(np.float32), "bias": bias}
    return arrays | {"layers": make_weights(network)}


def cases(selection: Selection) -> list[Case]:
    selected = []
    if "training" in selection.modes and "lstm" in selection.cells:
        for name, (symbols, embedding, units, layers, steps, rows) in MODELS.items():
            task = TrainingTask(Network("lstm", embedding, units, layers, dtype=selection.dtype), symbols, steps, rows)
            facts = {"model": name, "T": steps, "B": rows, "D": embedding, "H": units, "V": symbols, "layers": layers}
            selected.append(
                Case(facts, functools.partial(compete_in, "language_model", task, selection.peers), tokens=steps * rows)
            )
    return selected
