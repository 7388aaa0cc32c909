"""A predictor of numbers: a reader, and fully connected layers at every step."""

import dataclasses
import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import masks
from seqjax.checks import as_array, check_array, check_positive, check_rate, check_size, check_sizes, concrete
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.layers.heads import fully_connected, init_layers
from seqjax.losses import Weighted, squared_error
from seqjax.models.encoders import Encoder, check_encoder, target_mask
from seqjax.parameters import model_method
from seqjax.serial import register
from seqjax.types import Array, Key, Params, State


@register
class Predicted(NamedTuple):
    """Outputs of a predictor of numbers.

    Args:
        values: floating, [B, T, C].
        mask: bool, [B, T], True at real steps.
    """

    values: Array
    mask: Array


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Regressor(Model):
    """A predictor of numbers at every step: sums, measurements, the next value of a series.

        h_1 .. h_T = encoder(x_1 .. x_T);    y_t = W f(h_t) + b

    A batch holds what the encoder reads; "target", floating [B, T, C]; and "target_mask", bool [B, T], True where there is one
    (without it, at all real steps). The loss is the mean squared error. Where the targets are the next inputs, `generate`
    continues a series by its own predictions.

    Args:
        encoder: the reader: Features of a series, or Symbols.
        outputs: C.
        hidden: the sizes of the fully connected layers f before the last, with ReLU.
        dropout: rate before every fully connected layer.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.encoders import Features
        >>> model = Regressor(encoder=Features(size=1, cell=GRU(input_size=1, hidden_size=8)), outputs=1)
        >>> params = model.init(jax.random.key(0))
        >>> batch = {"features": jnp.ones((2, 5, 1)), "target": jnp.zeros((2, 5, 1))}
        >>> _, outputs = model.apply(params, batch)
        >>> outputs.values.shape, float(model.loss(outputs, batch).weight)
        ((2, 5, 1), 10.0)
        >>> model.generate(params, batch, 20).shape
        (2, 20, 1)
    """

    unit: ClassVar[str] = "value"
    vocabulary_sizes = property(lambda self: (*self.encoder.vocabulary_sizes, self.outputs))

    encoder: Encoder
    outputs: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self):
        check_encoder(self.encoder)
        check_size(self, outputs=self.outputs)
        check_sizes(self, hidden=self.hidden)
        check_rate(self, dropout=self.dropout)

    def init(self, key: Key) -> Params:
        """`encoder`; `output`: the fully connected layers."""
        sizes = (self.encoder.output_size, *self.hidden, self.outputs)
        return {"encoder": self.encoder.init(key), "output": init_layers(jax.random.split(key, 6)[1], sizes)}

    @model_method
    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[tuple, Predicted]:
        """The numbers of every step.

        Args:
            params: from `init`.
            batch: what the encoder reads.
            state: not used.
            key: feeds dropout; None: deterministic.

        Returns:
            ((), Predicted).
        """
        hs, mask, _ = self.encoder.encode(params["encoder"], batch, key)
        k_output = None if key is None else jax.random.split(key, 6)[1]
        return (), Predicted(fully_connected(params["output"], hs, self.dropout, k_output), mask)

    @model_method
    def loss(self, outputs: Predicted, batch: dict) -> Weighted:
        """The mean squared error of a number against "target"."""
        target = jnp.asarray(check_array("target", batch["target"], "floating", *outputs.values.shape))
        return squared_error(outputs.values, target, target_mask(batch, outputs.mask))

    @model_method
    def start(self, params: Params, rows: int) -> State:
        """The state before the first step, for predicting online.

        Args:
            params: from `init`.
            rows: B, sequences that are read at once.

        Returns:
            The encoder's state.

        Raises:
            InputError: a part that sees later steps; the message names it.
        """
        return self.encoder.initial_state(params["encoder"], rows)

    def step(self, params: Params, state: State, x: Array) -> tuple[State, Array]:
        """One more step of every sequence.

        Args:
            params: from `init`.
            state: from `start` or the step before.
            x: a step of every sequence, [B, ...].

        Returns:
            (state, numbers [B, C]).
        """
        hs, _, state = self.encoder.encode(params["encoder"], self.encoder.piece(x), state=state)
        return state, fully_connected(params["output"], hs[:, 0])

    @model_method
    def generate(self, params: Params, batch: dict, steps: int) -> Array:
        """Continue series by the model's own predictions, each the next step's input.

        Args:
            params: from `init`.
            batch: what the encoder reads, the beginnings of the series, of at least one step.
            steps: the number of steps to generate.

        Returns:
            The continuations, [B, steps, C].

        Raises:
            InputError: the model does not predict what it reads (C numbers a step), it sees later steps, or a series is empty.
        """
        shape = getattr(self.encoder, "shape", None)
        if shape != (self.outputs,):
            raise InputError(
                f"generate feeds the {self.outputs} numbers of a step back to the encoder, which reads {shape or 'symbols'}: "
                f"it must be Features(size={self.outputs}, ...)"
            )
        check_positive(steps=steps)
        self.encoder.initial_state(params["encoder"], 1)  # refuses a part that cannot step
        inputs, lengths = self.encoder.inputs(batch)
        known = concrete(as_array("lengths", lengths))
        if known is not None and (known < 1).any():
            raise InputError("a series is empty: give each at least one step")
        return _generate(self, params, inputs, steps)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _generate(model: Regressor, params: Params, batch: dict, steps: int) -> Array:
    hs, mask, state = model.encoder.encode(params["encoder"], batch)
    first = fully_connected(params["output"], masks.last(hs, mask=mask))  # [B, C]

    def step(carry, _):
        state, x = carry
        state, following = model.step(params, state, x)
        return (state, following), x

    return jax.lax.scan(step, (state, first), None, length=steps)[1].swapaxes(0, 1)
