"""A classifier of clips: a reader, and a head that pools over time."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.checks import check_array
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.layers.heads import Head
from seqjax.losses import Weighted
from seqjax.losses.classifiers import accuracy, check_objective, objective
from seqjax.models.encoders import Encoder, check_encoder, class_probabilities
from seqjax.parameters import model_method
from seqjax.serial import register
from seqjax.types import Array, Key, Params, State


@register
class ClipScores(NamedTuple):
    """Outputs of a classifier of clips.

    Args:
        scores: [B, K, C], before the softmax: K predictions a clip.
        gains: float32, [B, K]: their weights in the loss, which sum to 1 for a clip and to 0 for a padding row.
        probabilities: [B, C].
        training: floating, []: 1 in training, else 0.
    """

    scores: Array
    gains: Array
    probabilities: Array
    training: Array


@register
class OnlineState(NamedTuple):
    """The state of a classifier that reads online.

    Args:
        encoder: the encoder's state.
        head: the pooled frames so far.
    """

    encoder: State
    head: State


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier(Model):
    """A classifier of clips: the distribution of each clip's class.

        h_1 .. h_T = encoder(x_1 .. x_T);    p(class | x) = head(h)

    A batch holds what the encoder reads, and "label", integer [B]; a row of length 0 is padding. Clips are videos, windows of
    sensor data, sentences, sketches.

    Args:
        encoder: the reader: Features of frames, sensors or poses, or Symbols of a text.
        head: the pooling over time and the output layer; it sets the number of classes, and reads the encoder's features.
        class_weights: a weight for each class's part of the loss; None: all equal.
        label_smoothing: of the loss in training: the share of the target distribution that is spread evenly over all classes.
        focal: the exponent gamma of the focal loss; None: cross-entropy.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> from seqjax.layers.pooling import Pooling
        >>> from seqjax.models.encoders import Features
        >>> encoder = Features(size=6, cell=LSTM(input_size=6, hidden_size=8))
        >>> model = Classifier(encoder=encoder, head=Pooling(features=8, classes=3))
        >>> params = model.init(jax.random.key(0))
        >>> batch = {"features": jnp.ones((2, 5, 6)), "features_lengths": jnp.array([5, 2]), "label": jnp.array([0, 2])}
        >>> model.probabilities(params, batch).shape
        (2, 3)
        >>> _, outputs = model.apply(params, batch)
        >>> {name: float(figure.weight) for name, figure in model.figures(outputs, batch).items()}
        {'loss': 2.0, 'accuracy': 2.0}

    Ng et al. 2015, arXiv:1503.08909; Donahue et al. 2015, arXiv:1411.4389.
    """

    unit: ClassVar[str] = "clip"
    vocabulary_sizes = property(lambda self: (*self.encoder.vocabulary_sizes, self.head.classes))

    encoder: Encoder
    head: Head
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal: float | None = None

    def __post_init__(self):
        check_encoder(self.encoder)
        if not isinstance(self.head, Head):
            raise InputError(f"the head is a {type(self.head).__name__}, it must be a Head such as Pooling or ScoreAveraging")
        if self.head.features != self.encoder.output_size:
            sizes = f"{self.head.features} features, the encoder gives {self.encoder.output_size}"
            raise InputError(f"the head reads {sizes}: they must be equal")
        check_objective(self, self.classes)

    @property
    def classes(self) -> int:
        """C."""
        return self.head.classes

    def init(self, key: Key) -> Params:
        """`encoder`; `head`."""
        return {"encoder": self.encoder.init(key), "head": self.head.init(jax.random.split(key, 6)[1])}

    @model_method
    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[tuple, ClipScores]:
        """Scores of every clip.

        Args:
            params: from `init`.
            batch: what the encoder reads.
            state: not used.
            key: feeds dropout; None: deterministic.

        Returns:
            ((), ClipScores).
        """
        hs, mask, _ = self.encoder.encode(params["encoder"], batch, key)
        scores = self.head.apply(params["head"], hs, mask, None if key is None else jax.random.split(key, 6)[1])
        training = jnp.asarray(float(key is not None), scores.dtype)
        return (), ClipScores(scores, self.head.gains(mask), self.head.probabilities(scores, mask), training)

    @model_method
    def loss(self, outputs: ClipScores, batch: dict) -> Weighted:
        """Cross-entropy in nats per clip, or the focal loss, against "label", integer [B]."""
        gains = outputs.gains  # [B, K]
        label = jnp.broadcast_to(self._label(outputs, batch)[:, None], gains.shape)
        return objective(self, outputs.scores, label, gains > 0, weights=gains, training=outputs.training)

    @model_method
    def figures(self, outputs: ClipScores, batch: dict) -> dict[str, Weighted]:
        """The loss, and the accuracy of the most probable class."""
        real = outputs.gains.sum(axis=1) > 0  # [B]
        right = accuracy(outputs.probabilities, self._label(outputs, batch), real)
        return {"loss": self.loss(outputs, batch), "accuracy": right}

    def _label(self, outputs: ClipScores, batch: dict) -> Array:
        """The classes of the clips, integer [B]."""
        return jnp.asarray(check_array("label", batch["label"], "integer", outputs.gains.shape[0]))

    def fused(self, members: list[ClipScores], probabilities: Array) -> ClipScores:
        """The outputs of a fusion that gives these probabilities [B, C]."""
        p = jnp.maximum(probabilities, jnp.finfo(probabilities.dtype).tiny)
        gains = members[0].gains.sum(axis=1, keepdims=True)  # [B, 1]
        return members[0]._replace(scores=jnp.log(p)[:, None], gains=gains, probabilities=probabilities)

    @model_method
    def probabilities(self, params: Params, batch: dict) -> Array:
        """The probabilities of every clip's classes.

        Args:
            params: from `init`.
            batch: what the encoder reads.

        Returns:
            [B, C].

        Raises:
            InputError: a batch that the encoder cannot read.
        """
        return class_probabilities(self, params, batch)

    @model_method
    def start(self, params: Params, rows: int) -> OnlineState:
        """The state before the first frame, for classifying online.

        Args:
            params: from `init`.
            rows: B, clips that are read at once.

        Returns:
            OnlineState.

        Raises:
            InputError: a part that sees later frames; the message names it.
        """
        return OnlineState(self.encoder.initial_state(params["encoder"], rows), self.head.start(params["head"], rows))

    def step(self, params: Params, state: OnlineState, x: Array) -> tuple[OnlineState, Array]:
        """One more frame of every clip.

        Args:
            params: from `init`.
            state: from `start` or the step before.
            x: a frame (or a symbol) of every clip, [B, ...].

        Returns:
            (state, probabilities [B, C] of the clips so far), equal to `probabilities` of the clips cut off after x.
        """
        encoder = self.encoder
        hs, _, encoder_state = encoder.encode(params["encoder"], encoder.piece(x), state=state.encoder)
        head, probabilities = self.head.step(params["head"], state.head, hs[:, 0])
        return OnlineState(encoder_state, head), probabilities
