"""Linear-Gaussian state space models: Kalman filter and RTS smoother, step by step or in parallel over time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve

from seqjax.checks import check_key, check_positive
from seqjax.errors import InputError
from seqjax.probabilistic.rows import check_method, check_shapes, over_rows, sequences
from seqjax.types import Array, Key


class LinearGaussian(NamedTuple):
    """A hidden vector that moves linearly, seen through a linear map, both with Gaussian noise.

        z_0 ~ N(initial_mean, initial_covariance),  z_t = A z_{t-1} + N(0, Q),  x_t = C z_t + N(0, R)

    Args:
        initial_mean: [N].
        initial_covariance: [N, N].
        transition: A, [N, N].
        transition_noise: Q, [N, N].
        emission: C, [M, N].
        emission_noise: R, [M, M], positive definite.

    Example:
        >>> LinearGaussian.random(jax.random.key(0), 2, 3).emission.shape
        (3, 2)
    """

    initial_mean: Array
    initial_covariance: Array
    transition: Array
    transition_noise: Array
    emission: Array
    emission_noise: Array

    @classmethod
    def random(cls, key: Key, states: int, features: int) -> "LinearGaussian":
        """A slowly turning system: A is 0.95 times a rotation, C is normal, all covariances are the identity."""
        check_positive(states=states, features=features)
        check_key("key", key)
        k_transition, k_emission = jax.random.split(key)
        rotation = jnp.linalg.qr(jax.random.normal(k_transition, (states, states)))[0]  # [N, N]
        emission = jax.random.normal(k_emission, (features, states))  # [M, N]
        eye = jnp.eye(states)  # [N, N]
        return cls(jnp.zeros(states), eye, 0.95 * rotation, eye, emission, jnp.eye(features))


class FilteredVectors(NamedTuple):
    """z_t given the observations so far: mean [..., T, N], covariance [..., T, N, N]; and log p(x), [...]."""

    mean: Array
    covariance: Array
    log_likelihood: Array


class SmoothedVectors(NamedTuple):
    """z_t given all observations.

    Args:
        mean: [..., T, N]; padding has that of the last real step.
        covariance: [..., T, N, N].
        lagged: the covariance of z_{t+1} and z_t, [..., T - 1, N, N]; 0 beside padding.
        log_likelihood: log p(x), [...].
    """

    mean: Array
    covariance: Array
    lagged: Array
    log_likelihood: Array


def kalman_filter(model: LinearGaussian, xs: Array, lengths=None, *, method: str = "sequential") -> FilteredVectors:
    """The distribution of the hidden vector at each step, given the observations up to that step.

        predict:  m' = A m,  P' = A P A^T + Q
        update:   K = P' C^T (C P' C^T + R)^-1,  m = m' + K (x - C m'),  P = (I - K C) P' (I - K C)^T + K R K^T

    Args:
        model: the system.
        xs: observations, floating, [..., T, M]; a step of NaN only is a missing observation.
        lengths: integer, [...]; None: T. After a row's end its last distribution is repeated.
        method: "sequential", one step after another; or "associative", log T rounds over all steps.

    Returns:
        FilteredVectors.

    Raises:
        InputError: shapes that do not fit, a wrong length, or another method.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> seen = kalman_filter(LinearGaussian(jnp.zeros(1), one, one, 0 * one, one, one), jnp.ones((3, 1)))
        >>> [f"{m:.2f}" for m in seen.mean[:, 0]]  # the mean of a constant from 1, 2 and 3 observations and the prior
        ['0.50', '0.67', '0.75']

    Kalman 1960; Särkkä and García-Fernández 2021, arXiv:1905.13002 (in parallel).
    """
    xs = checked_observations(model, xs, method)
    return FilteredVectors(*over_rows(_FILTERS[method], xs, lengths, model))


def rts_smoother(model: LinearGaussian, xs: Array, lengths=None, *, method: str = "sequential") -> SmoothedVectors:
    """The distribution of the hidden vector at each step, given all observations.

        G_t = P_t A^T (A P_t A^T + Q)^-1
        m^s_t = m_t + G_t (m^s_{t+1} - A m_t),   P^s_t = P_t + G_t (P^s_{t+1} - A P_t A^T - Q) G_t^T

    Args:
        model: the system.
        xs: observations, floating, [..., T, M]; a step of NaN alone is a missing observation.
        lengths: integer, [...]; None: T.
        method: "sequential" or "associative", as in `kalman_filter`.

    Returns:
        SmoothedVectors.

    Raises:
        InputError: as `kalman_filter`.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> seen = rts_smoother(LinearGaussian(jnp.zeros(1), one, one, 0 * one, one, one), jnp.ones((3, 1)))
        >>> [f"{m:.2f}" for m in seen.mean[:, 0]]  # a constant is known as well at the first step as at the last
        ['0.75', '0.75', '0.75']

    Rauch, Tung, Striebel 1965.
    """
    xs = checked_observations(model, xs, method)
    return SmoothedVectors(*over_rows(SMOOTHERS[method], xs, lengths, model))


def linear_gaussian_sample(model: LinearGaussian, key: Key, steps: int) -> tuple[Array, Array]:
    """Hidden vectors and observations drawn from the system.

    Args:
        model: the system.
        key: a typed key; `jax.vmap` over keys gives several sequences.
        steps: T.

    Returns:
        (zs [T, N], xs [T, M]).

    Raises:
        InputError: steps that are not a positive integer, or no key.

    Example:
        >>> zs, xs = linear_gaussian_sample(LinearGaussian.random(jax.random.key(0), 2, 3), jax.random.key(1), 5)
        >>> zs.shape, xs.shape
        ((5, 2), (5, 3))
    """
    check_positive(steps=steps)
    check_key("key", key)
    k_first, k_moves, k_seen = jax.random.split(key, 3)
    draw = jax.random.multivariate_normal
    first = draw(k_first, model.initial_mean, model.initial_covariance, method="svd")  # [N]
    moves = draw(k_moves, jnp.zeros_like(first), model.transition_noise, (steps - 1,), method="svd")  # [T - 1, N]

    def step(z, move):
        z = model.transition @ z + move
        return z, z

    zs = jnp.concatenate([first[None], jax.lax.scan(step, first, moves)[1]])  # [T, N]
    noise = draw(k_seen, jnp.zeros(len(model.emission)), model.emission_noise, (steps,), method="svd")  # [T, M]
    return zs, zs @ model.emission.T + noise


def checked_observations(model: LinearGaussian, xs, method: str) -> Array:
    """The observations, floating [..., T, M]."""
    check_method(method)
    if jnp.ndim(model.emission) != 2:
        raise InputError(f"LinearGaussian has emission of shape {jnp.shape(model.emission)}, it must be (M, N)")
    m, n = model.emission.shape
    square, seen = dict.fromkeys(("initial_covariance", "transition", "transition_noise"), (n, n)), {"emission_noise": (m, m)}
    check_shapes("LinearGaussian", model._asdict(), {"initial_mean": (n,)} | square | seen)
    return sequences("xs", xs, m, "observed features")


def _inverse(covariance: Array, a: Array) -> Array:
    """covariance^-1 a, [n, n] and [n, m] to [n, m]."""
    return cho_solve(cho_factor(covariance, lower=True), a)


def symmetric(a: Array) -> Array:
    """(a + a^T) / 2, [..., n, n]: rounding leaves a covariance a little asymmetric."""
    return (a + jnp.swapaxes(a, -1, -2)) / 2


def _seen(xs: Array, mask: Array) -> tuple[Array, Array]:
    """(xs [T, M] with 0 where nothing was observed, bool [T], True where something was)."""
    seen = mask & ~jnp.isnan(xs).all(-1)  # [T]
    return jnp.where(seen[:, None], xs, 0), seen


def _predicted(model: LinearGaussian, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Mean [N] and covariance [N, N] of the next step."""
    return model.transition @ mean, symmetric(model.transition @ covariance @ model.transition.T) + model.transition_noise


