"""Haiku: `hk.LSTM` and `hk.GRU` under `hk.dynamic_unroll`, time first.

Its GRU resets before the product, and exchanges z and 1 - z.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Missing
from benchmarks.network import GATES, Network, Weights
from benchmarks.peers import JaxPeer, Recurrent, join_gates, split_gates

CORES = {"lstm": hk.LSTM, "gru": hk.GRU}


class Haiku(JaxPeer):
    name = "Haiku"
    distributions = ("dm-haiku",)
    gru = "before"
    has_lengths = False

    def recurrent(self, network: Network, weights: Weights) -> Recurrent:
        if network.bidirectional:
            raise Missing("has no bidirectional layer")
        function = hk.without_apply_rng(hk.transform(lambda xs: run(network, xs)))

        return Recurrent(params_of(network, weights), function.apply, lambda params: weights_of(network, params))

    def logits(self, task, weights: dict) -> Recurrent:
        network = task.network

        def model(tokens):
            xs = hk.Embed(task.symbols, network.input_size, name="embedding")(tokens)
            return hk.Linear(task.symbols, name="projection")(run(network, xs))

        function = hk.without_apply_rng(hk.transform(model))
        params = params_of(network, weights["layers"])
        params["embedding"] = {"embeddings": weights["embedding"]}
        params["projection"] = {"w": weights["kernel"], "b": weights["bias"]}

        def back(params):
            projection = {"kernel": params["projection"]["w"], "bias": params["projection"]["b"]}
            return {"embedding": params["embedding"]["embeddings"], "layers": weights_of(network, params)} | projection

        return Recurrent(params, function.apply, back)


def run(network: Network, xs):
    """All layers over all steps."""
    cores = [CORES[network.cell](network.hidden_size, name=f"layer_{i}") for i in range(network.layers)]
    core = cores[0] if len(cores) == 1 else hk.DeepRNN(cores)
    state = jax.tree.map(lambda a: jnp.asarray(a, network.dtype), core.initial_state(xs.shape[1]))
    return hk.dynamic_unroll(core, xs, state)[0]


def params_of(network: Network, weights: Weights) -> dict:
    """Weights as Haiku's dict of modules."""
    params = {}
    for i, (way,) in enumerate(weights):
        if network.cell == "lstm":  # one kernel for (x; h), gates i g f o, and 1 is added to the forget gate
            kernel = swap_gates(np.concatenate([way["input_kernel"], way["recurrent_kernel"]]))
            bias = swap_gates(way["bias"]).copy()
            bias[2 * network.hidden_size : 3 * network.hidden_size] -= 1
            params[f"layer_{i}/linear"] = {"w": kernel, "b": bias}
        else:
            names = {"w_i": "input_kernel", "w_h": "recurrent_kernel", "b": "bias"}
            params[f"layer_{i}"] = {name: mirror(way[ours]) for name, ours in names.items()}
    return params


def weights_of(network: Network, params: dict) -> Weights:
    """The inverse of `params_of`, for a gradient."""

    def layer(i: int) -> dict:
        if network.cell == "lstm":
            kernel, bias = (swap_gates(params[f"layer_{i}/linear"][name]) for name in ("w", "b"))
            of_x, of_h = np.split(kernel, [network.input_sizes[i]])
            return {"input_kernel": of_x, "recurrent_kernel": of_h, "bias": bias}
        names = {"input_kernel": "w_i", "recurrent_kernel": "w_h", "bias": "b"}
        return {ours: mirror(params[f"layer_{i}"][name], back=True) for ours, name in names.items()}

    return tuple((layer(i),) for i in range(network.layers))


def swap_gates(kernel) -> np.ndarray:
    """i f g o to i g f o, and back."""
    i, f, g, o = split_gates(kernel, GATES["lstm"])
    return join_gates([i, g, f, o])


def mirror(kernel, *, back: bool = False) -> np.ndarray:
    """r z n to z r n with z's sign changed (1 - s(a) = s(-a)), and back."""
    first, second, n = split_gates(kernel, GATES["gru"])
    r, z = (second, first) if back else (first, second)
    return join_gates([r, -z, n] if back else [-z, r, n])


PEER = Haiku()
