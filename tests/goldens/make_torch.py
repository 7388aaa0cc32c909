"""Makes torch_rnn.npz: the results of PyTorch's recurrent layers, so that no test needs PyTorch.

PyTorch is needed only to make the file anew, in an environment of its own:

    python -m venv /tmp/torchenv && /tmp/torchenv/bin/pip install torch==2.13.0 numpy
    /tmp/torchenv/bin/python tests/goldens/make_torch.py

Layout. All arrays are float64 (lengths int64), batch first; B=3 rows, T=7 steps, D=4 features, H=5 hidden units.
Every array's name is `<case>/<array>`. The cases:

    tanh, relu, lstm, gru        one layer, all steps real
    tanh_packed, ... gru_packed  the same weights and inputs as a packed sequence (enforce_sorted=False) with `lengths`;
                                 outputs are padded with 0, final states are those of each row's last real step
    bilstm, bilstm_packed        two layers, both directions
    lstmp, lstmp_packed          an LSTM with a projection of its output to P=3 units: weight_hr [P, H], weight_hh [4H, P];
                                 h0, hT and ys have P units

The arrays of a case, with PyTorch's own names, shapes and gate order (LSTM i f g o, GRU r z n):

    weight_ih [nH, D]  weight_hh [nH, H]  bias_ih [nH]  bias_hh [nH]   bilstm: with PyTorch's suffix, e.g.
                                                                       weight_ih_l1_reverse [4H, 2H]
    xs [B, T, D]   h0 [B, H]   c0 [B, H] (LSTM)   lengths [B] (packed)  bilstm: h0, c0 [4, B, H], PyTorch's own
                                                                       order (l0 forward, l0 backward, l1 ...)
    ys [B, T, H]   hT [B, H]   cT [B, H]                               bilstm: ys [B, T, 2H], hT and cT [4, B, H]
    loss_ys, loss_hT, loss_cT    fixed random weights, shaped like ys, hT, cT
    loss                         sum(ys * loss_ys) + sum(hT * loss_hT) + sum(cT * loss_cT)
    grad_<array>                 the gradient of loss with respect to xs, h0, c0 and each weight
"""

import pathlib

import numpy as np
import torch

B, T, D, H, P = 3, 7, 4, 5, 3
LENGTHS = torch.tensor([4, 7, 1])
LAYERS = {
    "tanh": lambda: torch.nn.RNN(D, H, nonlinearity="tanh", batch_first=True),
    "relu": lambda: torch.nn.RNN(D, H, nonlinearity="relu", batch_first=True),
    "lstm": lambda: torch.nn.LSTM(D, H, batch_first=True),
    "gru": lambda: torch.nn.GRU(D, H, batch_first=True),
    "bilstm": lambda: torch.nn.LSTM(D, H, num_layers=2, bidirectional=True, batch_first=True),
    "lstmp": lambda: torch.nn.LSTM(D, H, proj_size=P, batch_first=True),
}


def case(name, lengths=None):
    """One layer's weights, inputs, results and gradients, by name."""
    torch.manual_seed(list(LAYERS).index(name))
    layer = LAYERS[name]()
    deep = name == "bilstm"
    states = {"h": layer.proj_size or H} | ({"c": H} if isinstance(layer, torch.nn.LSTM) else {})
    rows = 4 if deep else 1
    xs = torch.randn(B, T, D, requires_grad=True)
    start = [(0.5 * torch.randn(rows, B, size)).requires_grad_() for size in states.values()]
    loss_ys = torch.randn(B, T, 2 * H if deep else states["h"])
    loss_end = [torch.randn(rows, B, size) for size in states.values()]

    inputs = xs
    if lengths is not None:
        inputs = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths, batch_first=True, enforce_sorted=False)
    ys, end = layer(inputs, tuple(start) if len(states) == 2 else start[0])
    if lengths is not None:
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, batch_first=True, total_length=T)
    end = list(end) if len(states) == 2 else [end]
    loss = (ys * loss_ys).sum() + sum((e * w).sum() for e, w in zip(end, loss_end, strict=True))
    loss.backward()

    weights = {k if deep else k.removesuffix("_l0"): w for k, w in layer.named_parameters()}
    leaves = weights | {"xs": xs} | {f"{s}0": a for s, a in zip(states, start, strict=True)}
    arrays = leaves | {f"grad_{k}": a.grad for k, a in leaves.items()}
    arrays |= {f"{s}T": a for s, a in zip(states, end, strict=True)}
    arrays |= {f"loss_{s}T": a for s, a in zip(states, loss_end, strict=True)}
    arrays |= {"ys": ys, "loss_ys": loss_ys, "loss": loss} | ({} if lengths is None else {"lengths": lengths})
    is_state = {*(f"{p}{s}{e}" for s in states for p, e in (("", "0"), ("grad_", "0"), ("", "T"), ("loss_", "T")))}
    return {k: a.detach().numpy()[0] if k in is_state and not deep else a.detach().numpy() for k, a in arrays.items()}


def main():
    """Writes torch_rnn.npz beside this file."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    cases = {name: case(name) for name in LAYERS} | {f"{name}_packed": case(name, LENGTHS) for name in LAYERS}
    path = pathlib.Path(__file__).with_name("torch_rnn.npz")
    np.savez_compressed(path, **{f"{name}/{k}": a for name, arrays in cases.items() for k, a in arrays.items()})
    print(f"{path.name}: torch {torch.__version__}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
