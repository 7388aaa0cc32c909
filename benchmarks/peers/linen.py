"""Flax Linen: `nn.RNN` over `nn.OptimizedLSTMCell`, which its documentation calls the faster one, and `nn.GRUCell`."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.harness import JaxWork, Work
from benchmarks.network import GATES, Network, Weights
from benchmarks.peers import JaxPeer, Recurrent, cast, join_gates, split_gates

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


class Linen(JaxPeer):
    name = "Flax Linen"
    distributions = ("flax",)

    def recurrent(self, network: Network, weights: Weights) -> Recurrent:
        module = layers_of(network)

        def apply(params, xs, lengths=None):
            if lengths is None:
                return module.apply({"params": params}, xs)
            carry, ys = module.apply({"params": params}, xs, seq_lengths=lengths, return_carry=True)
            return ys, carry[1] if network.cell == "lstm" else carry

        return Recurrent(params_of(network, weights), apply, lambda params: weights_of(network, params))

    def logits(self, task, weights: dict) -> Recurrent:
        module = LanguageModel(task.symbols, task.network)
        projection = {"kernel": weights["kernel"], "bias": weights["bias"]}
        params = {"embedding": {"embedding": weights["embedding"]}, "projection": projection}
        params["recurrent"] = params_of(task.network, weights["layers"])

        def back(params):
            layers = weights_of(task.network, params["recurrent"])
            return {"embedding": params["embedding"]["embedding"], "layers": layers} | params["projection"]

        return Recurrent(params, lambda params, tokens: module.apply({"params": params}, tokens), back)

    def decode(self, task) -> Work:
        weights, network = task.weights(), task.network
        cells = [CELLS[network.cell](network.hidden_size, param_dtype=network.dtype) for _ in range(network.layers)]
        embed = nn.Embed(task.symbols, network.input_size, param_dtype=network.dtype)
        dense = nn.Dense(task.symbols, param_dtype=network.dtype)
        params = {
            "embed": {"embedding": weights["embedding"]},
            "cells": [cell_params(network, way[0]) for way in weights["layers"]],
            "dense": {"kernel": weights["kernel"], "bias": weights["bias"]},
        }

        def greedy(params, first):
            def step(carry, _):
                carries, token = carry
                x, new = embed.apply({"params": params["embed"]}, token), []
                for cell, of_cell, state in zip(cells, params["cells"], carries, strict=True):
                    state, x = cell.apply({"params": of_cell}, state, x)
                    new.append(state)
                token = jnp.argmax(dense.apply({"params": params["dense"]}, x), axis=-1).astype(jnp.int32)
                return (new, token), token

            shape = (first.shape[0], network.input_size)
            carries = [cell.initialize_carry(jax.random.key(0), shape) for cell in cells]
            return jax.lax.scan(step, (carries, first), length=task.length)[1].T

        return JaxWork(function=greedy, args=(cast(params, network.dtype), task.first()), values=task.values)


def layers_of(network: Network, name: str | None = None) -> nn.Module:
    """The network's layers, one after another; inside another module they need a name."""

    def rnn():
        cell = CELLS[network.cell](network.hidden_size, param_dtype=network.dtype, parent=None)
        return nn.RNN(cell, time_major=True, parent=None)

    def layer():
        return nn.Bidirectional(rnn(), rnn(), time_major=True, parent=None) if network.bidirectional else rnn()

    return nn.Sequential([layer() for _ in range(network.layers)], name=name)


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, projection."""

    symbols: int
    network: Network

    @nn.compact
    def __call__(self, tokens):
        dtype = self.network.dtype
        xs = nn.Embed(self.symbols, self.network.input_size, param_dtype=dtype, name="embedding")(tokens)
        hs = layers_of(self.network, name="recurrent")(xs)
        return nn.Dense(self.symbols, param_dtype=dtype, name="projection")(hs)


def params_of(network: Network, weights: Weights) -> dict:
    """The parameters of `layers_of(network)`."""
    params = {}
    for i, ways in enumerate(weights):
        cells = [{"cell": cell_params(network, way)} for way in ways]
        params[f"layers_{i}"] = dict(zip(("forward_rnn", "backward_rnn"), cells, strict=True)) if len(cells) == 2 else cells[0]
    return params


def weights_of(network: Network, params: dict) -> Weights:
    """The inverse of `params_of`."""
    layers = [params[f"layers_{i}"] for i in range(network.layers)]
    ways = [[layer["forward_rnn"], layer["backward_rnn"]] if network.bidirectional else [layer] for layer in layers]
    return tuple(tuple(cell_weights(network, way["cell"]) for way in layer) for layer in ways)


def cell_params(network: Network, weights: dict) -> dict:
    """A cell's parameters, a kernel for each gate; an LSTM's bias is with the recurrent kernels, a GRU's with the input's."""
    gates = "ifgo" if network.cell == "lstm" else "rzn"
    inputs = split_gates(weights["input_kernel"], GATES[network.cell])
    recurrent = split_gates(weights["recurrent_kernel"], GATES[network.cell])
    biases = split_gates(weights["bias"], GATES[network.cell])
    params = {}
    for gate, input_kernel, recurrent_kernel, bias in zip(gates, inputs, recurrent, biases, strict=True):
        params[f"i{gate}"] = {"kernel": input_kernel} | ({"bias": bias} if network.cell == "gru" else {})
        params[f"h{gate}"] = {"kernel": recurrent_kernel} | ({"bias": bias} if network.cell == "lstm" else {})
    if network.cell == "gru":
        params["hn"]["bias"] = weights["recurrent_bias"]
    return params


def cell_weights(network: Network, params: dict) -> dict:
    """The inverse of `cell_params`."""
    gates, biased = ("ifgo", "h") if network.cell == "lstm" else ("rzn", "i")
    weights = {
        "input_kernel": join_gates(params[f"i{gate}"]["kernel"] for gate in gates),
        "recurrent_kernel": join_gates(params[f"h{gate}"]["kernel"] for gate in gates),
        "bias": join_gates(params[f"{biased}{gate}"]["bias"] for gate in gates),
    }
    return weights | ({"recurrent_bias": params["hn"]["bias"]} if network.cell == "gru" else {})


PEER = Linen()
