"""Sizes, weights and data of recurrent networks, independent of any library."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax

GATES = {"lstm": 4, "gru": 3}
# after: the reset gate acts after the recurrent product (PyTorch, cuDNN, Keras), the candidate has a recurrent bias;
# unbiased: the same without that bias; before: the gate acts on the state, before the product (Cho et al. 2014).
FORMS = ("after", "unbiased", "before")
SIZES = ("T", "B", "D", "H", "V", "layers", "heads")  # the facts of a case that are sizes; tables take the mean over them

# A dict for each layer and direction, with the names of seqjax's cells; a GRU's recurrent kernel is one, [H, 3H].
Weights = tuple[tuple[dict[str, np.ndarray], ...], ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers of recurrent cells, one after another.

    Args:
        cell: "lstm" or "gru".
        input_size: D.
        hidden_size: H, of every layer and direction.
        layers: the number of layers.
        bidirectional: whether every layer runs in both directions and outputs [.., 2H].
        form: of a GRU, one of FORMS.
        heads: diagonal blocks of the recurrent kernel.
        dtype: the dtype of weights and data.
    """

    cell: str
    input_size: int
    hidden_size: int
    layers: int = 1
    bidirectional: bool = False
    form: str = "after"
    heads: int = 1
    dtype: str = "float32"

    @property
    def output_size(self) -> int:
        return self.hidden_size * (1 + self.bidirectional)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Features that each layer reads."""
        return (self.input_size, *[self.output_size] * (self.layers - 1))

    def cell_of(self, layer: int) -> seqjax.Cell:
        """The seqjax cell of a layer."""
        sizes = {"input_size": self.input_sizes[layer], "hidden_size": self.hidden_size, "heads": self.heads}
        if self.cell == "lstm":
            return seqjax.LSTM(**sizes)
        return seqjax.GRU(**sizes, reset_after=self.form != "before")


def make_weights(network: Network, seed: int = 0) -> Weights:
    """Weights in the layout of seqjax's cells: normal, of the usual scale; no bias is 0, so that a forgotten one is noticed."""
    random = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "recurrent_bias" and network.form == "unbiased":
            return np.zeros(shape, np.float32)
        scale = 0.1 if name.endswith("bias") else shape[-2] ** -0.5
        return np.float32(scale) * random.standard_normal(shape, np.float32)

    def direction(layer: int) -> dict[str, np.ndarray]:
        shapes = jax.eval_shape(lambda: join_kernels(network.cell_of(layer).init(jax.random.key(0))))
        return {name: draw(name, like.shape) for name, like in sorted(shapes.items())}

    return tuple(tuple(direction(layer) for _ in range(1 + network.bidirectional)) for layer in range(network.layers))


def join_kernels(params: dict) -> dict:
    """A seqjax cell's parameters with one recurrent kernel for all gates."""
    if "candidate_kernel" not in params:
        return params
    joined = {name: a for name, a in params.items() if name != "candidate_kernel"}
    return joined | {"recurrent_kernel": jnp.concatenate([params["recurrent_kernel"], params["candidate_kernel"]], axis=-1)}


def split_kernels(network: Network, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `join_kernels`."""
    if network.cell == "lstm":
        return weights
    kernel_gates, kernel_n = np.split(weights["recurrent_kernel"], [2 * network.hidden_size // network.heads], axis=-1)
    return weights | {"recurrent_kernel": kernel_gates, "candidate_kernel": kernel_n}


class Data(NamedTuple):
    """A batch, time first.

    Args:
        xs: [T, B, D].
        cotangent: of the outputs, [T, B, output_size]; 0 at padded steps.
        lengths: int32 [B], or None: every step is real.
        last: cotangent of the last real step's h, [B, H]; None without lengths.
    """

    xs: np.ndarray
    cotangent: np.ndarray
    lengths: np.ndarray | None = None
    last: np.ndarray | None = None

    @property
    def real(self) -> np.ndarray:
        """float32 [T, B, 1], 1 at real steps."""
        steps, rows = self.xs.shape[:2]
        lengths = np.full(rows, steps) if self.lengths is None else self.lengths
        return (np.arange(steps)[:, None] < lengths)[..., None].astype(np.float32)


@functools.lru_cache(maxsize=1)
def make_data(network: Network, steps: int, rows: int, *, lengths: bool = False, seed: int = 1) -> Data:
    """Normally distributed inputs; lengths evenly spread from a quarter of T to T, in random order."""
    random = np.random.default_rng(seed)
    xs = random.standard_normal((steps, rows, network.input_size), np.float32)
    cotangent = random.standard_normal((steps, rows, network.output_size), np.float32)
    if not lengths:
        return Data(xs, cotangent)
    spread = random.permutation(np.linspace(max(steps // 4, 1), steps, rows).round().astype(np.int32))
    last = random.standard_normal((rows, network.hidden_size), np.float32)
    data = Data(xs, cotangent, spread, last)
    return data._replace(cotangent=cotangent * data.real)


def name_weights(weights: Weights) -> dict[str, np.ndarray]:
    """The arrays by readable names."""
    named = {}
    for i, layer in enumerate(weights):
        for way, direction in zip(("", " backward"), layer, strict=False):
            named |= {f"layer {i}{way} {name}": np.asarray(value, np.float32) for name, value in direction.items()}
    return named
