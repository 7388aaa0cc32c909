"""PyTorch, eager: `nn.LSTM` and `nn.GRU`, time first, its own fused kernels; on a GPU that is cuDNN."""

import jax
import numpy as np
import torch
from torch import nn
from torch.nn.utils import rnn

from benchmarks.environment import cores
from benchmarks.harness import SUMS, Values, Work
from benchmarks.network import Network, Weights, make_weights, name_weights
from benchmarks.peers import Peer, Task

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Torch(Peer):
    name = "PyTorch"
    distributions = ("torch",)

    def __init__(self):
        torch.set_num_threads(cores())
        self.device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"

    def layers(self, task: Task) -> Work:
        network, data = task.network, task.data()
        module = self.module(network, make_weights(network))
        xs, cotangent = self.tensor(data.xs, network), self.tensor(data.cotangent, network)
        lengths = None if data.lengths is None else torch.from_numpy(data.lengths).to(torch.int64)
        last = None if data.last is None else self.tensor(data.last, network)
        wanted = [*module.parameters(), xs.requires_grad_()] if task.mode == "training" else []

        def run():
            if lengths is None:
                return (module(xs)[0],)
            packed, state = module(rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False))
            return rnn.pad_packed_sequence(packed, total_length=task.steps)[0], (state[0] if network.cell == "lstm" else state)[0]

        def call():
            with torch.inference_mode(task.mode == "forward"):
                out = run()
                cotangents = (cotangent,) if lengths is None else (cotangent, last)
                gradients = torch.autograd.grad(out, wanted, cotangents) if wanted else ()
                self.wait()
                return out, gradients

        def values(result) -> Values:
            (ys, *state), gradients = result
            named = {"outputs": to_numpy(ys) * data.real}
            if state:
                named["last state"] = to_numpy(state[0])
            if gradients:
                *of_weights, of_xs = gradients
                named["gradient of inputs"] = to_numpy(of_xs)
                found = weights_of(network, dict(zip(names(module), of_weights, strict=True)))
                named |= {f"{SUMS} {name}": g for name, g in name_weights(found).items()}
            return named

        return Work(call=call, values=values)

    def language_model(self, task) -> Work:
        network, model = task.network, self.model(task, task.weights())
        optimizer = torch.optim.Adam(model.parameters(), lr=task.learning_rate, fused=True)
        tokens, targets = (torch.from_numpy(a.T.astype(np.int64)).contiguous().to(self.device) for a in task.batch())
        first: Values = {}

        def call():
            loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), task.clip_norm)
            optimizer.step()
            self.wait()
            if not first:  # the first step's moments are the gradient times 1 - b1
                moments = {name: optimizer.state[p]["exp_avg"].clone() for name, p in model.named_parameters()}
                first.update(task.named(loss.item(), _read(network, moments)))
            return first

        return Work(call=call, values=lambda first: first)

    def decode(self, task) -> Work:
        model = self.model(task, task.weights())
        first = torch.from_numpy(task.first().astype(np.int64)).to(self.device)

        @torch.inference_mode()
        def call():
            token, state, tokens = first[None], None, []
            for _ in range(task.length):
                h, state = model.recurrent(model.embedding(token), state)
                token = model.projection(h).argmax(-1)
                tokens.append(token)
            self.wait()
            return torch.cat(tokens).T

        return Work(call=call, values=lambda tokens: task.values(tokens.cpu().numpy()))

    def model(self, task, weights: dict) -> nn.Module:
        """The language model with these weights."""
        model = LanguageModel(task, self.module(task.network, weights["layers"]))
        with torch.no_grad():
            model.embedding.weight.copy_(torch.from_numpy(weights["embedding"]))
            model.projection.weight.copy_(torch.from_numpy(weights["kernel"].T))
            model.projection.bias.copy_(torch.from_numpy(weights["bias"]))
        return model.to(self.device, getattr(torch, task.network.dtype))

    def module(self, network: Network, weights: Weights) -> nn.Module:
        """The network with these weights."""
        sizes = {"num_layers": network.layers, "bidirectional": network.bidirectional}
        module = LAYERS[network.cell](network.input_size, network.hidden_size, **sizes)
        arrays = tensors_of(network, weights)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(arrays[name])))
        return module.to(self.device, getattr(torch, network.dtype))

    def tensor(self, array: np.ndarray, network: Network) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, getattr(torch, network.dtype))

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, projection."""

    def __init__(self, task, recurrent: nn.Module):
        super().__init__()
        self.embedding = nn.Embedding(task.symbols, task.network.input_size)
        self.recurrent = recurrent
        self.projection = nn.Linear(task.network.output_size, task.symbols)

    def forward(self, tokens):
        return self.projection(self.recurrent(self.embedding(tokens))[0])


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def tensors_of(network: Network, weights: Weights) -> dict[str, np.ndarray]:
    """PyTorch's names; its second bias is 0 but for a GRU's candidate."""
    arrays = {}
    for i, ways in enumerate(weights):
        for way, end in zip(ways, (f"_l{i}", f"_l{i}_reverse"), strict=False):
            of_state = np.zeros_like(way["bias"])
            if network.cell == "gru":
                of_state[2 * network.hidden_size :] = way["recurrent_bias"]
            arrays |= {f"weight_ih{end}": way["input_kernel"].T, f"weight_hh{end}": way["recurrent_kernel"].T}
            arrays |= {f"bias_ih{end}": way["bias"], f"bias_hh{end}": of_state}
    return arrays


def weights_of(network: Network, tensors: dict[str, torch.Tensor]) -> Weights:
    """The other way round."""
    arrays = {name: to_numpy(tensor) for name, tensor in tensors.items()}

    def way(end: str) -> dict:
        kernels = {"input_kernel": arrays[f"weight_ih{end}"].T, "recurrent_kernel": arrays[f"weight_hh{end}"].T}
        recurrent = {"recurrent_bias": arrays[f"bias_hh{end}"][2 * network.hidden_size :]} if network.cell == "gru" else {}
        return kernels | {"bias": arrays[f"bias_ih{end}"]} | recurrent

    ends = ("", "_reverse") if network.bidirectional else ("",)
    return tuple(tuple(way(f"_l{i}{end}") for end in ends) for i in range(network.layers))


def _read(network: Network, tensors: dict[str, torch.Tensor]) -> dict:
    start = "recurrent."
    recurrent = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    arrays = {"kernel": to_numpy(tensors["projection.weight"]).T, "bias": to_numpy(tensors["projection.bias"])}
    return {"embedding": to_numpy(tensors["embedding.weight"]), "layers": weights_of(network, recurrent)} | arrays


PEER = Torch()
