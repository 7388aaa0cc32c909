"""Equinox: `eqx.nn.LSTMCell` and `GRUCell` in a `jax.lax.scan` over one row, as its documentation shows, under `vmap`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Missing
from benchmarks.network import Network, Weights
from benchmarks.peers import JaxPeer, Recurrent, cast

CELLS = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}


class Equinox(JaxPeer):
    name = "Equinox"
    distributions = ("equinox",)
    has_lengths = False

    def recurrent(self, network: Network, weights: Weights) -> Recurrent:
        if network.bidirectional:
            raise Missing("has no bidirectional layer")
        params, static = eqx.partition(layers_of(network, weights), eqx.is_array)

        def apply(params, xs):
            return jax.vmap(eqx.combine(params, static), in_axes=1, out_axes=1)(xs)

        return Recurrent(params, apply, lambda params: weights_of(params))

    def logits(self, task, weights: dict) -> Recurrent:
        params, static = eqx.partition(LanguageModel(task, weights), eqx.is_array)

        def back(params):
            arrays = {"kernel": params.projection.weight.T, "bias": params.projection.bias}
            return {"embedding": params.embedding.weight, "layers": weights_of(params.recurrent)} | arrays

        def apply(params, tokens):
            return jax.vmap(eqx.combine(params, static), in_axes=1, out_axes=1)(tokens)

        return Recurrent(params, apply, back)


class Layers(eqx.Module):
    """Cells, each over all steps of one row."""

    cells: list

    def __call__(self, xs):
        for cell in self.cells:
            zeros = jnp.zeros(cell.hidden_size, xs.dtype)
            is_lstm = isinstance(cell, eqx.nn.LSTMCell)

            def step(state, x, cell=cell, is_lstm=is_lstm):
                state = cell(x, state)
                return state, state[0] if is_lstm else state

            _, xs = jax.lax.scan(step, (zeros, zeros) if is_lstm else zeros, xs)
        return xs


class LanguageModel(eqx.Module):
    """Embedding, recurrent layers, projection."""

    embedding: eqx.nn.Embedding
    recurrent: Layers
    projection: eqx.nn.Linear

    def __init__(self, task, weights: dict):
        self.embedding = eqx.nn.Embedding(weight=jnp.asarray(weights["embedding"]))
        self.recurrent = layers_of(task.network, weights["layers"])
        linear = eqx.filter_eval_shape(eqx.nn.Linear, task.network.output_size, task.symbols, key=jax.random.key(0))
        arrays = jnp.asarray(weights["kernel"].T), jnp.asarray(weights["bias"])
        self.projection = eqx.tree_at(lambda linear: (linear.weight, linear.bias), linear, arrays)

    def __call__(self, tokens):
        return jax.vmap(self.projection)(self.recurrent(jax.vmap(self.embedding)(tokens)))


def layers_of(network: Network, weights: Weights) -> Layers:
    """The network with these weights, kernels transposed to [nH, D]."""
    cells = []
    for size, (way,) in zip(network.input_sizes, weights, strict=True):
        cell = eqx.filter_eval_shape(CELLS[network.cell], size, network.hidden_size, key=jax.random.key(0))
        arrays = [way["input_kernel"].T, way["recurrent_kernel"].T, way["bias"]]
        where = ["weight_ih", "weight_hh", "bias"]
        if network.cell == "gru":
            arrays, where = [*arrays, way["recurrent_bias"]], [*where, "bias_n"]
        arrays = cast(arrays, network.dtype)
        cells.append(eqx.tree_at(lambda cell, where=where: [getattr(cell, name) for name in where], cell, arrays))
    return Layers(cells)


def weights_of(layers: Layers) -> Weights:
    """The inverse of `layers_of`."""

    def of_cell(cell) -> dict:
        kernels = {"input_kernel": np.asarray(cell.weight_ih).T, "recurrent_kernel": np.asarray(cell.weight_hh).T}
        recurrent = {"recurrent_bias": cell.bias_n} if isinstance(cell, eqx.nn.GRUCell) else {}
        return kernels | {"bias": cell.bias} | recurrent

    return tuple((of_cell(cell),) for cell in layers.cells)


PEER = Equinox()
