"""Linear autoregressive models: the next vector from a fixed number of previous ones, through delay taps."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax import masks
from seqjax.annotations import public
from seqjax.checks import as_array, check_array, check_key, check_positive, check_weights, concrete
from seqjax.errors import InputError
from seqjax.probabilistic.rows import check_method, check_shapes, sequences
from seqjax.types import Array, Key


class AutoRegressive(NamedTuple):
    """A vector that depends linearly on the K vectors before it, with Gaussian noise.

        x[t] ~ N(sum_k W_k x[t-1-k] + b, Q),  k = 0 .. K-1

    Args:
        kernels: W, [K, D, D], applied to row vectors: x W_k.
        bias: b, [D].
        noise: Q, [D, D].

    Example:
        >>> fibonacci = AutoRegressive(jnp.ones((2, 1, 1)), jnp.zeros(1), jnp.zeros((1, 1)))
        >>> fibonacci.kernels.shape
        (2, 1, 1)
    """

    kernels: Array
    bias: Array
    noise: Array


@public
def fit_autoregressive(xs, lengths=None, *, taps: int, ridge: float = 0.0) -> AutoRegressive:
    """Fit an autoregressive model by least squares: the maximum-likelihood model given the first K steps.

        min over W, b of  sum_t |x[t] - sum_k W_k x[t-1-k] - b|^2 + ridge |W|^2

    Args:
        xs: floating, [..., T, D]; every sequence is longer than `taps`.
        lengths: integer, [...]; None: T.
        taps: K, the number of earlier steps that a step depends on.
        ridge: a penalty on the kernels, at least 0.

    Returns:
        The model; its noise is the mean square of the residuals.

    Raises:
        InputError: a sequence of at most K steps, a wrong shape or length, taps below 1, a negative ridge.

    Example:
        >>> numbers = jnp.array([1.0, 1, 2, 3, 5, 8, 13, 21])[:, None]
        >>> fit_autoregressive(numbers, taps=2).kernels.ravel().round(3).tolist()
        [1.0, 1.0]

    Yule 1927; Hamilton 1994, "Time Series Analysis", chapter 11.
    """
    xs, real = _windows(xs, lengths, taps)
    check_weights(ridge=ridge)
    return _fit(xs, real, ridge, taps)


@functools.partial(jax.jit, static_argnames="taps")
def _fit(xs, real, ridge, taps) -> AutoRegressive:
    size = xs.shape[-1]
    earlier, targets = _taps(xs, taps)  # [N, T - K, K D], [N, T - K, D]
    weights = real[:, taps:, None].astype(xs.dtype)  # [N, T - K, 1]: 0 at padding
    columns = jnp.concatenate([earlier, jnp.ones_like(weights)], axis=-1) * weights  # [N, T - K, K D + 1]
    rows, targets = columns.reshape(-1, taps * size + 1), (targets * weights).reshape(-1, size)
    penalty = jnp.sqrt(ridge) * jnp.eye(taps * size, taps * size + 1, dtype=xs.dtype)
    solution = jnp.linalg.lstsq(
        jnp.concatenate([rows, penalty]), jnp.concatenate([targets, jnp.zeros((taps * size, size), xs.dtype)])
    )[0]  # [K D + 1, D]
    residuals = targets - rows @ solution
    noise = residuals.T @ residuals / weights.sum()
    return AutoRegressive(solution[:-1].reshape(taps, size, size), solution[-1], noise)


class Predictions(NamedTuple):
    """The mean of each step given the K before it, [..., T, D], 0 for the first K and at padding; log p of the rest, [...]."""

    mean: Array
    log_likelihood: Array


@public
def autoregressive_predict(model: AutoRegressive, xs, lengths=None) -> Predictions:
    """One-step predictions, and the log-likelihood of all steps but the first K, which are given.

        mean[t] = sum_k W_k x[t-1-k] + b,    log p = sum over t >= K of log N(x[t]; mean[t], Q)

    Args:
        model: as returned by `fit_autoregressive`.
        xs: floating, [..., T, D]; every sequence is longer than K.
        lengths: integer, [...]; None: T.

    Returns:
        Predictions; without noise (Q singular) the log-likelihood is NaN.

    Raises:
        InputError: a sequence of at most K steps, shapes that do not fit, a wrong length.

    Example:
        >>> fibonacci = AutoRegressive(jnp.ones((2, 1, 1)), jnp.zeros(1), jnp.ones((1, 1)))
        >>> autoregressive_predict(fibonacci, jnp.array([1.0, 1, 2, 3])[:, None]).mean.ravel().tolist()
        [0.0, 0.0, 2.0, 3.0]
    """
    taps, size = _checked(model)
    leading = jnp.shape(xs)[:-2]
    xs, real = _windows(xs, lengths, taps, size)
    mean, total = _predict(model, xs, real)
    return Predictions(mean.reshape(*leading, *mean.shape[1:]), total.reshape(leading))


@jax.jit
def _predict(model, xs, real):
    taps = model.kernels.shape[0]
    earlier, targets = _taps(xs, taps)
    flat = model.kernels.reshape(-1, xs.shape[-1])  # [K D, D]
    later = real[:, taps:]  # [N, T - K]
    mean = jnp.where(later[..., None], earlier @ flat + jnp.broadcast_to(model.bias, targets.shape), 0)  # [N, T - K, D]
    factor = jnp.linalg.cholesky(model.noise)
    errors = jnp.where(later[..., None], targets - mean, 0)
    whitened = jax.scipy.linalg.solve_triangular(factor, errors.reshape(-1, errors.shape[-1]).T, lower=True)  # [D, N (T - K)]
    squares = jnp.sum(whitened**2, axis=0).reshape(later.shape)
    constant = jnp.sum(jnp.log(jnp.diag(factor))) + 0.5 * xs.shape[-1] * jnp.log(2 * jnp.pi)
    total = jnp.sum(jnp.where(later, -0.5 * squares - constant, 0), axis=-1)
    return jnp.pad(mean, [(0, 0), (taps, 0), (0, 0)]), total


@public
def autoregressive_sample(
    model: AutoRegressive, start, steps: int, key: Key | None = None, *, method: str = "sequential"
) -> Array:
    """The continuation of a sequence, fed with its own outputs: the means, or a draw if a key is given.

    Args:
        model: as returned by `fit_autoregressive`.
        start: the last K steps or more, floating, [..., S, D].
        steps: the number of steps to generate.
        key: draws the noise; None: no noise.
        method: "sequential", one step after another; or "associative", log T rounds of products of K D x K D matrices.

    Returns:
        The steps that follow, [..., steps, D].

    Raises:
        InputError: a start of fewer than K steps, shapes that do not fit, a wrong number of steps, or another method.

    Example:
        >>> fibonacci = AutoRegressive(jnp.ones((2, 1, 1)), jnp.zeros(1), jnp.zeros((1, 1)))
        >>> autoregressive_sample(fibonacci, jnp.array([[1.0], [1.0]]), 6).ravel().tolist()
        [2.0, 3.0, 5.0, 8.0, 13.0, 21.0]
    """
    taps, size = _checked(model)
    check_positive(steps=steps)
    check_method(method)
    if key is not None:
        check_key("key", key)
    start = sequences("start", start, size, "features, as the model")
    if start.shape[-2] < taps:
        raise InputError(f"start has {start.shape[-2]} steps, a model of {taps} delay taps needs at least {taps}")
    return _sample(model, start[..., -taps:, :], key, steps, method)


@functools.partial(jax.jit, static_argnames=("steps", "method"))
def _sample(model, start, key, steps, method):
    taps, size, _ = model.kernels.shape
    leading = start.shape[:-2]
    shocks = jnp.broadcast_to(model.bias.astype(start.dtype), (steps, *leading, size))  # [steps, ..., D]
    if key is not None:
        variances, axes = jnp.linalg.eigh(model.noise.astype(start.dtype))  # Q may be singular
        factor = axes * jnp.broadcast_to(jnp.sqrt(jnp.maximum(variances, 0)), axes.shape)  # [D, D]
        shocks = shocks + jax.random.normal(key, shocks.shape, start.dtype) @ factor.T
    latest = jnp.flip(start, axis=-2).reshape(*leading, taps * size)  # [..., K D], the latest step first
    # [K D, K D]: latest @ companion puts the next step first and drops the oldest
    shift = jnp.eye(taps * size, (taps - 1) * size, dtype=start.dtype)
    companion = jnp.concatenate([model.kernels.reshape(-1, size).astype(start.dtype), shift], axis=1)
    inputs = jnp.pad(shocks, [(0, 0)] * (shocks.ndim - 1) + [(0, (taps - 1) * size)])  # [steps, ..., K D]
    if method == "sequential":

        def body(latest, shock):
            latest = latest @ companion + shock
            return latest, latest[..., :size]

        steps_first = jax.lax.scan(body, latest, inputs)[1]
    else:

        def combine(before, after):
            return before[0] @ after[0], (before[1][..., None, :] @ _over(after[0], before[1]))[..., 0, :] + after[1]

        matrices = jnp.broadcast_to(companion, (steps, *companion.shape))  # [steps, K D, K D]
        products, sums = jax.lax.associative_scan(combine, (matrices, inputs))
        steps_first = ((latest[..., None, :] @ _over(products, inputs))[..., 0, :] + sums)[..., :size]
    return jnp.moveaxis(steps_first, 0, -2)


def _over(matrices: Array, vectors: Array) -> Array:
    """Matrices [T, N, N] with axes of length 1 for the axes of vectors [T, ..., N] between the first and the last."""
    return jnp.expand_dims(matrices, tuple(range(1, vectors.ndim - 1)))


def _taps(xs: Array, taps: int) -> tuple[Array, Array]:
    """(The K steps before each step but the first K, the latest first, [N, T - K, K D]; those steps, [N, T - K, D])."""
    steps = xs.shape[1]
    earlier = [xs[:, taps - 1 - k : steps - 1 - k] for k in range(taps)]  # [N, T - K, D] each
    return jnp.concatenate(earlier, axis=-1), xs[:, taps:]


def _windows(xs, lengths, taps: int, size: int | None = None) -> tuple[Array, Array]:
    """Checked (xs as [N, T, D], 0 at padding; the real steps, bool [N, T])."""
    check_positive(taps=taps)
    xs = as_array("xs", xs)
    xs = sequences("xs", xs, (xs.shape[-1] if xs.ndim else 0) if size is None else size, "features, as the model")
    steps = xs.shape[-2]
    lengths, _ = masks.check(lengths, None, xs.shape[:-1])
    known = None if lengths is None else concrete(lengths)
    shortest = steps if known is None or not known.size else int(known.min())
    if shortest <= taps:
        raise InputError(f"a sequence has {shortest} steps, {taps} delay taps need at least {taps + 1}")
    real = masks.resolve(lengths, None, xs.shape[:-1])
    real = jnp.ones(xs.shape[:-1], bool) if real is None else real
    xs = jnp.where(real[..., None], xs, 0)
    return xs.reshape(-1, *xs.shape[-2:]), real.reshape(-1, steps)


def _checked(model: AutoRegressive) -> tuple[int, int]:
    """(K, D) of a model; raises InputError unless its arrays fit each other."""
    check_array("kernels", model.kernels, "numeric", "K", "D", "D")
    taps, size = jnp.shape(model.kernels)[:2]
    shapes = {"kernels": (taps, size, size), "bias": (size,), "noise": (size, size)}
    check_shapes("the model", model._asdict(), shapes)
    return taps, size
