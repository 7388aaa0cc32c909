"""Decoders whose every distribution can be looked up, so that a search can be compared with enumeration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

END = 0


@dataclasses.dataclass(frozen=True)
class Table:
    """A first-order Markov decoder: the next symbol's distribution is a row of a table; the state counts steps."""

    attends = False

    name: str = ""
    traces: list = dataclasses.field(default_factory=list, compare=False)

    def start(self, params, batch):
        return (), jnp.zeros(batch["token"].shape, jnp.int32), batch["token"]

    def step(self, params, memory, state, token):
        self.traces.append(token.shape)  # runs once a trace, not once a step
        return state + 1, params[token]


def table(seed=0, symbols=5):
    return jax.nn.log_softmax(jax.random.normal(jax.random.key(seed), (symbols, symbols)) * 1.5)


def tokens(*values):
    return {"token": jnp.array(values, jnp.int32)}


def log_p_of(logits, path, first):
    """The log-probability of a path through a table."""
    return sum(float(logits[a, b]) for a, b in zip([first, *path], path, strict=False))


@dataclasses.dataclass(frozen=True)
class Tree:
    """A decoder whose distribution depends on the whole path: each path is a node of a tree, each node a row of a table.

    params: {"logits": [B, nodes, V], "weights": [B, nodes, S]}, a table for each row of the batch. The memory holds a batch
    axis; the state is the node. A batch may have "attended", bool [B, S].
    """

    attends = True

    symbols: int
    name: str = ""
    traces: list = dataclasses.field(default_factory=list, compare=False)

    @staticmethod
    def init(rows, symbols, depth, source=3, seed=0, sharpness=1.0):
        nodes = sum(symbols**i for i in range(depth))
        random = np.random.default_rng(seed)
        logits = sharpness * random.standard_normal((rows, nodes, symbols))
        weights = random.dirichlet(np.ones(source), (rows, nodes))
        return {"logits": jnp.asarray(logits, jnp.float32), "weights": jnp.asarray(weights, jnp.float32)}

    def start(self, params, batch):
        rows = batch["row"]
        memory = {"logits": params["logits"][rows], "weights": params["weights"][rows]}
        node = jnp.full(rows.shape, -1, jnp.int32)
        memory["attended"] = batch.get("attended", jnp.ones(memory["weights"][:, 0].shape, bool))
        return memory, node, jnp.zeros(rows.shape, jnp.int32)

    def step(self, params, memory, state, token):
        return self.attend(params, memory, state, token)[:2]

    def attend(self, params, memory, state, token):
        self.traces.append(token.shape)
        node = jnp.where(state < 0, 0, state * self.symbols + 1 + token)
        at = node[:, None, None]
        logits, weights = (jnp.take_along_axis(memory[name], at, axis=1, mode="clip")[:, 0] for name in ("logits", "weights"))
        return node, logits, weights

    def attended(self, memory):
        return memory["attended"]

    def lookup(self, params, row):
        """(distribution, weights) of a path, as the oracle asks for them."""
        logits = np.asarray(params["logits"][row], np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        weights = np.asarray(params["weights"][row], np.float64)

        def node(path):
            at = 0
            for symbol in path:
                at = at * self.symbols + 1 + symbol
            return at

        return lambda path: log_p[node(path)], lambda path: weights[node(path)]


@dataclasses.dataclass(frozen=True)
class Trie:
    """A decoder of given outputs with given probabilities: params {"next": [nodes, V], "logits": [nodes, V]}."""

    attends = False

    @classmethod
    def of(cls, outputs, symbols):
        following, mass = [[0] * symbols], [[0.0] * symbols]
        for path, p in outputs.items():
            node = 0
            for symbol in path:
                mass[node][symbol] += p
                if not following[node][symbol]:
                    following[node][symbol] = len(mass)
                    following.append([0] * symbols)
                    mass.append([0.0] * symbols)
                node = following[node][symbol]
            mass[node][END] += p
        return cls(), {"next": jnp.array(following, jnp.int32), "logits": jnp.log(jnp.array(mass, jnp.float32) + 1e-9)}

    def start(self, params, batch):
        return (), jnp.full(batch["token"].shape, -1, jnp.int32), batch["token"]

    def step(self, params, memory, state, token):
        node = jnp.where(state < 0, 0, params["next"][state, token])
        return node, params["logits"][node]


def rows(*values):
    return {"row": jnp.array(values, jnp.int32)}


@dataclasses.dataclass(frozen=True)
class Reader:
    """A first-order Markov decoder of texts: it begins with the last symbol of its source or prompt, and attends to place t
    of it at step t. The state is the step, [B]."""

    attends = True

    def start(self, params, batch):
        names = ("source", "source_lengths") if "source" in batch else ("tokens", "tokens_lengths")
        symbols, lengths = (batch[name] for name in names)
        last = jnp.maximum(jnp.asarray(lengths) - 1, 0)
        token = jnp.take_along_axis(jnp.asarray(symbols), last[:, None], axis=1)[:, 0]
        attended = jnp.arange(symbols.shape[1])[None] < jnp.asarray(lengths)[:, None]
        return attended, jnp.zeros(token.shape, jnp.int32), token

    def step(self, params, memory, state, token):
        return state + 1, params[token]

    def attend(self, params, memory, state, token):
        return state + 1, params[token], jax.nn.one_hot(state, memory.shape[1])

    def attended(self, memory):
        return memory
