"""Multi-head attention: several attentions side by side, each over its own features."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.attention.memory import Memory, Read, masked_softmax
from seqjax.attention.scores import Attention
from seqjax.checks import check_heads, check_size
from seqjax.initializers import glorot
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, at_least_float32


@register
class HeadKeys(NamedTuple):
    """Keys and values of a memory for each head, [..., N, S, A/N] each."""

    keys: Array
    values: Array


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiHead(Attention):
    """N scaled dot-product attentions side by side.

        a_n = softmax(query Q_n . (value_s K_n) / sqrt(A/N)),  context = (sum_s a_1s value_s V_1; ...; sum_s a_Ns value_s V_N)

    The weights it returns are the mean over the heads. The heads are mixed by the kernel that reads the context.

    Args:
        query_size: Q.
        memory_size: M.
        hidden_size: A, features of all heads together, and of the context.
        heads: N, a divisor of A.

    Raises:
        InputError: a size below 1, or heads that do not divide hidden_size.

    Example:
        >>> attention = MultiHead(query_size=4, memory_size=6, hidden_size=8, heads=2)
        >>> params = attention.init(jax.random.key(0))
        >>> memory = attention.remember(params, jnp.ones((3, 5, 6)), jnp.ones((3, 5), bool))
        >>> context, weights, _ = attention.attend(params, jnp.ones((3, 4)), memory)
        >>> context.shape, weights.shape
        ((3, 8), (3, 5))

    Vaswani et al. 2017, arXiv:1706.03762.
    """

    hidden_size: int
    heads: int

    def __post_init__(self):
        super().__post_init__()
        check_size(self, hidden_size=self.hidden_size)
        check_heads(self, self.heads, hidden_size=self.hidden_size)

    @property
    def context_size(self) -> int:
        return self.hidden_size

    def init(self, key: Key) -> Params:
        """`query_kernel` [Q, A], `key_kernel` [M, A], `value_kernel` [M, A]; the heads' features side by side."""
        sizes = {"query_kernel": self.query_size, "key_kernel": self.memory_size, "value_kernel": self.memory_size}
        keys = jax.random.split(key, 3)
        return {name: glorot(k, (size, self.hidden_size)) for k, (name, size) in zip(keys, sizes.items(), strict=True)}

    def keys(self, params: Params, values: Array) -> HeadKeys:
        """Every head's keys and values: [..., S, M] to [..., N, S, A/N] each."""

        def by_head(kernel):
            return jnp.swapaxes(self._split_heads(product(values, kernel).astype(kernel.dtype)), -3, -2)

        return HeadKeys(by_head(params["key_kernel"]), by_head(params["value_kernel"]))

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """Every head's scores: [..., Q] to [..., N, S]."""
        keys = memory.keys.keys
        queries = self._split_heads(dot(query, params["query_kernel"])).astype(keys.dtype)
        dtype = at_least_float32(keys.dtype)
        scores = jnp.einsum("...nd,...nsd->...ns", queries, keys, preferred_element_type=dtype)
        return scores / math.sqrt(self.hidden_size // self.heads)

    def attend(
        self,
        params: Params,
        query: Array,
        memory: Memory,
        *,
        coverage: Array | None = None,
        steps: Array | None = None,
        key: Array | None = None,
        dot=product,
    ) -> Read:
        """The same as `Attention.attend`: context [..., A], and the mean of the heads' weights, [..., S]."""
        weights = masked_softmax(self.scores(params, query, memory, dot=dot), memory.mask[..., None, :])
        values = memory.keys.values
        dtype = at_least_float32(values.dtype)
        context = jnp.einsum("...ns,...nsd->...nd", weights.astype(values.dtype), values, preferred_element_type=dtype)
        return Read(context.reshape(*context.shape[:-2], self.hidden_size), weights.mean(axis=-2))

    def _split_heads(self, features: Array) -> Array:
        """[..., A] to [..., N, A/N]."""
        return features.reshape(*features.shape[:-1], self.heads, self.hidden_size // self.heads)
