"""Hard attention: one place, drawn from the weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.attention.memory import Memory, masked_softmax
from seqjax.attention.scores import Attention, take_sizes
from seqjax.categorical import quantile
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hard(Attention):
    """Attention to one place at a time, drawn from the softmax of the scores.

        s ~ softmax(e);  weights one-hot at s;  context = value_s;  log_p = log softmax(e)_s

    Without a key it is deterministic: it reads the expectation, as soft attention does, and log_p is 0. A draw has no
    derivative: an estimator such as REINFORCE multiplies the gradient of log_p by a reward.

    Args:
        attention: gives the scores e: Additive, Dot, General or Location.

    Raises:
        InputError: an attention with a `weigh` or an `attend` of its own.

    Example:
        >>> from seqjax.attention.scores import Dot
        >>> attention = Hard(attention=Dot(query_size=2, memory_size=2))
        >>> memory = attention.remember({}, jnp.eye(2), jnp.ones(2, bool))
        >>> read = attention.attend({}, jnp.array([100.0, 0.0]), memory, key=jax.random.key(0))
        >>> read.weights.tolist(), float(read.log_p)
        ([1.0, 0.0], 0.0)

    Xu et al. 2015, arXiv:1502.03044, section 4.1.
    """

    query_size: int = dataclasses.field(init=False)
    memory_size: int = dataclasses.field(init=False)
    attention: Attention

    def __post_init__(self):
        take_sizes(self, self.attention)

    @property
    def draws(self) -> bool:
        return True

    @property
    def reads_coverage(self) -> bool:
        return self.attention.reads_coverage

    @property
    def places(self) -> int | None:
        return self.attention.places

    def init(self, key: Key) -> Params:
        """The parameters of `attention`."""
        return self.attention.init(key)

    def keys(self, params: Params, values: Array) -> Any:
        """The keys of `attention`."""
        return self.attention.keys(params, values)

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """The scores of `attention`."""
        return self.attention.scores(params, query, memory, coverage=coverage, dot=dot)

    def weigh(self, params: Params, query: Array, scores: Array, mask: Array, *, steps, key: Array | None, dot):
        """One-hot weights [..., S] at the place drawn, and its log-probability [...]; without a key the softmax, and 0."""
        p = masked_softmax(scores, mask)  # [..., S]
        if key is None or not p.shape[-1]:
            return p, jnp.zeros(p.shape[:-1], p.dtype)
        chance = jax.vmap(lambda k: jax.random.uniform(k, (), jnp.float32))(key.reshape(-1))  # one number a row, for any S
        place = quantile(p.reshape(chance.shape[0], p.shape[-1]), chance).reshape(p.shape[:-1])
        drawn = (jax.lax.broadcasted_iota(place.dtype, p.shape, p.ndim - 1) == place[..., None]) & mask
        p_drawn = jnp.where(drawn, p, jnp.zeros((), p.dtype)).sum(axis=-1)  # 0 where all places are masked
        return drawn.astype(p.dtype), jnp.log(jnp.where(p_drawn > 0, p_drawn, jnp.ones((), p.dtype)))