def _updated(model: LinearGaussian, mean: Array, covariance: Array, x: Array) -> tuple[Array, Array]:
    """Mean [N] and covariance [N, N] given x [M], with the covariance in Joseph's form, which stays positive definite."""
    c, noise = model.emission, model.emission_noise
    gain = _inverse(symmetric(c @ covariance @ c.T) + noise, c @ covariance).T  # [N, M]
    kept = jnp.eye(len(mean), dtype=mean.dtype) - gain @ c  # [N, N]
    return mean + gain @ (x - c @ mean), symmetric(kept @ covariance @ kept.T + gain @ noise @ gain.T)


def _filter_in_steps(xs, mask, model):
    """Means [T, N], covariances [T, N, N] and log p(x), [], of xs [T, M] where mask [T] is True."""
    xs, seen = _seen(xs, mask)  # [T, M], [T]

    def step(state, now):
        x, real, observed, first = now  # [M], [], [], []
        mean, covariance = jax.tree.map(lambda start, later: jnp.where(first, start, later), state, _predicted(model, *state))
        updated = _updated(model, mean, covariance, x)
        updated = jax.tree.map(lambda a, b: jnp.where(observed, a, b), updated, (mean, covariance))
        state = jax.tree.map(lambda a, b: jnp.where(real, a, b), updated, state)
        return state, state

    start = model.initial_mean.astype(xs.dtype), model.initial_covariance.astype(xs.dtype)  # [N], [N, N]
    first = jnp.arange(len(xs)) == 0  # [T]
    means, covariances = jax.lax.scan(step, start, (xs, mask, seen, first))[1]
    return means, covariances, _log_likelihood(model, means, covariances, xs, seen)


