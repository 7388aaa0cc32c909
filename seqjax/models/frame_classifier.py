"""A classifier of frames: a reader, and fully connected layers at every step."""

import dataclasses
import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.checks import check_rate, check_size
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.layers.heads import fully_connected, init_layers
from seqjax.losses import Weighted, cross_entropy
from seqjax.models.encoders import Encoder
from seqjax.serial import register
from seqjax.types import Array, Key, Params, State


class FrameScores(NamedTuple):
    """Outputs of a classifier of frames.

    Args:
        scores: [B, T, C], before the softmax.
        mask: bool, [B, T], True at real frames.
    """

    scores: Array
    mask: Array

    @property
    def probabilities(self) -> Array:
        """[B, T, C]."""
        return jax.nn.softmax(self.scores)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameClassifier(Model):
    """A sequence in, the distribution of the class of every frame out: detection and segmentation.

        h_1 .. h_T = encoder(x_1 .. x_T);    p(class_t | x) = softmax(W f(h_t) + b)

    A batch holds what the encoder reads; "target", integer [B, T], the class of every frame; and "target_mask", bool [B, T],
    True where there is one (without it, at all real frames).

    Args:
        encoder: the reader: Features of frames, sensors or poses, or Symbols of a text.
        classes: C.
        hidden: the sizes of the fully connected layers f before the last, with ReLU.
        dropout: rate before every fully connected layer.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> from seqjax.models.encoders import Features
        >>> model = FrameClassifier(encoder=Features(size=6, cell=LSTM(input_size=6, hidden_size=8)), classes=3)
        >>> params = model.init(jax.random.key(0))
        >>> batch = {"features": jnp.ones((2, 5, 6)), "features_lengths": jnp.array([5, 2]), "target": jnp.zeros((2, 5), int)}
        >>> model.probabilities(params, batch).shape
        (2, 5, 3)
        >>> _, outputs = model.apply(params, batch)
        >>> {name: float(figure.weight) for name, figure in model.figures(outputs, batch).items()}
        {'loss': 7.0, 'accuracy': 7.0}
    """

    unit: ClassVar[str] = "frame"
    vocabulary_sizes = property(lambda self: (*self.encoder.vocabulary_sizes, self.classes))

    encoder: Encoder
    classes: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if not isinstance(self.encoder, Encoder):
            raise InputError(f"the encoder is a {type(self.encoder).__name__}, it must be an Encoder such as Symbols or Features")
        check_size(self, classes=self.classes)
        for size in self.hidden:
            check_size(self, hidden=size)
        check_rate(self, self.dropout)

    def init(self, key: Key) -> Params:
        """`encoder`; `output`: the fully connected layers."""
        sizes = (self.encoder.output_size, *self.hidden, self.classes)
        return {"encoder": self.encoder.init(key), "output": init_layers(jax.random.split(key, 6)[1], sizes)}

    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[tuple, FrameScores]:
        """Scores of every frame.

        Args:
            params: from `init`.
            batch: what the encoder reads.
            state: not used.
            key: feeds dropout; None: deterministic.

        Returns:
            ((), FrameScores).
        """
        hs, mask, _ = self.encoder.encode(params["encoder"], batch, key)
        k_output = None if key is None else jax.random.split(key, 6)[1]
        return (), FrameScores(fully_connected(params["output"], hs, self.dropout, k_output), mask)

    def loss(self, outputs: FrameScores, batch: dict) -> Weighted:
        """Cross-entropy in nats per frame against "target", integer [B, T], where "target_mask" is True."""
        return cross_entropy(outputs.scores, jnp.maximum(batch["target"], 0), _labelled(outputs, batch))

    def figures(self, outputs: FrameScores, batch: dict) -> dict[str, Weighted]:
        """The loss, and the accuracy of the most probable class of every frame."""
        labelled, dtype = _labelled(outputs, batch), outputs.scores.dtype
        right = labelled & (outputs.scores.argmax(axis=-1) == batch["target"])
        return {"loss": self.loss(outputs, batch), "accuracy": Weighted(right.sum(dtype=dtype), labelled.sum(dtype=dtype))}

    def probabilities(self, params: Params, batch: dict) -> Array:
        """The probabilities of every frame's classes.

        Args:
            params: from `init`.
            batch: what the encoder reads.

        Returns:
            [B, T, C].

        Raises:
            InputError: a batch that the encoder cannot read.
        """
        return _probabilities(self, params, self.encoder.inputs(batch)[0])

    def start(self, params: Params, rows: int) -> State:
        """The state before the first frame, for classifying online.

        Args:
            params: from `init`.
            rows: B, sequences that are read at once.

        Returns:
            The encoder's state.

        Raises:
            InputError: a part that sees later frames, by name.
        """
        return self.encoder.initial_state(params["encoder"], rows)

    def step(self, params: Params, state: State, x: Array) -> tuple[State, Array]:
        """One more frame of every sequence.

        Args:
            params: from `init`.
            state: from `start` or the step before.
            x: a frame (or a symbol) of every sequence, [B, ...].

        Returns:
            (state, probabilities [B, C] of that frame's class).
        """
        hs, _, state = self.encoder.encode(params["encoder"], self.encoder.piece(x), state=state)
        return state, jax.nn.softmax(fully_connected(params["output"], hs[:, 0]))


def _labelled(outputs: FrameScores, batch: dict) -> Array:
    """The frames that count, bool [B, T]: real and labelled."""
    mask = batch.get("target_mask")
    return outputs.mask if mask is None else outputs.mask & mask


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(model: FrameClassifier, params: Params, batch: dict) -> Array:
    return model.apply(params, batch)[1].probabilities
