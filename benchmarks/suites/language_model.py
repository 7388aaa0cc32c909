"""One training step of a language model: embedding, LSTM layers, softmax cross-entropy, clipping, Adam."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import peers
from benchmarks.harness import REFERENCE, SUMS, JaxWork, Missing, Values
from benchmarks.network import Network, make_weights, name_weights
from benchmarks.pictures import bars
from benchmarks.suites import Case, Choice, Entries

TITLE = "a language model's training step"
SHAPED = False
TABLES = ("ratio", "tokens", "first call")
PICTURES = {"": bars}

MODELS = {  # symbols, embedding, units, layers, steps, rows
    "characters": (128, 64, 256, 1, 128, 32),
    "words": (10_000, 200, 200, 2, 35, 20),  # the small model of Zaremba et al. 2014
}


@dataclasses.dataclass(frozen=True)
class Task:
    """A language model and a batch.

    Args:
        network: the recurrent layers; they read the embedding.
        symbols: V.
        steps, rows: T and B.
        learning_rate: of Adam.
        clip_norm: of the whole gradient; not reached at the start, for PyTorch's second biases would count.
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
        drawn = np.random.default_rng(2).integers(self.symbols, size=(self.rows, self.steps + 1), dtype=np.int32)
        return drawn[:, :-1], drawn[:, 1:]

    def named(self, loss: float, gradient: dict) -> Values:
        """What is checked."""
        named = name_weights(gradient["layers"]) | {name: gradient[name] for name in ("embedding", "kernel", "bias")}
        found = {f"{SUMS} {name}": np.asarray(value, np.float32) for name, value in named.items()}
        return found | {"loss": np.float32([loss])}


def model_weights(network: Network, symbols: int) -> dict:
    """An embedding, recurrent layers and a projection."""
    random = np.random.default_rng(3)
    kernel = random.standard_normal((network.output_size, symbols), np.float32) / np.sqrt(network.output_size)
    embedding = random.standard_normal((symbols, network.input_size), np.float32)
    bias = 0.1 * random.standard_normal(symbols, np.float32)
    arrays = {"embedding": embedding, "kernel": kernel.astype(np.float32), "bias": bias}
    return arrays | {"layers": make_weights(network)}


def cases(choice: Choice) -> list[Case]:
    made = []
    if "training" in choice.modes and "lstm" in choice.cells:
        for name, (symbols, embedding, units, layers, steps, rows) in MODELS.items():
            task = Task(Network("lstm", embedding, units, layers, dtype=choice.dtype), symbols, steps, rows)
            facts = {"model": name, "T": steps, "B": rows, "D": embedding, "H": units, "V": symbols, "layers": layers}
            made.append(Case(facts, functools.partial(compete_in, "language_model", task, choice.peers), tokens=steps * rows))
    return made


def compete_in(contest: str, task, names: tuple[str, ...]) -> Entries:
    """seqjax and its peers on one task of a model, by the peers' method of that name."""
    works, missing = {}, {}
    for name in (REFERENCE, *names):
        try:
            works[name] = getattr(peers.load(name), contest)(task)
        except Missing as reason:
            missing[name] = str(reason)
    return works, missing


def cross_entropy(logits, targets):
    """The mean over all tokens, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets).mean()


def training_step(model: peers.Recurrent, task: Task, loss_of: Callable = cross_entropy) -> JaxWork:
    """The one way every JAX peer is trained: (weights, optimizer's state, tokens, targets) to the next ones and the loss."""
    optimizer = optax.chain(optax.clip_by_global_norm(task.clip_norm), optax.adam(task.learning_rate))
    weights = peers.cast(model.weights, task.network.dtype)
    tokens, targets = (jnp.asarray(a.T if model.time_major else a) for a in task.batch())

    def step(weights, state, tokens, targets):
        loss, gradient = jax.value_and_grad(lambda weights: loss_of(model.apply(weights, tokens), targets))(weights)
        updates, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, loss

    def values(out) -> Values:  # after one step the first moment is the gradient times 1 - b1
        _, state, loss = out
        return task.named(float(loss), model.restore(optax.tree.get(state, "mu")))

    return JaxWork(function=step, args=(weights, optimizer.init(weights), tokens, targets), values=values)
