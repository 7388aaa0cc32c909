"""Keras 3 on JAX: `keras.layers.LSTM` and `GRU` (a lax.scan, unroll=False), run by `stateless_call`."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from benchmarks.network import GATES, Network, Weights
from benchmarks.peers import JaxPeer, Recurrent, join_gates, split_gates
from seqjax.errors import InputError

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}

if keras.backend.backend() != "jax":
    raise InputError(f"Keras was imported on {keras.backend.backend()}: set KERAS_BACKEND=jax")


class Keras(JaxPeer):
    name = "Keras 3 on JAX"
    distributions = ("keras",)

    def recurrent(self, network: Network, weights: Weights) -> Recurrent:
        layers = layers_of(network)
        if network.layers == 1:
            return self._single(layers[0], network, weights)
        model = keras.Sequential([keras.Input((None, network.input_size), dtype=network.dtype), *layers])
        fixed = [v.value for v in model.non_trainable_variables]
        params = [v for ways in weights for way in ways for v in variables_of(network, way)]

        def apply(params, xs):
            return model.stateless_call(params, fixed, xs, training=True)[0]

        return Recurrent(params, apply, lambda params: weights_of(network, params), time_major=False)

    def _single(self, layer, network: Network, weights: Weights) -> Recurrent:
        layer.build((None, None, network.input_size))
        fixed = [v.value for v in layer.non_trainable_variables]
        params = [v for way in weights[0] for v in variables_of(network, way)]

        def apply(params, xs, lengths=None):
            if lengths is None:
                return layer.stateless_call(params, fixed, xs, training=True)[0]
            layer.return_state = True
            mask = keras.ops.arange(xs.shape[1])[None, :] < lengths[:, None]
            (ys, h, *_), _ = layer.stateless_call(params, fixed, xs, mask=mask, training=True)
            return ys, h

        return Recurrent(params, apply, lambda params: weights_of(network, params), time_major=False)

    def logits(self, task, weights: dict) -> Recurrent:
        network = task.network
        embedding = keras.layers.Embedding(task.symbols, network.input_size, dtype=network.dtype)
        dense = keras.layers.Dense(task.symbols, dtype=network.dtype)
        model = keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *layers_of(network), dense])
        fixed = [v.value for v in model.non_trainable_variables]
        recurrent = [v for ways in weights["layers"] for way in ways for v in variables_of(network, way)]
        params = [weights["embedding"], *recurrent, weights["kernel"], weights["bias"]]

        def back(params):
            embedding, *recurrent, kernel, bias = params
            return {"embedding": embedding, "layers": weights_of(network, recurrent), "kernel": kernel, "bias": bias}

        def apply(params, tokens):
            return model.stateless_call(params, fixed, tokens, training=True)[0]

        return Recurrent(params, apply, back, time_major=False)


def layers_of(network: Network) -> list:
    """The network's layers."""

    def layer():
        zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}  # replaced by seqjax's weights
        return LAYERS[network.cell](network.hidden_size, return_sequences=True, dtype=network.dtype, **zeros)

    return [keras.layers.Bidirectional(layer()) if network.bidirectional else layer() for _ in range(network.layers)]


def variables_of(network: Network, weights: dict) -> list[np.ndarray]:
    """A cell's kernel, recurrent kernel and bias. A GRU's gates are in the order z r n, and it has a recurrent bias."""
    arrays = [weights["input_kernel"], weights["recurrent_kernel"], weights["bias"]]
    if network.cell == "lstm":
        return arrays
    kernel, recurrent, bias = (swap_gates(a) for a in arrays)
    of_state = np.concatenate([np.zeros(2 * network.hidden_size, np.float32), weights["recurrent_bias"]])
    return [kernel, recurrent, np.stack([bias, of_state])]


def weights_of(network: Network, params: list) -> Weights:
    """The inverse of `variables_of`, for all layers."""
    ways = [cell_weights(network, params[i : i + 3]) for i in range(0, len(params), 3)]
    directions = 1 + network.bidirectional
    return tuple(tuple(ways[i : i + directions]) for i in range(0, len(ways), directions))


def cell_weights(network: Network, params: list) -> dict:
    kernel, recurrent, bias = (np.asarray(a) for a in params)
    if network.cell == "lstm":
        return {"input_kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
    weights = {"input_kernel": swap_gates(kernel), "recurrent_kernel": swap_gates(recurrent), "bias": swap_gates(bias[0])}
    return weights | {"recurrent_bias": bias[1, -network.hidden_size :]}


def swap_gates(kernel) -> np.ndarray:
    """r z n to z r n, and back."""
    r, z, n = split_gates(kernel, GATES["gru"])
    return join_gates([z, r, n])


PEER = Keras()
