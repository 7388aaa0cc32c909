"""The competitors, one file each, written as that library's own documentation writes it for speed.

A module holds PEER. A JAX library's says how to build a network from seqjax's weights, as a pure function; what is jitted and
differentiated, and how, is the same for all of them and stands here. Every peer gets its arrays in a layout that it reads without
a transpose: time first where it has the choice.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import SUMS, JaxWork, Missing, Values, Work
from benchmarks.network import Data, Network, Weights, make_data, make_weights, name_weights

NAMES = {  # names on the command line, in the order of the tables: (name shown, module imported)
    "seqjax": ("seqjax", "seqjax"),
    "linen": ("Flax Linen", "flax"),
    "nnx": ("Flax NNX", "flax"),
    "keras": ("Keras 3 on JAX", "keras"),
    "haiku": ("Haiku", "haiku"),
    "equinox": ("Equinox", "equinox"),
    "torch": ("PyTorch", "torch"),
}
MODES = ("forward", "training")


class LayerTask(NamedTuple):
    """One network over one batch.

    Args:
        network: the network to run.
        steps, rows: T and B.
        mode: "forward", or "training": outputs and the gradients of weights and inputs.
        lengths: whether rows have lengths of their own; then the last real state is computed too.
    """

    network: Network
    steps: int
    rows: int
    mode: str
    lengths: bool = False

    def data(self) -> Data:
        return make_data(self.network, self.steps, self.rows, lengths=self.lengths)


class Recurrent(NamedTuple):
    """A peer's network as a pure function.

    Args:
        weights: a pytree of arrays.
        apply: (weights, xs) -> ys; with lengths (weights, xs, lengths) -> (ys, h of the last real step).
        restore: converts the gradient of weights to seqjax's names and layout.
        time_major: whether xs and ys are [T, B, ..], else [B, T, ..].
        pick: takes ys from the output of apply.
        spread: (output of apply, cotangent of ys) -> the cotangent of that output.
    """

    weights: Any
    apply: Callable
    restore: Callable[[Any], Any]
    time_major: bool = True
    pick: Callable = lambda out: out
    spread: Callable = lambda out, cotangent: cotangent


class Peer:
    """A competitor.

    Args:
        name: the name shown.
        distributions: the packages whose versions are recorded.
        gru: the form of its GRU, one of `benchmarks.network.FORMS`.
        has_lengths: whether it has a mechanism for rows of different lengths.
    """

    name: str
    distributions: tuple[str, ...] = ()
    gru = "after"
    has_lengths = True

    def layers(self, task: LayerTask) -> Work:
        """The network of a task, forward or with its gradients."""
        raise Missing("has no recurrent layers")

    def language_model(self, task) -> Work:
        """A training step of a language model (`benchmarks.suites.language_model.TrainingTask`)."""
        raise Missing("has no language model here")

    def decode(self, task) -> Work:
        """Greedy decoding of a language model (`benchmarks.suites.decode.DecodingTask`)."""
        raise Missing("has no decoder here")

    def translate(self, task) -> Work:
        """Greedy or beam search of an encoder-decoder (`benchmarks.suites.translation.TranslationTask`)."""
        raise Missing("has no encoder-decoder here")


class JaxPeer(Peer):
    """Base of the peers in JAX."""

    def recurrent(self, network: Network, weights: Weights) -> Recurrent:
        """The network with these weights."""
        raise NotImplementedError

    def layers(self, task: LayerTask) -> Work:
        if task.lengths and not self.has_lengths:
            raise Missing("has no lengths or masks")
        return work_of(self.recurrent(task.network, make_weights(task.network)), task)

    def language_model(self, task) -> Work:
        return training_step(self.logits(task, task.weights()), task)

    def logits(self, task, weights: dict) -> Recurrent:
        """The language model with these weights; apply is (weights, tokens) -> logits."""
        raise Missing("has no language model here")


def cast(tree, dtype: str):
    """float32 arrays in the dtype of the computation."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype) if a.dtype == np.float32 else jnp.asarray(a), tree)


def work_of(model: Recurrent, task: LayerTask, extra: tuple = ()) -> JaxWork:
    """The one way every JAX peer is run and differentiated; `extra` are more arguments of apply."""
    data, dtype = task.data(), task.network.dtype
    turn = (lambda a: a) if model.time_major else (lambda a: np.swapaxes(a, 0, 1))
    xs, cotangent, last = cast((turn(data.xs), turn(data.cotangent), data.last), dtype)
    weights = cast(model.weights, dtype)
    more = (*(() if data.lengths is None else (jnp.asarray(data.lengths),)), *extra)

    def forward(weights, xs, *more):
        return model.apply(weights, xs, *more)

    def training(weights, xs, cotangent, *more):
        out, pull = jax.vjp(lambda weights, xs: model.apply(weights, xs, *more), weights, xs)
        return out, *pull(jax.tree.map(lambda a, b: a.astype(b.dtype), model.spread(out, cotangent), out))

    def values(out) -> Values:
        out, *gradients = out if task.mode == "training" else (out,)
        ys, *state = (model.pick(out),) if data.lengths is None else out
        named = {"outputs": turn(np.asarray(ys, np.float32)) * data.real}
        if state:
            named["last state"] = np.asarray(state[0], np.float32)
        if gradients:
            of_weights, of_xs = gradients
            named["gradient of inputs"] = turn(np.asarray(of_xs, np.float32))
            named |= {f"{SUMS} {name}": g for name, g in name_weights(model.restore(of_weights)).items()}
        return named

    if task.mode == "forward":
        return JaxWork(function=forward, args=(weights, xs, *more), values=values)
    cotangents = cotangent if data.lengths is None else (cotangent, last)
    return JaxWork(function=training, args=(weights, xs, cotangents, *more), values=values)


def cross_entropy(logits, targets):
    """The mean over all tokens, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets).mean()


def training_step(model: Recurrent, task, loss_of: Callable = cross_entropy) -> JaxWork:
    """The one way every JAX peer is trained: (weights, optimizer's state, tokens, targets) to the next ones and the loss."""
    optimizer = optax.chain(optax.clip_by_global_norm(task.clip_norm), optax.adam(task.learning_rate))
    weights = cast(model.weights, task.network.dtype)
    tokens, targets = (jnp.asarray(a.T if model.time_major else a) for a in task.batch())

    def step(weights, state, tokens, targets):
        loss, gradient = jax.value_and_grad(lambda weights: loss_of(model.apply(weights, tokens), targets))(weights)
        updates, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, loss

    def values(out) -> Values:  # after one step the first moment is the gradient times 1 - b1
        _, state, loss = out
        return task.named(float(loss), model.restore(optax.tree.get(state, "mu")))

    return JaxWork(function=step, args=(weights, optimizer.init(weights), tokens, targets), values=values)


def installed(name: str) -> bool:
    """True if a peer's library can be imported."""
    return importlib.util.find_spec(NAMES[name][1]) is not None


def load(name: str) -> Peer:
    """A peer, its library imported."""
    return importlib.import_module(f"benchmarks.peers.{name}").PEER


def join_gates(kernels, axis: int = -1) -> np.ndarray:
    """Concatenate the arrays of several gates."""
    return np.concatenate([np.asarray(kernel) for kernel in kernels], axis)


def split_gates(kernel, gates: int, axis: int = -1) -> list[np.ndarray]:
    """Split an array into those of its gates."""
    return np.split(np.asarray(kernel), gates, axis)


def shown(name: str) -> str:
    """The name of a competitor in tables and pictures."""
    return NAMES[name][0] if name in NAMES else name
