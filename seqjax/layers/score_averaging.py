"""A head that predicts at every frame, and averages the predictions over time."""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax import masks
from seqjax.checks import check_array, check_choice
from seqjax.layers.heads import Head, Pooled, fully_connected, nothing_pooled, pool_frame
from seqjax.parameters import model_method
from seqjax.serial import register
from seqjax.tree import zero_where_not
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreAveraging(Head):
    """A prediction at every frame, each with a loss; the clip's is their average over time.

        p_t = softmax(W f(h_t) + b);    loss = sum over t of gain_t loss_t;    p = sum over t of weight_t p_t

    Gain and weight are each one of, for frame t of L, normalised to the sum 1:

        "uniform": 1;    "linear": t / L;    "last": 1 at the last frame, else 0

    and the clip's probabilities may be the greatest of every class instead, divided by their sum ("max"). On features of single
    frames without recurrence this is the single-frame baseline; on an LSTM, LRCN.

    Args:
        features, classes, hidden, dropout: as for every `Head`.
        average: the weights of the frames' probabilities: "uniform", "linear", "last" or "max".
        gain: the weights of the frames' losses: "uniform", "linear" or "last".

    Raises:
        InputError: a size below 1, a rate outside 0 <= rate < 1, or an unknown `average` or `gain`.

    Example:
        >>> head = ScoreAveraging(features=3, classes=2, gain="linear")
        >>> (6 * head.gains(jnp.array([[True, True, True, False]]))).round().tolist()
        [[1.0, 2.0, 3.0, 0.0]]

    Donahue et al. 2015, arXiv:1411.4389 (LRCN); Ng et al. 2015, arXiv:1503.08909, sections 3.2 and 4.1 (linear gain).
    """

    average: str = "uniform"
    gain: str = "uniform"

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, ("uniform", "linear", "last", "max"), average=self.average)
        check_choice(self, ("uniform", "linear", "last"), gain=self.gain)

    @model_method
    def apply(self, params: Params, hs: Array, mask: Array, key: Key | None = None) -> Array:
        hs, mask = self.frames(hs, mask)
        return fully_connected(params, hs, self.dropout, key)

    def gains(self, mask: Array) -> Array:
        gains = _frame_weights(self.gain, jnp.asarray(check_array("mask", mask, "bool", "B", "T")))  # [B, T]
        return gains / jnp.maximum(gains.sum(axis=1, keepdims=True), 1)

    def probabilities(self, scores: Array, mask: Array) -> Array:
        mask = jnp.asarray(check_array("mask", mask, "bool", *scores.shape[:2]))
        p = jax.nn.softmax(zero_where_not(mask, scores))  # [B, T, C]
        if self.average == "max":
            return _normalised(masks.masked_max(p, mask=mask))
        return _normalised(jnp.einsum("bt,btc->bc", _frame_weights(self.average, mask).astype(p.dtype), p))

    @model_method
    def start(self, params: Params, rows: int) -> Pooled:
        return nothing_pooled(params, rows, self.classes)

    def step(self, params: Params, state: Pooled, h: Array) -> tuple[Pooled, Array]:
        p = jax.nn.softmax(fully_connected(params, h))  # [B, C]
        if self.average == "linear":
            p = p * (state.count[:, None] + 1).astype(p.dtype)
        state = pool_frame(state, p, self.average if self.average in ("max", "last") else "mean")
        return state, _normalised(state.pooled)


def _frame_weights(scheme: str, mask: Array) -> Array:
    """Weights of the real frames, float32 [B, T], 0 at padding: 1, the number of the frame, or 1 at the last."""
    number = (masks.real_steps_before(mask) + 1) * mask.astype(jnp.int32)  # [B, T], 1 to L
    if scheme == "linear":
        return number.astype(jnp.float32)
    if scheme == "last":
        return (mask & (number == mask.sum(axis=1, keepdims=True, dtype=jnp.int32))).astype(jnp.float32)
    return mask.astype(jnp.float32)


def _normalised(p: Array) -> Array:
    """Non-negative numbers [B, C] divided by their sum; zeros stay zeros."""
    total = p.sum(axis=-1, keepdims=True)
    return p / jnp.where(total > 0, total, jnp.ones((), p.dtype))
