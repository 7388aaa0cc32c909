"""Flax NNX: `nnx.RNN` over `nnx.OptimizedLSTMCell` and `nnx.GRUCell`, split into a graph and its parameters as a jitted
step of NNX does it. Its GRU has no recurrent bias."""

from flax import nnx

from benchmarks.network import Network, Weights
from benchmarks.peers import JaxPeer, Recurrent, cast

CELLS = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
INITIALIZERS = ("kernel_init", "recurrent_kernel_init")  # zeros: the initial values are replaced


class Nnx(JaxPeer):
    name = "Flax NNX"
    distributions = ("flax",)
    gru = "unbiased"

    def recurrent(self, network: Network, weights: Weights) -> Recurrent:
        module = nnx.Sequential(*layers_of(network))
        fill(network, module.layers, weights)
        graph, params, rest = nnx.split(module, nnx.Param, ...)

        def apply(params, xs, lengths=None):
            layers = nnx.merge(graph, params, rest, copy=True)
            if lengths is None:
                return layers(xs)
            carry, ys = layers.layers[0](xs, seq_lengths=lengths, return_carry=True)
            return ys, carry[1] if network.cell == "lstm" else carry

        return Recurrent(params, apply, lambda params: read(network, nnx.merge(graph, params, rest, copy=True).layers))

    def logits(self, task, weights: dict) -> Recurrent:
        module = LanguageModel(task.symbols, task.network)
        module.embedding.embedding[...] = cast(weights["embedding"], task.network.dtype)
        module.projection.kernel[...] = cast(weights["kernel"], task.network.dtype)
        module.projection.bias[...] = cast(weights["bias"], task.network.dtype)
        fill(task.network, module.recurrent.layers, weights["layers"])
        graph, params, rest = nnx.split(module, nnx.Param, ...)

        def back(params):
            module = nnx.merge(graph, params, rest, copy=True)
            arrays = {"kernel": module.projection.kernel[...], "bias": module.projection.bias[...]}
            arrays["embedding"] = module.embedding.embedding[...]
            return arrays | {"layers": read(task.network, module.recurrent.layers)}

        return Recurrent(params, lambda params, tokens: nnx.merge(graph, params, rest, copy=True)(tokens), back)


class LanguageModel(nnx.Module):
    """Embedding, recurrent layers, projection."""

    def __init__(self, symbols: int, network: Network):
        options = {"param_dtype": network.dtype, "rngs": nnx.Rngs(0)}
        self.embedding = nnx.Embed(symbols, network.input_size, **options)
        self.recurrent = nnx.Sequential(*layers_of(network))
        self.projection = nnx.Linear(network.output_size, symbols, **options)

    def __call__(self, tokens):
        return self.projection(self.recurrent(self.embedding(tokens)))


def layers_of(network: Network) -> list[nnx.Module]:
    """The network's layers."""

    def rnn(size: int) -> nnx.RNN:
        options = {"param_dtype": network.dtype, "rngs": nnx.Rngs(0)} | dict.fromkeys(INITIALIZERS, nnx.initializers.zeros)
        cell = CELLS[network.cell](size, network.hidden_size, **options)
        return nnx.RNN(cell, time_major=True)

    if network.bidirectional:
        return [nnx.Bidirectional(rnn(size), rnn(size), time_major=True) for size in network.input_sizes]
    return [rnn(size) for size in network.input_sizes]


def cells_of(network: Network, layers) -> list[list]:
    """Each layer's cells, by direction."""
    return [
        [r.cell for r in ((layer.forward_rnn, layer.backward_rnn) if network.bidirectional else (layer,))] for layer in layers
    ]


def fill(network: Network, layers, weights: Weights):
    """Set the layers' weights."""
    for cells, ways in zip(cells_of(network, layers), weights, strict=True):
        for cell, way in zip(cells, ways, strict=True):
            cell.dense_i.kernel[...] = cast(way["input_kernel"], network.dtype)
            cell.dense_h.kernel[...] = cast(way["recurrent_kernel"], network.dtype)
            (cell.dense_h if network.cell == "lstm" else cell.dense_i).bias[...] = cast(way["bias"], network.dtype)


def read(network: Network, layers) -> Weights:
    """The inverse of `fill`: the layers' weights."""

    def of_cell(cell) -> dict:
        biased = cell.dense_h if network.cell == "lstm" else cell.dense_i
        kernels = {"input_kernel": cell.dense_i.kernel[...], "recurrent_kernel": cell.dense_h.kernel[...]}
        return kernels | {"bias": biased.bias[...]}

    return tuple(tuple(of_cell(cell) for cell in cells) for cells in cells_of(network, layers))


PEER = Nnx()
