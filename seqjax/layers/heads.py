"""The parts that heads share: fully connected layers, and the state of pooling online."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.checks import check_array, check_rate, check_size, check_sizes
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.products import affine
from seqjax.serial import register
from seqjax.tree import zero_where_not
from seqjax.types import Array, Key, Params, State, at_least_float32
from seqjax.values import Value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head(Value):
    """A part that classifies a clip from features of its frames: K predictions a clip, K = 1 or one for every frame.

        scores [B, K, C] = apply(params, hs [B, T, F], mask [B, T]);    p [B, C] = probabilities(scores, mask)

    Every head has fully connected layers, each a matrix product and a bias, with a ReLU between them. Heads differ in where
    among these layers they pool over time. Padding may hold anything, NaN included.

    Args:
        features: F.
        classes: C.
        hidden: the sizes of the fully connected layers before the last, which has C outputs.
        dropout: rate before every fully connected layer.

    Returns:
        A value to pass to a Classifier.

    Example:
        >>> from seqjax.layers.pooling import Pooling
        >>> head = Pooling(features=3, classes=2)
        >>> params = head.init(jax.random.key(0))
        >>> scores = head.apply(params, jnp.ones((4, 5, 3)), jnp.ones((4, 5), bool))
        >>> scores.shape, head.probabilities(scores, jnp.ones((4, 5), bool)).shape
        ((4, 1, 2), (4, 2))

    Ng et al. 2015, "Beyond Short Snippets", arXiv:1503.08909.
    """

    features: int
    classes: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self):
        check_sizes(self, hidden=self.hidden)
        check_size(self, features=self.features, classes=self.classes)
        check_rate(self, dropout=self.dropout)

    def init(self, key: Key) -> Params:
        """{"0": `kernel` and `bias` of the first fully connected layer, ...}."""
        return init_layers(key, (self.features, *self.hidden, self.classes))

    def frames(self, hs: Array, mask: Array) -> tuple[Array, Array]:
        """The features and the mask that `apply` is given, checked; padding becomes 0.

        Raises:
            InputError: features that are not floating [B, T, F], or a mask that is not bool [B, T].
        """
        hs = jnp.asarray(check_array("hs", hs, "floating", "B", "T", self.features))
        mask = jnp.asarray(check_array("mask", mask, "bool", *hs.shape[:2]))
        return zero_where_not(mask, hs), mask

    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        """Scores of the classes, before the softmax.

        Args:
            params: from `init`.
            hs: floating, [B, T, F].
            mask: bool, [B, T], True at real frames.
            key: feeds dropout; None: no dropout.

        Returns:
            [B, K, C], float32 or wider.
        """
        raise NotImplementedError

    def gains(self, mask: Array) -> Array:
        """The weights of the predictions in the loss, which sum to 1 for a clip and to 0 for a row without frames.

        Args:
            mask: bool, [B, T].

        Returns:
            float32, [B, K].
        """
        mask = jnp.asarray(check_array("mask", mask, "bool", "B", "T"))
        return mask.any(axis=1, keepdims=True).astype(jnp.float32)

    def probabilities(self, scores: Array, mask: Array) -> Array:
        """The probabilities of a clip's classes.

        Args:
            scores: from `apply`, [B, K, C].
            mask: bool, [B, T].

        Returns:
            [B, C].
        """
        return jax.nn.softmax(scores[:, 0])

    def start(self, params: Params, rows: int) -> State:
        """The state before the first frame, for classifying online.

        Args:
            params: from `init`.
            rows: B.

        Returns:
            A pytree, leaves [B, ...].

        Raises:
            InputError: the head needs the whole clip.
        """
        raise InputError(f"{type(self).__name__} needs the whole clip, so it cannot run online: take Pooling or ScoreAveraging")

    def step(self, params: Params, state: State, h: Array) -> tuple[State, Array]:
        """One more frame: h [B, F] to (state, probabilities [B, C] of the clip so far)."""
        raise NotImplementedError


@register
class Pooled(NamedTuple):
    """The pooled frames of a clip so far.

    Args:
        pooled: the maximum, the sum or the last of the frames' features, [B, F].
        count: the number of frames, int32, [B].
    """

    pooled: Array
    count: Array


def nothing_pooled(params: Params, rows: int, features: int) -> Pooled:
    """The state before the first frame, whose features are not read."""
    return Pooled(jnp.zeros((rows, features), at_least_float32(params["0"]["kernel"].dtype)), jnp.zeros(rows, jnp.int32))


def pool_frame(state: Pooled, h: Array, reduce: str) -> Pooled:
    """The state after one more frame: the running maximum, sum ("mean") or last."""
    h = h.astype(state.pooled.dtype)
    first = (state.count == 0)[:, None]
    pooled = {"max": jnp.where(first, h, jnp.maximum(state.pooled, h)), "mean": state.pooled + h, "last": h}[reduce]
    return Pooled(pooled, state.count + 1)


def split_key(key: Key | None):
    """Two keys of one; (None, None) of None."""
    return (None, None) if key is None else jax.random.split(key)


def split_layers(params: Params) -> tuple[Params, Params]:
    """(the fully connected layers before the last, the last as the only one)."""
    last = len(params) - 1
    return {str(i): params[str(i)] for i in range(last)}, {"0": params[str(last)]}


def init_layers(key: Key, sizes: tuple[int, ...]) -> Params:
    """Fully connected layers from sizes[0] to sizes[-1] features: {"0": `kernel` [sizes[0], sizes[1]] and `bias`, ...}."""
    keys = jax.random.split(key, max(len(sizes) - 1, 1))
    return {
        str(i): {"kernel": glorot(k, (sizes[i], sizes[i + 1])), "bias": jnp.zeros(sizes[i + 1])}
        for i, k in zip(range(len(sizes) - 1), keys, strict=False)
    }


def fully_connected(params: Params, xs: Array, dropout: float = 0.0, key: Key | None = None, *, end: bool = False) -> Array:
    """The layers made by `init_layers`, with dropout before each and a ReLU between them.

    Args:
        params: from `init_layers`.
        xs: floating, [B, ..., sizes[0]].
        dropout: rate.
        key: feeds dropout; None: no dropout.
        end: whether a ReLU stands after the last layer too.

    Returns:
        [B, ..., sizes[-1]], float32 or wider if there is a layer.
    """
    for i in range(len(params)):
        if key is not None and dropout:
            xs = noise.drop(jax.random.split(jax.random.fold_in(key, i), xs.shape[:-1]), dropout, xs)
        xs = affine(xs, params[str(i)]["kernel"], params[str(i)]["bias"])
        xs = jax.nn.relu(xs) if end or i + 1 < len(params) else xs
    return xs
