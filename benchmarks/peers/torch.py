"""PyTorch, eager: `nn.LSTM` and `nn.GRU`, time first, its own fused kernels; on a GPU that is cuDNN."""

import jax
import numpy as np
import torch
from torch import nn
from torch.nn.utils import rnn

from benchmarks.environment import cores
from benchmarks.harness import SUMS, Missing, Values, Work
from benchmarks.network import Network, Weights, join_kernels, make_weights, name_weights
from benchmarks.peers import LayerTask, Peer

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Torch(Peer):
    name = "PyTorch"
    distributions = ("torch",)

    def __init__(self):
        torch.set_num_threads(cores())
        self.device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"

    def layers(self, task: LayerTask) -> Work:
        if task.network.heads > 1:
            raise Missing("has no heads")
        network, data = task.network, task.data()
        module = self.module(network, make_weights(network))
        xs, cotangent = self.tensor(data.xs, network), self.tensor(data.cotangent, network)
        lengths = None if data.lengths is None else torch.from_numpy(data.lengths).to(torch.int64)
        last = None if data.last is None else self.tensor(data.last, network)
        inputs = [*module.parameters(), xs.requires_grad_()] if task.mode == "training" else []

        def run():
            if lengths is None:
                return (module(xs)[0],)
            packed, state = module(rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False))
            return rnn.pad_packed_sequence(packed, total_length=task.steps)[0], (state[0] if network.cell == "lstm" else state)[0]

        def call():
            with torch.inference_mode(task.mode == "forward"):
                out = run()
                cotangents = (cotangent,) if lengths is None else (cotangent, last)
                gradients = torch.autograd.grad(out, inputs, cotangents) if inputs else ()
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
                gradient = weights_of(network, dict(zip(names(module), of_weights, strict=True)))
                named |= {f"{SUMS} {name}": g for name, g in name_weights(gradient).items()}
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

    def translate(self, task) -> Work:
        model = Translator(task).to(self.device, getattr(torch, task.dtype))
        source, lengths = (torch.from_numpy(np.array(a)).to(torch.int64) for a in task.batch().values())
        source = source.to(self.device)

        @torch.inference_mode()
        def call():
            memory, h, feed = model.start(source, lengths)
            search = model.greedy if task.width == 1 else model.beam
            result = search(memory, h, feed)
            self.wait()
            return result

        return Work(call=call, values=lambda result: task.values(*(a.float().cpu().numpy() for a in result)))

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
        module = module.to(self.device, getattr(torch, network.dtype))
        module.flatten_parameters()  # one contiguous buffer, as cuDNN reads it
        return module

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


