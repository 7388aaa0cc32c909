"""Attention scores of a query for each position of a memory, and the context vector read under them."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqjax import masks, tree
from seqjax.attention.memory import Memory, Read, masked_softmax, match, read_out
from seqjax.checks import as_array, check_size, concrete
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params
from seqjax.values import Value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention(Value):
    """A way to score the places of a memory for a query, and to read from them.

        e_s = score(query, value_s);  a = softmax of e over the real places;  context = sum over s of a_s value_s

    A subclass defines `init`, `keys` and `scores`; also `weigh`, if its weights are not the softmax of its scores, or `attend`,
    if its context is not the mean of the values. Every product of the query with a kernel is written `dot(query, kernel)`.

    Args:
        query_size: Q, features of the query: the cell's hidden units.
        memory_size: M, features of the values: the encoder's output.

    Raises:
        InputError: a size below 1.

    Example:
        >>> attention = Dot(query_size=2, memory_size=2)
        >>> memory = attention.remember({}, jnp.eye(2)[None], jnp.ones((1, 2), bool))
        >>> attention.attend({}, jnp.array([[100.0, 0.0]]), memory)[1].tolist()
        [[1.0, 0.0]]
    """

    query_size: int
    memory_size: int

    def __post_init__(self):
        check_size(self, query_size=self.query_size, memory_size=self.memory_size)

    @property
    def context_size(self) -> int:
        """Features of the context."""
        return self.memory_size

    @property
    def reads_coverage(self) -> bool:
        """True if attend reads the sum of the weights so far."""
        return False

    @property
    def reads_steps(self) -> bool:
        """True if attend reads the number of steps so far."""
        return False

    @property
    def draws(self) -> bool:
        """True if attend draws the places that it reads."""
        return False

    @property
    def places(self) -> int | None:
        """The most places that it can tell apart; None: any number."""
        return None

    @property
    def at_once(self) -> bool:
        """True if all T queries are best scored at once, since that makes no array [B, T, S, features]."""
        return True

    def init(self, key: Key) -> Params:
        """Parameters, a nested plain dict of arrays."""
        return {}

    def keys(self, params: Params, values: Array) -> Any:
        """The part of the scores that depends on the values alone: [..., S, M] to a pytree, leaves [..., ...]."""
        return ()

    def remember(self, params: Params, values: Array, mask: Array) -> Memory:
        """The memory of a sequence. Masked places, NaN included, take the values of the row's first real place.

        Args:
            params: from `init`.
            values: floating, [..., S, M].
            mask: bool, [..., S], True at real places.

        Returns:
            The memory.

        Raises:
            InputError: values or mask of another shape or dtype; more real places than the attention can tell apart.
        """
        values, mask = as_array("values", values), as_array("mask", mask)
        if values.shape[-1:] != (self.memory_size,) or not jnp.issubdtype(values.dtype, jnp.floating):
            raise InputError(
                f"values is {tree.form(values)}, {type(self).__name__} remembers floating [..., S, {self.memory_size}]"
            )
        if mask.dtype != jnp.bool_ or mask.shape != values.shape[:-1]:
            raise InputError(f"mask is {tree.form(mask)}, it must be bool{list(values.shape[:-1])}: True at real places")
        if self.places is not None and (known := concrete(mask)) is not None:
            self.check_lengths(np.flatnonzero(known.any(axis=tuple(range(known.ndim - 1)))) + 1)
        values, mask = jnp.asarray(values), jnp.asarray(mask)
        if mask.shape[-1]:
            rows = values.reshape(-1, *values.shape[-2:]), mask.reshape(-1, mask.shape[-1])  # [N, S, M], [N, S]
            values = masks.fill(*rows).reshape(values.shape)
        return Memory(self.keys(params, values), values, mask)

    def check_lengths(self, lengths: ArrayLike):
        """Raise InputError if a sequence has more places than it can tell apart; traced lengths are not checked."""
        if self.places is None or (known := concrete(as_array("lengths", lengths))) is None:
            return
        longest = np.max(known, initial=0)
        if longest > self.places:
            raise InputError(
                f"the memory has {longest} places, attention by location has max_length={self.places}: make it larger"
            )

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """The fit of a query to each place: [..., Q] to [..., S], float32 or wider."""
        raise NotImplementedError

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
        """Reads a memory.

        Args:
            params: from `init`.
            query: floating, [..., Q].
            memory: from `remember`, the same leading axes.
            coverage: [..., S], the sum of the weights of earlier steps; where `reads_coverage`.
            steps: int32, [...], the number of earlier steps; where `reads_steps`.
            key: typed keys, [...], one for each query; where `draws`. None: deterministic.
            dot: the product with a kernel, as in a cell's `recur`.

        Returns:
            Read: context [..., context_size] and weights [..., S], float32 or wider; both 0 in rows that are all masked.
        """
        scores = self.scores(params, query, memory, coverage=coverage, dot=dot)
        weights, log_p = self.weigh(params, query, scores, memory.mask, steps=steps, key=key, dot=dot)
        return Read(read_out(weights, memory.values), weights, log_p)

    def weigh(
        self, params: Params, query: Array, scores: Array, mask: Array, *, steps: Array | None, key: Array | None, dot
    ) -> tuple[Array, Array | None]:
        """The weights [..., S] of scores [..., S], and the log-probability [...] of a draw or None; the rest as in `attend`."""
        return masked_softmax(scores, mask), None


def take_sizes(owner: Attention, attention: Attention):
    """Copy to `owner` the sizes of the attention whose scores it uses; raise InputError unless that attention gives scores."""
    kind = type(attention)
    is_softmax = isinstance(attention, Attention) and kind.attend is Attention.attend and kind.weigh is Attention.weigh
    if not is_softmax:
        raise InputError(f"{type(owner).__name__} needs an attention that gives scores, such as General, not a {kind.__name__}")
    for name in ("query_size", "memory_size"):
        object.__setattr__(owner, name, getattr(attention, name))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Additive(Attention):
    """Scores by a small network.

        e_s = v . tanh(W query + U value_s [+ w coverage_s])

    Args:
        query_size: Q.
        memory_size: M.
        hidden_size: A, units of the network.
        coverage: whether a score reads the sum of its place's earlier weights.

    Raises:
        InputError: a size below 1.

    Example:
        >>> attention = Additive(query_size=4, memory_size=6, hidden_size=5)
        >>> sorted(attention.init(jax.random.key(0)))
        ['memory_kernel', 'query_kernel', 'score_kernel']

    Bahdanau, Cho, Bengio 2014, arXiv:1409.0473; coverage: Tu et al. 2016, See et al. 2017, arXiv:1704.04368.
    """

    hidden_size: int
    coverage: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_size(self, hidden_size=self.hidden_size)

    @property
    def reads_coverage(self) -> bool:
        return self.coverage

    @property
    def at_once(self) -> bool:
        return False

    def init(self, key: Key) -> Params:
        """`query_kernel` [Q, A], `memory_kernel` [M, A], `score_kernel` [A]; with coverage `coverage_kernel` [A]."""
        k_query, k_memory, k_score, k_coverage = jax.random.split(key, 4)
        params = {
            "query_kernel": glorot(k_query, (self.query_size, self.hidden_size)),
            "memory_kernel": glorot(k_memory, (self.memory_size, self.hidden_size)),
            "score_kernel": glorot(k_score, (self.hidden_size, 1))[:, 0],
        }
        return params | ({"coverage_kernel": glorot(k_coverage, (1, self.hidden_size))[0]} if self.coverage else {})

    def keys(self, params: Params, values: Array) -> Array:
        """U value: [..., S, A]."""
        kernel = params["memory_kernel"]
        return product(values, kernel).astype(kernel.dtype)

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """v . tanh(W query + keys [+ w coverage])."""
        projected = dot(query, params["query_kernel"])
        coverage_and_kernel = (coverage, params["coverage_kernel"]) if self.coverage else None
        return _additive(projected, memory.keys, params["score_kernel"], coverage_and_kernel)


@functools.partial(jax.checkpoint, prevent_cse=False)  # saving [B, S, A] at every step costs more than recomputing it
def _additive(query, keys, score_kernel, coverage_and_kernel):
    dtype = query.dtype
    inner = query[..., None, :] + keys.astype(dtype)  # [..., S, A]
    if coverage_and_kernel is not None:
        coverage, kernel = coverage_and_kernel
        inner = inner + coverage.astype(dtype)[..., None] * jnp.broadcast_to(kernel.astype(dtype), inner.shape)
    return jnp.einsum("...a,a->...", jnp.tanh(inner), score_kernel.astype(dtype))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dot(Attention):
    """Scores by the dot product of query and value, which have equally many features.

        e_s = query . value_s    [ / sqrt(Q) ]

    Args:
        query_size: Q.
        memory_size: M, equal to Q.
        scaled: whether the scores are divided by sqrt(Q).

    Raises:
        InputError: a size below 1, or sizes that differ.

    Example:
        >>> attention = Dot(query_size=2, memory_size=2)
        >>> memory = attention.remember({}, jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.ones(2, bool))
        >>> attention.scores({}, jnp.array([1.0, 1.0]), memory).tolist()
        [3.0, 7.0]

    Luong, Pham, Manning 2015, arXiv:1508.04025; scaled: Vaswani et al. 2017.
    """

    scaled: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.query_size != self.memory_size:
            sizes = f"{self.query_size} and {self.memory_size}"
            raise InputError(f"Dot needs query_size equal to memory_size, they are {sizes}: make them equal, or take General")

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """query . values."""
        scores = match(query, memory.values)
        return scores / math.sqrt(self.query_size) if self.scaled else scores


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class General(Attention):
    """Scores by a bilinear form; its product with the memory is computed once per sequence.

        e_s = query . (W value_s)    [ / sqrt(Q) ]

    Args:
        query_size: Q.
        memory_size: M.
        scaled: whether the scores are divided by sqrt(Q).

    Raises:
        InputError: a size below 1.

    Example:
        >>> General(query_size=4, memory_size=6).init(jax.random.key(0))["memory_kernel"].shape
        (6, 4)

    Luong, Pham, Manning 2015, arXiv:1508.04025.
    """

    scaled: bool = False

    def init(self, key: Key) -> Params:
        """`memory_kernel` [M, Q]."""
        return {"memory_kernel": glorot(key, (self.memory_size, self.query_size))}

    def keys(self, params: Params, values: Array) -> Array:
        """W value: [..., S, Q]."""
        kernel = params["memory_kernel"]
        return product(values, kernel).astype(kernel.dtype)

    def scores(self, params: Params, query: Array, memory: Memory, *, coverage: Array | None = None, dot=product) -> Array:
        """query . keys."""
        scores = match(query, memory.keys)
        return scores / math.sqrt(self.query_size) if self.scaled else scores
