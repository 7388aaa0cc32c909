"""Linear-Gaussian state space models fitted by expectation maximization."""

import jax
import jax.numpy as jnp

from seqjax.checks import check_positive
from seqjax.errors import InputError
from seqjax.probabilistic.kalman import SMOOTHERS, LinearGaussian, checked_observations, symmetric
from seqjax.probabilistic.rows import over_rows
from seqjax.types import Array


def fit_linear_gaussian(model: LinearGaussian, xs: Array, lengths=None, *, steps: int, method: str = "sequential"):
    """Maximum-likelihood parameters by expectation maximization; no step lowers the likelihood.

    Args:
        model: the initial system, for example `LinearGaussian.random`.
        xs: observations, none missing, floating, [..., T, M], T at least 2.
        lengths: integer, [...], at least 1; None: T.
        steps: the number of EM steps.
        method: "sequential" or "associative", as in `kalman_filter`.

    Returns:
        (model, log_likelihoods): the parameters after `steps` steps, and the log-likelihood of all sequences before each step,
        [steps].

    Raises:
        InputError: as `kalman_filter`; fewer than two steps; steps that are not a positive integer.

    Example:
        >>> xs = jnp.sin(jnp.arange(20.0))[:, None]
        >>> _, curve = fit_linear_gaussian(LinearGaussian.random(jax.random.key(0), 2, 1), xs, steps=20)
        >>> bool(curve[-1] > curve[0])
        True

    Shumway and Stoffer 1982; Ghahramani and Hinton 1996, "Parameter estimation for linear dynamical systems".
    """
    check_positive(steps=steps)
    xs = checked_observations(model, xs, method)
    if xs.shape[-2] < 2:
        raise InputError(f"xs has shape {xs.shape}, a system is fitted to sequences of at least two steps")

    def step(model, _):
        sums = over_rows(_SUMS[method], xs, lengths, model)
        *sums, total = (a.reshape(-1, *a.shape[xs.ndim - 2 :]).sum(0) for a in sums)
        return _likeliest(*sums), total

    return jax.lax.scan(step, model, None, length=steps)


def _moments(smooth):
    """The function of xs [T, M], mask [T] and the system that returns the sums of the M step, by one of the smoothers."""

    def sums(xs, mask, model):
        """Sums over the steps of one sequence that the M step needs, and its log-likelihood."""
        mean, covariance, lagged, total = smooth(xs, mask, model)  # [T, N], [T, N, N], [T - 1, N, N], []
        real, pairs = mask.astype(xs.dtype), mask[1:].astype(xs.dtype)  # [T], [T - 1]
        xs = jnp.where(mask[:, None], xs, 0)
        second = covariance + mean[:, :, None] * mean[:, None, :]  # E[z z^T], [T, N, N]
        cross = lagged + mean[1:, :, None] * mean[:-1, None, :]  # E[z_{t+1} z_t^T], [T - 1, N, N]
        started = real[0]
        return (
            started, started * mean[0], started * second[0],
            pairs.sum(), jnp.einsum("t,tij->ij", pairs, second[:-1]), jnp.einsum("t,tij->ij", pairs, second[1:]),
            jnp.einsum("t,tij->ij", pairs, cross),
            real.sum(), jnp.einsum("t,tij->ij", real, second), jnp.einsum("t,ti,tj->ij", real, xs, mean), xs.T @ xs,
            total,
        )  # fmt: skip

    return sums


def _likeliest(rows, first, first_second, moves, before, after, cross, steps, second, seen_by_hidden, seen):
    """The M step: each parameter where the expected log-likelihood is largest.

    Args:
        rows, moves, steps: the numbers of sequences, of steps from one to the next, and of steps, [].
        first, first_second: the sums of E[z] [N] and E[z z^T] [N, N] over first steps.
        before, after, cross: the sums of E[z_t z_t^T], E[z_{t+1} z_{t+1}^T] and E[z_{t+1} z_t^T] over moves, [N, N].
        second: the sum of E[z z^T] over all steps, [N, N].
        seen_by_hidden, seen: the sums of x E[z]^T [M, N] and x x^T [M, M].
    """
    transition = jnp.linalg.solve(before.T, cross.T).T  # [N, N]
    emission = jnp.linalg.solve(second.T, seen_by_hidden.T).T  # [M, N]
    mean = first / rows  # [N]
    least = jnp.finfo(mean.dtype).eps * jnp.eye(len(mean), dtype=mean.dtype)
    least_seen = jnp.finfo(mean.dtype).eps * jnp.eye(len(emission), dtype=mean.dtype)
    return LinearGaussian(
        mean,
        symmetric(first_second / rows - mean[:, None] * mean[None]) + least,
        transition,
        symmetric((after - transition @ cross.T) / moves) + least,
        emission,
        symmetric((seen - emission @ seen_by_hidden.T) / steps) + least_seen,
    )


_SUMS = {name: _moments(smooth) for name, smooth in SMOOTHERS.items()}