def _filter_in_parallel(xs, mask, model):
    """`_filter_in_steps` by prefixes of the elements (A, b, C, eta, J) of Särkkä and García-Fernández 2021, section III.

    Their shapes are [N, N], [N], [N, N], [N], [N, N].
    """
    xs, seen = _seen(xs, mask)  # [T, M], [T]
    n, a, c, q = len(model.initial_mean), model.transition, model.emission, model.transition_noise
    eye, zeros = jnp.eye(n, dtype=xs.dtype), jnp.zeros((n, n), xs.dtype)

    def element(x, real, observed):
        solved = _inverse(symmetric(c @ q @ c.T) + model.emission_noise, jnp.column_stack([c @ q, x, c @ a]))  # [M, N + 1 + N]
        gain, backward = solved[:, :n].T, (c @ a).T @ solved[:, n:]  # [N, M], [N, 1 + N]
        kept = eye - gain @ c  # [N, N]
        updated = kept @ a, gain @ x, symmetric(kept @ q), backward[:, 0], symmetric(backward[:, 1:])
        moved = a, jnp.zeros_like(gain @ x), q, jnp.zeros_like(backward[:, 0]), zeros
        stays = eye, moved[1], zeros, moved[3], zeros
        chosen = jax.tree.map(lambda u, m: jnp.where(observed, u, m), updated, moved)
        return jax.tree.map(lambda u, s: jnp.where(real, u, s), chosen, stays)

    start = model.initial_mean.astype(xs.dtype), model.initial_covariance.astype(xs.dtype)
    updated = jax.tree.map(lambda u, s: jnp.where(seen[0], u, s), _updated(model, *start, xs[0]), start)
    first = zeros, *updated, jnp.zeros(n, xs.dtype), zeros
    rest = jax.vmap(element)(xs[1:], mask[1:], seen[1:])
    elements = jax.tree.map(lambda one, others: jnp.concatenate([one[None], others]), first, rest)

    @jax.vmap
    def combine(left, right):
        (a1, b1, c1, e1, j1), (a2, b2, c2, e2, j2) = left, right
        forward = jnp.linalg.solve((eye + c1 @ j2).T, a2.T).T  # a2 (I + C1 J2)^-1, [N, N]
        backward = jnp.linalg.solve((eye + j2 @ c1).T, a1).T  # a1^T (I + J2 C1)^-1, [N, N]
        b = forward @ (b1 + c1 @ e2) + b2  # [N]
        eta = backward @ (e2 - j2 @ b1) + e1  # [N]
        return forward @ a1, b, symmetric(forward @ c1 @ a2.T) + c2, eta, symmetric(backward @ j2 @ a1) + j1

    _, means, covariances, _, _ = jax.lax.associative_scan(combine, elements)
    return means, covariances, _log_likelihood(model, means, covariances, xs, seen)


