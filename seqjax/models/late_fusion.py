"""Late fusion: several classifiers' probabilities, averaged, and weights fitted on validation data."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array, check_choice, check_positive, check_weights, kind_of
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.losses import Weighted
from seqjax.parameters import model_method
from seqjax.serial import register
from seqjax.types import Array, Key, Params, State


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LateFusion(Model):
    """Classifiers of clips, or of frames, whose probabilities are averaged: two streams, or an ensemble.

        "probability": p(y) = sum_i w_i p_i(y) / sum_i w_i;    "log": p(y) = prod_i p_i(y)^(w_i / sum_i w_i) / Z

    Its parameters are a tuple of the members'. Each member reads an entry of the batch of its own, such as "frames" and "flow",
    or all read the same.

    Args:
        models: Classifiers, or FrameClassifiers, of the same classes.
        weights: w, one a model, such as from `fit_weights`; None: all equal.
        average: "probability" or "log".

    Raises:
        InputError: no models, models that are not classifiers, of different kinds or of different classes, or weights that do
            not fit.

    Example:
        >>> from seqjax.layers.pooling import Pooling
        >>> from seqjax.models.classifier import Classifier
        >>> from seqjax.models.encoders import Features
        >>> words = ("features", "flow")
        >>> streams = (Classifier(encoder=Features(size=4, name=word), head=Pooling(features=4, classes=3)) for word in words)
        >>> model = LateFusion(models=tuple(streams), weights=(1.0, 2.0))
        >>> batch = {"features": jnp.ones((2, 5, 4)), "flow": jnp.ones((2, 5, 4))}
        >>> model.probabilities(model.init(jax.random.key(0)), batch).shape
        (2, 3)

    Simonyan, Zisserman 2014, arXiv:1406.2199 (two streams).
    """

    models: tuple[Any, ...]
    weights: tuple[float, ...] | None = None
    average: str = "probability"

    def __post_init__(self):
        if not isinstance(self.models, tuple | list):
            raise InputError(f"models is {kind_of(self.models)}, it must be a tuple of classifiers")
        object.__setattr__(self, "models", tuple(self.models))
        check_choice(self, ("probability", "log"), average=self.average)
        check_positive(models=len(self.models))
        kinds = list(map(_kind, self.models))
        for i, kind in enumerate(kinds):
            if kind != kinds[0]:
                raise InputError(f"models 0 and {i} are a {kinds[0]} and a {kind}: they must be of one kind and its classes")
        first = self.models[0]
        if self.average == "log" and not getattr(first, "exclusive", True):
            raise InputError('average="log" is for classes that exclude each other: take average="probability"')
        if self.weights is not None:
            weights = self.weights
            if len(weights) != len(self.models) or not sum(weights) > 0:
                raise InputError(f"weights is {weights}, it must hold a number for each of {len(self.models)} models, not all 0")
            check_weights(**{f"weights[{i}]": weight for i, weight in enumerate(weights)})

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The members' unit."""
        return self.models[0].unit

    @property
    def classes(self) -> int:
        """C."""
        return self.models[0].classes

    @property
    def vocabulary_sizes(self) -> tuple[int, ...]:
        return self.models[0].vocabulary_sizes

    def init(self, key: Key) -> tuple[Params, ...]:  # type: ignore[override]
        """A tuple of the members' parameters."""
        keys = jax.random.split(key, len(self.models))
        return tuple(model.init(k) for model, k in zip(self.models, keys, strict=True))

    def apply(self, params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[tuple, Any]:
        """Averaged probabilities.

        Args:
            params: a tuple of the members' parameters.
            batch: what the members read.
            state: not used.
            key: feeds dropout; None: deterministic.

        Returns:
            ((), outputs of the first model's type, with the averaged probabilities).

        Raises:
            InputError: params that are not a tuple of one entry for each model.
        """
        members = self._members(params)
        keys = [None] * len(self.models) if key is None else jax.random.split(key, len(self.models))
        outputs = [model.apply(member, batch, key=k)[1] for (model, member), k in zip(members, keys, strict=True)]
        averaged = self._averaged([output.probabilities for output in outputs])
        return (), self.models[0].fused(outputs, averaged)

    @model_method
    def loss(self, outputs, batch: dict) -> Weighted:
        """The loss of the averaged probabilities, computed by the first model."""
        return self.models[0].loss(outputs, batch)

    @model_method
    def figures(self, outputs, batch: dict) -> dict[str, Weighted]:
        """The figures of the averaged probabilities, computed by the first model."""
        return self.models[0].figures(outputs, batch)

    def probabilities(self, params, batch: dict) -> Array:
        """The averaged probabilities, [B, C], or [B, T, C] of frames.

        Args:
            params: a tuple of the members' parameters.
            batch: what the members read.

        Raises:
            InputError: a batch that a member cannot read, or params that do not fit.
        """
        members = self._members(params)
        return self._averaged([model.probabilities(member, batch) for model, member in members])

    def start(self, params, rows: int) -> tuple:
        """The members' states before the first frame.

        Raises:
            InputError: a part that sees later frames (the message names it), or params that do not fit.
        """
        return tuple(model.start(member, rows) for model, member in self._members(params))

    def step(self, params, state: tuple, x: Array | dict[str, Array]) -> tuple[tuple, Array]:
        """One more frame of every clip.

        Args:
            params: a tuple of the members' parameters.
            state: from `start` or the step before.
            x: a frame of every clip, [B, ...], which every member reads; or a dict of them by the key of the batch.

        Returns:
            (state, probabilities [B, C]).
        """
        xs = [x[model.encoder.name] if isinstance(x, dict) else x for model in self.models]
        members = zip(self._members(params), state, xs, strict=True)
        states, p = zip(*(model.step(member, s, each) for (model, member), s, each in members), strict=True)
        return states, self._averaged(p)

    def _members(self, params) -> list[tuple[Any, Params]]:
        """Each model with its parameters."""
        if not isinstance(params, tuple) or len(params) != len(self.models):
            kind = f"a tuple of {len(params)}" if isinstance(params, tuple) else f"a {type(params).__name__}"
            raise InputError(f"a fusion of {len(self.models)} models was given {kind}: give a tuple with each model's params")
        return list(zip(self.models, params, strict=True))

    def _averaged(self, probabilities) -> Array:
        """The weighted mean of the members' probabilities, each [..., C]."""
        p = jnp.stack(probabilities)  # [M, ..., C]
        weights = np.ones(len(p)) if self.weights is None else np.asarray(self.weights)
        weights = jnp.asarray(weights / weights.sum(), p.dtype)  # [M]
        if self.average == "probability":
            return jnp.tensordot(weights, p, 1)
        return jax.nn.softmax(jnp.tensordot(weights, jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)), 1))


