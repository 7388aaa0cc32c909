"""A classifier of frames: a reader, and fully connected layers at every step."""

import dataclasses
import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.checks import check_array, check_choice, check_integers, check_rate, check_size, check_sizes, check_weights
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.layers.heads import fully_connected, init_layers
from seqjax.losses import Weighted, binary_cross_entropy, margin_ranking, score_ranking
from seqjax.losses.classifiers import accuracy, check_objective, objective
from seqjax.models.encoders import Encoder, check_encoder, class_probabilities, target_mask
from seqjax.parameters import model_method
from seqjax.placement import automatic
from seqjax.serial import register
from seqjax.types import Array, Key, Params, State


@register
class FrameScores(NamedTuple):
    """Outputs of a classifier of frames.

    Args:
        scores: [B, T, C], before the softmax.
        mask: bool, [B, T], True at frames that have a score.
        probabilities: [B, T, C].
        training: floating, []: 1 in training, else 0.
    """

    scores: Array
    mask: Array
    probabilities: Array
    training: Array


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameClassifier(Model):
    """A classifier of frames, for detection and segmentation: the distribution of every frame's class.

        h_1 .. h_T = encoder(x_1 .. x_T);    p(class_t | x) = softmax(W f(h_t) + b)

    A batch holds what the encoder reads; "target", integer [B, T], the class of every frame, negative where there is none; and
    "target_mask", bool [B, T], True where there is one (without it, at all real frames). The ranking losses penalise a score of
    an activity, or a lead of it, that falls while the activity goes on: loss = L_c + ranking_weight L_r.

    Each step may label several frames (`outputs` and `offset`; a MultiLSTM, with a cell such as `WindowAttention`): step i gives
    a score p_it to the frames t = i + offset - N + 1 .. i + offset, and a frame's score is the mean of its steps',

        y_t = sum over i of beta_it p_it,   beta_it = b_(i + offset - t) over the sum of those of the clip's steps that reach t

    with b_0 .. b_(N-1) all 1 or learned. A frame that no step reaches has no score and no loss.

    Where several classes may hold at once (exclusive=False), "target" is bool [B, T, C], p = sigmoid(W f(h_t) + b), and the
    loss is the sum of the classes' binary cross-entropies.

    Args:
        encoder: the reader: Features of frames, sensors or poses, or Symbols of a text.
        classes: C.
        hidden: the sizes of the fully connected layers f before the last, with ReLU.
        dropout: rate before every fully connected layer.
        ranking: None, "score" or "margin": the ranking loss.
        ranking_weight: lambda, its factor.
        class_weights: a weight for each class's part of L_c; None: all equal.
        label_smoothing: of L_c in training: the share of the target distribution that is spread evenly over all classes.
        focal: the exponent gamma of the focal loss as L_c; None: cross-entropy.
        exclusive: whether a frame has exactly one class.
        outputs: N, frames that each step labels.
        offset: steps from each step to the last frame that it labels; above 0 it labels frames to come.
        learned: whether b is learned, as the softmax of parameters that begin at 0.

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

    Ma, Sigal, Sclaroff 2016 (ranking losses); Yeung et al. 2015, arXiv:1507.05738 (MultiLSTM, several classes a frame).
    """

    unit: ClassVar[str] = "frame"
    vocabulary_sizes = property(lambda self: (*self.encoder.vocabulary_sizes, self.classes))

    encoder: Encoder
    classes: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    ranking: str | None = None
    ranking_weight: float = 1.0
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal: float | None = None
    exclusive: bool = True
    outputs: int = 1
    offset: int = 0
    learned: bool = False

    def __post_init__(self):
        check_sizes(self, hidden=self.hidden)
        check_encoder(self.encoder)
        check_size(self, classes=self.classes, outputs=self.outputs)
        check_integers(offset=self.offset)
        check_rate(self, dropout=self.dropout)
        check_choice(self, (None, *_RANKING), ranking=self.ranking)
        check_weights(ranking_weight=self.ranking_weight)
        check_objective(self, self.classes)
        if not self.exclusive and (self.ranking or self.class_weights or self.label_smoothing or self.focal is not None):
            raise InputError(
                "exclusive=False has no ranking, class_weights, label_smoothing or focal: they are for one class a frame"
            )

    def init(self, key: Key) -> Params:
        """`encoder`; `output`: the fully connected layers, of N C outputs; `beta` [N], if learned."""
        sizes = (self.encoder.output_size, *self.hidden, self.outputs * self.classes)
        params = {"encoder": self.encoder.init(key), "output": init_layers(jax.random.split(key, 6)[1], sizes)}
        return params | {"beta": jnp.zeros(self.outputs)} if self.learned else params

    @model_method
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
        scores = fully_connected(params["output"], hs, self.dropout, k_output)  # [B, T, N C]
        if self.outputs > 1 or self.offset:
            scores, mask = automatic(self._mean_of_steps, params.get("beta"), scores, mask, rows=mask)
        return (), FrameScores(scores, mask, self._p(scores), jnp.asarray(float(key is not None), scores.dtype))

    def _mean_of_steps(self, beta: Array | None, scores: Array, mask: Array) -> tuple[Array, Array]:
        """The scores of every frame, [B, T, C], from those that each step gives, [B, T, N C]; and the frames that have some."""
        rows, steps, count = *mask.shape, self.outputs
        scores = scores.reshape(rows, steps, count, self.classes)
        step = jnp.arange(steps)[:, None] - self.offset + jnp.arange(count)[None]  # [T, N]: step[t, j] gives frame t its output j
        output = jnp.broadcast_to(jnp.arange(count)[None], step.shape)
        within = jnp.clip(step, 0, max(steps - 1, 0))
        reached = mask[:, within] & jnp.broadcast_to((step == within)[None], (rows, *step.shape))  # [B, T, N]
        shares = jnp.ones(count, scores.dtype) if beta is None else jax.nn.softmax(beta.astype(scores.dtype))
        shares = jnp.where(reached, jnp.broadcast_to(shares, reached.shape), jnp.zeros((), scores.dtype))  # [B, T, N]
        total = shares.sum(axis=-1, keepdims=True)
        shares = shares / jnp.where(total > 0, total, jnp.ones((), total.dtype))
        return jnp.einsum("btn,btnc->btc", shares, scores[:, within, output]), mask & reached.any(axis=-1)

    def _p(self, scores: Array) -> Array:
        return jax.nn.softmax(scores) if self.exclusive else jax.nn.sigmoid(scores)

    def _truth(self, outputs: FrameScores, batch: dict) -> tuple[Array, Array]:
        """The classes [B, T] that the probabilities are compared with, and bool [B, T], True where there is one."""
        kind, shape = ("integer", outputs.mask.shape) if self.exclusive else ("bool", outputs.scores.shape)
        target = jnp.asarray(check_array("target", batch["target"], kind, *shape))
        mask = target_mask(batch, outputs.mask)
        return target, mask & (target >= 0) if self.exclusive else mask

    @model_method
    def loss(self, outputs: FrameScores, batch: dict) -> Weighted:
        """The loss in nats per frame against "target"."""
        return self.figures(outputs, batch)["loss"]

    @model_method
    def figures(self, outputs: FrameScores, batch: dict) -> dict[str, Weighted]:
        """The loss; the accuracy of the most probable class, or of every class's presence; "ranking", the ranking loss alone."""
        scores, (target, mask) = outputs.scores, self._truth(outputs, batch)
        if not self.exclusive:
            classes = jnp.broadcast_to(mask[..., None], scores.shape)
            right = classes & ((scores > 0) == target.astype(jnp.bool_))
            counted = mask.sum(dtype=scores.dtype)
            loss = Weighted(binary_cross_entropy(scores, target, mask).sum, counted)
            return {"loss": loss, "accuracy": Weighted(right.sum(dtype=scores.dtype), counted * self.classes)}
        loss = objective(self, scores, target, mask, training=outputs.training)
        figures = {"loss": loss, "accuracy": accuracy(scores, target, mask)}
        if self.ranking is not None:
            ranking = _RANKING[self.ranking](scores, target, mask)
            figures |= {"loss": Weighted(loss.sum + self.ranking_weight * ranking.sum, loss.weight), "ranking": ranking}
        return figures

    def fused(self, members: list[FrameScores], probabilities: Array) -> FrameScores:
        """The outputs of a fusion that gives these probabilities [B, T, C]; a frame counts if every member has a score for it."""
        tiny = jnp.finfo(probabilities.dtype).tiny
        scores = jnp.log(jnp.maximum(probabilities, tiny))
        if not self.exclusive:
            scores = scores - jnp.log(jnp.maximum(1 - probabilities, tiny))
        mask = functools.reduce(jnp.logical_and, [member.mask for member in members])  # [B, T]
        return members[0]._replace(scores=scores, mask=mask, probabilities=probabilities)

    @model_method
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
        return class_probabilities(self, params, batch)

    @model_method
    def start(self, params: Params, rows: int) -> State:
        """The state before the first frame, for classifying online.

        Args:
            params: from `init`.
            rows: B, sequences that are read at once.

        Returns:
            The encoder's state.

        Raises:
            InputError: a part that sees later frames (the message names it), or steps that label frames other than their own.
        """
        if self.outputs > 1 or self.offset:
            labels = f"outputs={self.outputs} and offset={self.offset}"
            raise InputError(f"FrameClassifier with {labels} labels other frames than the latest, so it cannot run online")
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
        return state, self._p(fully_connected(params["output"], hs[:, 0]))


_RANKING = {"score": score_ranking, "margin": margin_ranking}