def _log_likelihood(model, means, covariances, xs, seen):
    """The sum over t of log N(x_t; C m'_t, C P'_t C^T + R), of all steps at once from the filtered moments.

    Args:
        model: the system.
        means, covariances: filtered, [T, N] and [T, N, N].
        xs: [T, M].
        seen: bool, [T].
    """
    moved = jax.vmap(lambda m, p: _predicted(model, m, p))(means[:-1], covariances[:-1])  # [T - 1, N], [T - 1, N, N]
    start = model.initial_mean.astype(xs.dtype), model.initial_covariance.astype(xs.dtype)  # [N], [N, N]
    # [T, N], [T, N, N]
    predicted, spread = jax.tree.map(lambda one, others: jnp.concatenate([one[None], others]), start, moved)

    def score(mean, covariance, x):
        c = model.emission
        factor = jnp.linalg.cholesky(symmetric(c @ covariance @ c.T) + model.emission_noise)  # [M, M]
        apart = jax.scipy.linalg.solve_triangular(factor, x - c @ mean, lower=True)  # [M]
        return -0.5 * (apart @ apart + len(x) * jnp.log(2 * jnp.pi)) - jnp.log(jnp.diagonal(factor)).sum()

    return jnp.where(seen, jax.vmap(score)(predicted, spread, xs), 0).sum()


def _smooth(model, filtered, mask, passes):
    """Smoothed moments from the filtered ones; `passes` runs z_t = G_t z_{t+1} + g_t, with noise L_t, back over the steps.

    Args:
        model: the system.
        filtered: means [T, N], covariances [T, N, N], log p(x) [].
        mask: bool, [T].
        passes: `_back_in_steps` or `_back_in_parallel`.

    Returns:
        The fields of `SmoothedVectors`, of one sequence.
    """
    means, covariances, total = filtered

    def gains(mean, covariance, real):
        predicted, spread = _predicted(model, mean, covariance)
        gain = jnp.where(real, _inverse(spread, model.transition @ covariance).T, 0)  # [N, N]
        return gain, mean - gain @ jnp.where(real, predicted, 0), symmetric(covariance - gain @ spread @ gain.T)

    gain, offset, spread = jax.vmap(gains)(means[:-1], covariances[:-1], mask[1:])  # [T - 1, N, N], [T - 1, N], [T - 1, N, N]
    smoothed, smoothed_covariances = passes(gain, offset, spread, means[-1], covariances[-1])
    lagged = smoothed_covariances[1:] @ jnp.swapaxes(gain, -1, -2)  # [T - 1, N, N]
    return smoothed, smoothed_covariances, lagged, total


def _back_in_steps(gain, offset, spread, mean, covariance):
    """Smoothed means [T, N] and covariances [T, N, N].

    Args:
        gain, offset, spread: G, g and L of every step but the last, [T - 1, N, N], [T - 1, N] and [T - 1, N, N].
        mean, covariance: of the last step, [N] and [N, N].
    """

    def step(later, now):
        (mean, covariance), (gain, offset, spread) = later, now
        state = gain @ mean + offset, symmetric(gain @ covariance @ gain.T) + spread
        return state, state

    earlier = jax.lax.scan(step, (mean, covariance), (gain, offset, spread), reverse=True)[1]
    return tuple(jnp.concatenate([a, last[None]]) for a, last in zip(earlier, (mean, covariance), strict=True))


def _back_in_parallel(gain, offset, spread, mean, covariance):
    """`_back_in_steps` in log T rounds over all steps."""

    @jax.vmap
    def combine(later, earlier):
        (g2, o2, s2), (g1, o1, s1) = later, earlier
        return g1 @ g2, g1 @ o2 + o1, symmetric(g1 @ s2 @ g1.T) + s1

    last = jnp.zeros_like(covariance), mean, covariance
    elements = [jnp.concatenate([a, end[None]]) for a, end in zip((gain, offset, spread), last, strict=True)]
    return jax.lax.associative_scan(combine, tuple(elements), reverse=True)[1:]


def _smooth_in_steps(xs, mask, model):
    return _smooth(model, _filter_in_steps(xs, mask, model), mask, _back_in_steps)


def _smooth_in_parallel(xs, mask, model):
    return _smooth(model, _filter_in_parallel(xs, mask, model), mask, _back_in_parallel)


_FILTERS = {"sequential": _filter_in_steps, "associative": _filter_in_parallel}
SMOOTHERS = {"sequential": _smooth_in_steps, "associative": _smooth_in_parallel}
