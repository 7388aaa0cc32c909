"""Distributions of an observation given a hidden state."""

from typing import NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp

from seqjax.checks import as_array, check_array, check_key, check_positive, check_symbols, concrete
from seqjax.errors import InputError
from seqjax.tables import look_up
from seqjax.types import Array, Key

LEAST_VARIANCE = 1e-6  # of a Gaussian: the variance of a state that holds a single point would shrink to 0


class Emission(Protocol):
    """The two methods that a hidden Markov model needs of its emissions."""

    def log_likelihoods(self, xs: Array) -> Array:
        """log p(x_t | s_t = k), [..., T, K]."""
        ...

    def fitted(self, xs: Array, probs: Array) -> Self:
        """The maximum-likelihood parameters where state k has weight probs[..., t, k] at each step."""
        ...


class Categorical(NamedTuple):
    """One of V symbols at each step: p(x = v | s = k) = exp(log_probs[k, v]).

    Args:
        log_probs: [K, V].

    Example:
        >>> emission = Categorical(jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]])))
        >>> [f"{p:.2f}" for p in jnp.exp(emission.log_likelihoods(jnp.array([1]))[0])]
        ['0.10', '0.50']
    """

    log_probs: Array

    @classmethod
    def random(cls, key: Key, states: int, symbols: int) -> "Categorical":
        """Probabilities drawn uniformly from those that sum to 1, for K = `states` and V = `symbols`."""
        check_positive(states=states, symbols=symbols)
        check_key("key", key)
        return cls(jnp.log(jax.random.dirichlet(key, jnp.ones(symbols), (states,))))

    def log_likelihoods(self, xs: Array) -> Array:
        """[..., T] symbols to [..., T, K]."""
        xs = as_array("xs", xs)
        if not jnp.issubdtype(xs.dtype, jnp.integer):
            raise InputError(f"xs has dtype {xs.dtype}, Categorical emits symbols: integers [..., T]")
        if (values := concrete(xs)) is not None:
            check_symbols(self.log_probs.shape[-1], xs=values)
        return look_up(self.log_probs.T, jnp.asarray(xs))

    def fitted(self, xs: Array, probs: Array) -> "Categorical":
        """The expected share of each symbol in each state: xs [..., T], probs [..., T, K]."""
        seen = jax.nn.one_hot(xs, self.log_probs.shape[-1], dtype=probs.dtype)  # [..., T, V]
        counts = jnp.einsum("...k,...v->kv", probs, seen)  # [K, V]
        return Categorical(log_shares(counts, self.log_probs))

    def sample(self, key: Key, states: Array) -> Array:
        """A symbol for each of the states [..., T], int32 [..., T]."""
        return jax.random.categorical(key, self.log_probs[states]).astype(jnp.int32)


class Gaussian(NamedTuple):
    """A vector at each step, its entries independent: x ~ N(mean[k], diag(variance[k])).

    Args:
        mean: [K, D].
        variance: [K, D], positive.

    Example:
        >>> emission = Gaussian(jnp.array([[0.0], [5.0]]), jnp.ones((2, 1)))
        >>> emission.log_likelihoods(jnp.array([[0.0], [5.0]])).argmax(-1).tolist()
        [0, 1]
    """

    mean: Array
    variance: Array

    @classmethod
    def random(cls, key: Key, states: int, xs: Array) -> "Gaussian":
        """Means at steps drawn from the data xs [..., T, D], and the variance of the data."""
        check_positive(states=states)
        check_key("key", key)
        points = jnp.asarray(check_array("xs", xs, "floating", "...", "T", "D"))
        points = points.reshape(-1, points.shape[-1])  # [N, D], of all sequences
        mean = points[jax.random.choice(key, len(points), (states,), replace=len(points) < states)]  # [K, D]
        return cls(mean, jnp.broadcast_to(jnp.maximum(points.var(0), LEAST_VARIANCE), mean.shape))

    def log_likelihoods(self, xs: Array) -> Array:
        """[..., T, D] to [..., T, K]."""
        xs = jnp.asarray(as_array("xs", xs))
        if xs.ndim < 2 or xs.shape[-1] != self.mean.shape[-1]:
            raise InputError(f"xs has shape {xs.shape}, the Gaussian emission has [..., T, {self.mean.shape[-1]}]")
        apart = _squares(xs, self.mean)  # [..., T, K, D]
        variance = jnp.expand_dims(self.variance, range(xs.ndim - 1))  # [..1, K, D]
        return -0.5 * (apart / variance + jnp.log(2 * jnp.pi * variance)).sum(-1)

    def fitted(self, xs: Array, probs: Array) -> "Gaussian":
        """The weighted mean and variance of each state: xs [..., T, D], probs [..., T, K]."""
        xs = jnp.where(probs.sum(-1, keepdims=True) > 0, xs, 0)  # padding may hold anything
        weight = probs.reshape(-1, probs.shape[-1]).sum(0)[:, None]  # [K, 1]
        shares = jnp.where(weight > 0, weight, 1)  # [K, 1]
        mean = jnp.einsum("...k,...d->kd", probs, xs) / shares  # [K, D]
        apart = _squares(xs, mean)  # [..., T, K, D]
        variance = jnp.maximum(jnp.einsum("...k,...kd->kd", probs, apart) / shares, LEAST_VARIANCE)  # [K, D]
        return Gaussian(jnp.where(weight > 0, mean, self.mean), jnp.where(weight > 0, variance, self.variance))

    def sample(self, key: Key, states: Array) -> Array:
        """A vector for each of the states [..., T], [..., T, D]."""
        mean, deviation = self.mean[states], jnp.sqrt(self.variance)[states]  # [..., T, D]
        return mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)


def _squares(xs: Array, mean: Array) -> Array:
    """(x_d - mean_kd)^2, [..., D] and [K, D] to [..., K, D]."""
    return (xs[..., None, :] - jnp.expand_dims(mean, range(xs.ndim - 1))) ** 2


def log_shares(counts: Array, otherwise: Array) -> Array:
    """log of counts [..., K] as shares of their sum along the last axis; `otherwise`, [..., K], where all counts are 0."""
    total = counts.sum(-1, keepdims=True)  # [..., 1]
    return jnp.where(total > 0, jnp.log(counts) - jnp.log(jnp.where(total > 0, total, 1)), otherwise)
