"""Attention by position: location-based scores, and local windows (Luong et al. 2015)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.attention.memory import Memory, masked_softmax
from seqjax.attention.scores import Attention, take_sizes
from seqjax.checks import check_flag, check_size
from seqjax.initializers import glorot
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Location(Attention):
    """Scores of places from the query alone, independent of their values.

        e_s = (W query)_s

    Args:
        query_size: Q.
        memory_size: M.
        max_length: the most places that it can tell apart; places beyond are never attended to.

    Raises:
        InputError: a size below 1; a longer sequence, unless its length is traced.

    Example:
        >>> Location(query_size=4, memory_size=6, max_length=50).init(jax.random.key(0))["query_kernel"].shape
        (4, 50)

    Luong, Pham, Manning 2015, arXiv:1508.04025, equation 8.
    """

    max_length: int

    def __post_init__(self):
        super().__post_init__()
        check_size(self, max_length=self.max_length)

    @property
    def places(self) -> int:
        return self.max_length

    def init(self, key: Key) -> Params:
        """`query_kernel` [Q, max_length]."""
        return {"query_kernel": glorot(key, (self.query_size, self.max_length))}

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """W query at the places of the memory; -inf at places beyond max_length, which are padding."""
        places = memory.mask.shape[-1]
        scores = dot(query, params["query_kernel"])[..., :places]
        padding = [(0, 0)] * (scores.ndim - 1) + [(0, places - scores.shape[-1])]
        return jnp.pad(scores, padding, constant_values=-jnp.inf)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Local(Attention):
    """Attention to the places near a centre.

        a_s = softmax of e over the places with |s - p| <= D
        predicted (local-p):  p = length * logistic(v . tanh(W query)),  and a_s is multiplied by exp(-2 (s - p)^2 / D^2)
        otherwise (local-m):  p = the number of the step, at most the last place

    Args:
        attention: gives the scores e: Additive, Dot, General or Location.
        window: D, places on each side of the centre.
        predicted: whether the centre comes from the query.

    Raises:
        InputError: a window below 1, or an attention with a `weigh` or an `attend` of its own.

    Example:
        >>> from seqjax.attention.scores import Dot
        >>> attention = Local(attention=Dot(query_size=2, memory_size=2), window=1, predicted=False)
        >>> memory = attention.remember({}, jnp.ones((4, 2)), jnp.ones(4, bool))
        >>> attention.attend({}, jnp.ones(2), memory, steps=jnp.array(3))[1].tolist()
        [0.0, 0.0, 0.5, 0.5]

    Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.2.
    """

    query_size: int = dataclasses.field(init=False)
    memory_size: int = dataclasses.field(init=False)
    attention: Attention
    window: int
    predicted: bool = True

    def __post_init__(self):
        check_size(self, window=self.window)
        check_flag(self, predicted=self.predicted)
        take_sizes(self, self.attention)

    @property
    def reads_coverage(self) -> bool:
        return self.attention.reads_coverage

    @property
    def reads_steps(self) -> bool:
        return not self.predicted

    @property
    def places(self) -> int | None:
        return self.attention.places

    @property
    def at_once(self) -> bool:
        return self.attention.at_once

    def init(self, key: Key) -> Params:
        """`attention` (if it has parameters); if predicted also `centre_kernel` [Q, Q] and `centre_vector` [Q]."""
        k_attention, k_kernel, k_vector = jax.random.split(key, 3)
        attention_params = self.attention.init(k_attention)
        params: Params = {"attention": attention_params} if attention_params else {}
        if self.predicted:
            params["centre_kernel"] = glorot(k_kernel, (self.query_size, self.query_size))
            params["centre_vector"] = glorot(k_vector, (self.query_size, 1))[:, 0]
        return params

    def keys(self, params: Params, values: Array) -> Any:
        """The keys of `attention`."""
        return self.attention.keys(params.get("attention", {}), values)

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """The scores of `attention`."""
        return self.attention.scores(params.get("attention", {}), query, memory, coverage=coverage, dot=dot)

    def weigh(self, params: Params, query: Array, scores: Array, mask: Array, *, steps: Array | None, key, dot):
        """The softmax [..., S] within a window around the centre; nothing is drawn."""
        length = mask.sum(axis=-1, dtype=scores.dtype)
        if self.predicted:
            inner = jnp.tanh(dot(query, params["centre_kernel"]))
            vector = params["centre_vector"].astype(inner.dtype)
            centre = length * jax.nn.sigmoid(jnp.einsum("...q,q->...", inner, vector)).astype(scores.dtype)
        else:
            centre = jnp.minimum(jnp.asarray(steps).astype(scores.dtype), jnp.maximum(length - 1, 0))
        distance = jax.lax.broadcasted_iota(scores.dtype, scores.shape, scores.ndim - 1) - centre[..., None]
        weights = masked_softmax(scores, mask & (jnp.abs(distance) <= self.window))
        if self.predicted:
            weights = weights * jnp.exp(-2 * (distance / self.window) ** 2)
        return weights, None
