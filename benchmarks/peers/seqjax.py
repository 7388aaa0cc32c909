"""seqjax itself: one `unroll`."""

import jax
import numpy as np

import seqjax
from benchmarks.harness import Missing, Work
from benchmarks.network import Network, Weights, join_kernels, split_kernels
from benchmarks.peers import JaxPeer, Recurrent, cast, training_step
from seqjax.models.language_model import LanguageModel


class Seqjax(JaxPeer):
    name = "seqjax"
    distributions = ("seqjax", "jax", "jaxlib", "numpy", "optax")

    def recurrent(self, network: Network, weights: Weights, **options) -> Recurrent:
        part = build(network)

        def apply(params, xs, lengths=None):
            state, ys = seqjax.unroll(part, params, xs, lengths=lengths, **options)
            return ys if lengths is None else (ys, state.h)

        def back(params):
            layers = tuple(network_weights(network, params))
            if network.form != "unbiased":
                return layers
            return tuple(tuple({k: v for k, v in way.items() if k != "recurrent_bias"} for way in layer) for layer in layers)

        return Recurrent(params_of(network, weights), apply, back, time_major=False)

    def logits(self, task, weights: dict) -> Recurrent:
        model = language_model(task)

        def apply(params, tokens):
            return model.apply(params, {"tokens": tokens})[1]

        def back(params):
            layers = network_weights(task.network, params["cell"])
            return {"embedding": params["embedding"], "layers": tuple(layers)} | params["projection"]

        return Recurrent(language_model_params(task, weights), apply, back, time_major=False)

    def language_model(self, task) -> Work:
        model = language_model(task)

        def loss(logits, targets):
            return model.loss(logits, {"target": targets}).mean

        return training_step(self.logits(task, task.weights()), task, loss)

    def decode(self, task) -> Work:
        if task.network.bidirectional:
            raise Missing("cannot decode with a bidirectional network")
        model, batch = language_model(task), task.prompts()
        params = cast(language_model_params(task, task.weights()), task.network.dtype)

        def call():
            return seqjax.decode.greedy(model, params, batch, max_length=task.length).tokens.block_until_ready()

        return Work(call=call, values=task.values)

    def translate(self, task) -> Work:
        model, batch = task.model(), task.batch()
        params = jax.device_put(cast(task.weights(), task.dtype))
        options = {"max_length": task.length, "end": model.end_symbol}
        beams = {"width": task.width, "length_penalty": task.length_penalty}

        def call():
            if task.width == 1:
                decoded = seqjax.decode.greedy(model, params, batch, **options)
            else:
                decoded = seqjax.decode.beam(model, params, batch, **options, **beams)
            return jax.block_until_ready(decoded)

        def values(decoded):
            tokens, scores = np.asarray(decoded.tokens), np.asarray(decoded.scores)
            return task.values(*((tokens, scores) if task.width == 1 else (tokens[:, 0], scores[:, 0])))

        return Work(call=call, values=values)


def build(network: Network):
    """The network as a seqjax cell or layer."""
    cells = [network.cell_of(layer) for layer in range(network.layers)]
    if network.bidirectional:
        layers = tuple(seqjax.Bidirectional(cell) for cell in cells)
        return layers[0] if len(layers) == 1 else seqjax.Chain(layers)
    return cells[0] if len(cells) == 1 else seqjax.Stack(tuple(cells))


def params_of(network: Network, weights: Weights):
    """Weights as the parameters of `build(network)`."""
    ways = [[split_kernels(network, cell) for cell in way] for way in weights]
    layers = [dict(zip(("forward", "backward"), way, strict=True)) if network.bidirectional else way[0] for way in ways]
    return layers[0] if len(layers) == 1 else {str(i): layer for i, layer in enumerate(layers)}


def network_weights(network: Network, params):
    """The inverse of `params_of`: the weights of each layer."""
    for i in range(network.layers):
        layer = params if network.layers == 1 else params[str(i)]
        ways = (layer["forward"], layer["backward"]) if network.bidirectional else (layer,)
        yield tuple(map(join_kernels, ways))


def language_model(task) -> LanguageModel:
    """The model of a language model task."""
    return LanguageModel(vocabulary_size=task.symbols, cell=build(task.network), embedding_size=task.network.input_size)


def language_model_params(task, weights: dict) -> dict:
    """The parameters of that model."""
    projection = {"kernel": weights["kernel"], "bias": weights["bias"]}
    return {"cell": params_of(task.network, weights["layers"]), "embedding": weights["embedding"], "projection": projection}


PEER = Seqjax()
