"""Makes interop.npz: weights and outputs of recurrent layers of PyTorch and Keras, so that no test needs the two.

They are needed only to make the file anew, in an environment of its own:

    python -m venv /tmp/interopenv && /tmp/interopenv/bin/pip install torch==2.13.0 keras==3.15.1 numpy
    KERAS_BACKEND=torch /tmp/interopenv/bin/python tests/goldens/make_interop.py

Layout. Batch first; `xs` [2, 3, 4] is read by every layer. Every other array's name is `<library>/<case>/<array>`: `ys` are the
outputs; the others are the weights, of PyTorch by their names in the state dict, of Keras by their places in `get_weights()`.
The cases are the keys of TORCH, in float64, and KERAS, in float32: parts of Keras round to float32 at any dtype.
"""

import pathlib

import keras
import numpy as np
import torch

D, H = 4, 5
TORCH = {
    "relu_without_bias": lambda: torch.nn.RNN(D, H, num_layers=2, nonlinearity="relu", bias=False, batch_first=True),
    "gru": lambda: torch.nn.GRU(D, H, bidirectional=True, batch_first=True),
    "lstm_projected": lambda: torch.nn.LSTM(D, H, num_layers=4, bidirectional=True, proj_size=2, batch_first=True),
}
KERAS = {
    "relu": lambda: keras.layers.SimpleRNN(H, activation="relu", return_sequences=True),
    "lstm_without_bias": lambda: keras.layers.LSTM(H, use_bias=False, return_sequences=True),
    "gru_before": lambda: keras.layers.GRU(H, reset_after=False, return_sequences=True),
    "gru_both_ways": lambda: keras.layers.Bidirectional(keras.layers.GRU(H, return_sequences=True), merge_mode="sum"),
}


def main():
    """Writes interop.npz beside this file."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(2, 3, D))
    arrays = {"xs": xs}
    for name, make in TORCH.items():
        layer = make()
        arrays |= {f"torch/{name}/{key}": value.numpy() for key, value in layer.state_dict().items()}
        arrays[f"torch/{name}/ys"] = layer(torch.from_numpy(xs))[0].detach().numpy()
    for name, make in KERAS.items():
        layer = make()
        layer.build(xs.shape)
        layer.set_weights([0.5 * rng.normal(size=a.shape) for a in layer.get_weights()])  # biases begin as 0
        arrays |= {f"keras/{name}/{i}": array for i, array in enumerate(layer.get_weights())}
        arrays[f"keras/{name}/ys"] = keras.ops.convert_to_numpy(layer(xs.astype(np.float32)))
    path = pathlib.Path(__file__).with_name("interop.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: torch {torch.__version__}, keras {keras.__version__}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