class Translator(nn.Module):
    """A bidirectional GRU, additive attention, and a GRU cell that is fed its last output; searches of a fixed width.

    The state of K beams is [B, K, ..], the memory [B, S, ..] is read by all beams of a row.
    """

    def __init__(self, task):
        super().__init__()
        self.task, network, V = task, task.network, task.symbols
        E, H, out = network.embedding_size, network.hidden_size, task.model().decoder.output_size
        self.source, self.target = nn.Embedding(V, E), nn.Embedding(V, E)
        self.encoder, self.bridge = nn.GRU(E, H, bidirectional=True, batch_first=True), nn.Linear(2 * H, H)
        self.cell = nn.GRUCell(E + out, H)
        self.keys, self.query, self.score = (nn.Linear(*sizes, bias=False) for sizes in ((2 * H, H), (H, H), (H, 1)))
        self.output, self.projection = nn.Linear(H + 2 * H, out), nn.Linear(out, V)
        self.read(task.weights())

    def read(self, params: dict):
        """Load seqjax's weights; symbols that are never emitted get a bias of -inf."""
        encoder, decoder = params["encoder"], params["decoder"]["cell"]
        forward, backward = (join_kernels(encoder["cell"]["0"][way]) for way in ("forward", "backward"))
        target, projection = params["decoder"]["embedding"], params["decoder"]["projection"]
        layers = Network("gru", *self.source.weight.shape[1:], self.bridge.out_features, bidirectional=True)
        cell = join_kernels(decoder["cell"]["0"])
        cell = cell | {"input_kernel": np.concatenate([cell["input_kernel"], decoder["feed_kernel"]])}
        of_cell = tensors_of(Network("gru", self.cell.input_size, self.cell.hidden_size), ((cell,),))
        bias = projection["bias"].copy()
        bias[[self.task.start, self.task.pad]] = -np.inf
        arrays = {f"encoder.{name}": array for name, array in tensors_of(layers, ((forward, backward),)).items()}
        arrays |= {f"cell.{name.removesuffix('_l0')}": array for name, array in of_cell.items()}
        arrays |= {"source.weight": encoder.get("embedding", target), "target.weight": target}
        kernels = {"bridge": params["bridge"]["0"], "output": decoder["output"]}
        for name, layer in kernels.items():
            arrays |= {f"{name}.weight": layer["kernel"].T, f"{name}.bias": layer["bias"]}
        attention = decoder["attention"]
        arrays |= {"keys.weight": attention["memory_kernel"].T, "query.weight": attention["query_kernel"].T}
        arrays |= {"score.weight": attention["score_kernel"][None], "projection.bias": bias}
        arrays |= {"projection.weight": projection["kernel"].T if "kernel" in projection else target}
        self.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})

    def start(self, source, lengths):
        packed = rnn.pack_padded_sequence(self.source(source), lengths, batch_first=True, enforce_sorted=False)
        values, final = self.encoder(packed)
        values, _ = rnn.pad_packed_sequence(values, batch_first=True, total_length=source.shape[1])
        h = torch.tanh(self.bridge(torch.cat((final[0], final[1]), -1)))
        padded = torch.arange(source.shape[1], device=source.device) >= lengths.to(source.device)[:, None]
        h, width = h[:, None], self.task.width
        feed = h.new_zeros(len(source), width, self.output.out_features)
        return (values, self.keys(values)[:, None], padded[:, None]), h.expand(-1, width, -1), feed

    def step(self, memory, h, feed, token):
        """token [B, K] to (h, feed, log-probabilities [B, K, V])."""
        values, keys, padded = memory
        x = torch.cat((self.target(token), feed), -1)
        h = self.cell(x.flatten(0, 1), h.flatten(0, 1)).view(h.shape)
        scores = self.score(torch.tanh(keys + self.query(h)[:, :, None])).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(padded, -torch.inf), -1)
        feed = torch.tanh(self.output(torch.cat((h, weights @ values), -1)))
        return h, feed, torch.log_softmax(self.projection(feed), -1)

    def greedy(self, memory, h, feed):
        task, rows = self.task, len(h)
        token = h.new_full((rows, 1), task.start, dtype=torch.int64)
        done, total = torch.zeros_like(token, dtype=torch.bool), h.new_zeros(rows, 1)
        tokens = token.new_zeros(rows, task.length)
        for time in range(task.length):
            h, feed, log_p = self.step(memory, h, feed, token)
            gain, token = log_p.max(-1)
            total += gain.masked_fill(done, 0)
            token = token.masked_fill(done, 0)
            tokens[:, time] = token[:, 0]
            done |= token == task.end
            if done.all():
                break
        return tokens, total[:, 0]

    def beam(self, memory, h, feed):
        """Continue the K best candidates that do not end; of those that end, keep the best."""
        task, rows, K, V = self.task, *h.shape[:2], self.projection.out_features
        first = K * torch.arange(rows, device=h.device)[:, None]
        token = torch.full_like(first, task.start).expand(-1, K)
        score = h.new_full((rows, K), -torch.inf)
        score[:, 0] = 0
        tokens = token.new_zeros(rows * K, task.length)
        ended = h.new_full((rows,), -torch.inf), tokens.new_zeros(rows, task.length)
        for time in range(task.length):
            h, feed, log_p = self.step(memory, h, feed, token)
            best, index = (score[..., None] + log_p).flatten(1).topk(2 * K)
            parent, symbol = index // V, index % V
            ends = symbol == task.end
            if ends[:, :K].any():
                ended = self.end(ended, best, parent, ends, tokens, time)
            score, chosen = best.masked_fill(ends, -torch.inf).topk(K)
            token, row = symbol.gather(1, chosen), (first + parent.gather(1, chosen)).flatten()
            h, feed = (a.flatten(0, 1).index_select(0, row).view(a.shape) for a in (h, feed))
            tokens = tokens.index_select(0, row)
            tokens[:, time] = token.flatten()
            done = score[:, 0] / self.penalty(time + 1) <= ended[0]
            score = score.masked_fill(done[:, None], -torch.inf)
            if done.all():
                break
        has_ended = ended[0] > -torch.inf
        final = torch.where(has_ended, ended[0], score[:, 0] / self.penalty(task.length))
        return torch.where(has_ended[:, None], ended[1], tokens.view(rows, K, -1)[:, 0]), final

    def end(self, ended, best, parent, ends, tokens, time):
        """Keep the best hypothesis that ends at this step, if it is better than the one so far."""
        (score, tokens_before), (rows, K) = ended, (len(best), self.task.width)
        now, at = (best.masked_fill(~ends, -torch.inf)[:, :K] / self.penalty(time + 1)).max(1, keepdim=True)
        of_row = torch.arange(rows, device=at.device), parent.gather(1, at)[:, 0]
        closed = tokens.view(rows, K, -1)[of_row].clone()
        closed[:, time] = self.task.end
        better = now[:, 0] > score
        return torch.where(better, now[:, 0], score), torch.where(better[:, None], closed, tokens_before)

    def penalty(self, length: int) -> float:
        return ((5 + length) / 6) ** self.task.length_penalty


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def tensors_of(network: Network, weights: Weights) -> dict[str, np.ndarray]:
    """Weights under PyTorch's names; its second bias is 0, except for a GRU's candidate."""
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
    """The inverse of `tensors_of`."""
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