def _kind(model) -> str:
    """The type of a classifier and its classes, in words."""
    if not hasattr(model, "fused"):
        raise InputError(f"a {type(model).__name__} cannot be fused: give Classifiers or FrameClassifiers")
    several = "" if getattr(model, "exclusive", True) else ", of which several may hold at once"
    return f"{type(model).__name__} of {model.classes} classes{several}"


@public
def fit_weights(probabilities, labels, *, steps: int = 10_000) -> np.ndarray:
    """The weights of an arithmetic mean of probabilities that give the labels the greatest likelihood.

        w = argmax over w >= 0, sum w = 1, of  sum over n of log sum over m of w_m p_mn(label_n)

    The problem is convex; each step of expectation maximisation raises the likelihood:

        w_m <- mean over n of  w_m p_mn(label_n) / sum over k of w_k p_kn(label_n)

    Args:
        probabilities: floating, [M, N, C], of M models on validation data; frames of all clips may be strung together.
        labels: integer, [N]; -1 where there is none.
        steps: the largest number of steps.

    Returns:
        float64, [M], for `LateFusion.weights`.

    Raises:
        InputError: shapes that do not fit, a number that is not a probability, or no labels.

    Example:
        >>> p = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]])
        >>> fit_weights(p, [0, 1]).round(3).tolist()
        [1.0, 0.0]
    """
    p = np.asarray(check_array("probabilities", probabilities, "numeric", "M", "N", "C"), np.float64)
    labels = np.asarray(check_array("labels", labels, "integer", p.shape[1]))
    check_positive(steps=steps)
    if labels.max(initial=-1) >= p.shape[2]:
        raise InputError(f"labels holds {labels.max()}, the probabilities are of {p.shape[2]} classes")
    if not np.all((p >= 0) & (p < np.inf)):
        raise InputError("probabilities hold a NaN, an infinite or a negative number, they must be numbers of at least 0")
    labelled = labels >= 0
    if not labelled.any():
        raise InputError("no label to fit weights to: give validation data with labels")
    right = np.maximum(p[:, labelled, labels[labelled]], np.finfo(np.float64).tiny)  # [M, N]
    weights = np.full(len(p), 1 / len(p))
    for _ in range(steps):
        share = weights[:, None] * right
        new = (share / share.sum(axis=0)).mean(axis=1)
        converged = np.abs(new - weights).max() < 1e-9
        weights = new
        if converged:
            break
    return weights
