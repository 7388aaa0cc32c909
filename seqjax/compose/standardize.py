"""Standardisation: constants that bring features to mean 0 and scale 1, saved with the model."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import as_number, check_sizes, shown
from seqjax.compose.stateless import Stateless
from seqjax.errors import InputError
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, output_dtype


@register
@dataclasses.dataclass(frozen=True)
class Standardize(Stateless):
    """Features less a mean, divided by a scale: y = (x - mean) / scale. No state and no parameters.

    Mean and scale are fields, so they are saved with a run, no optimizer changes them, and they also apply online.

    Args:
        mean: one number for each of the last axis' features, such as the mean over the training data.
        scale: one number for each, such as the standard deviation.
        input_shape: the shape of one step of one row; None: (D,), D the number of means.

    Raises:
        InputError: lists of unequal length or of numbers that are not finite, a scale that is not above 0, or a shape whose last
            axis has another size.

    Example:
        >>> Standardize((1.0, 2.0), (1.0, 4.0))({}, jnp.array([3.0, 2.0])).tolist()
        [2.0, 0.0]
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    input_shape: Shape | None = None  # type: ignore[assignment]

    def __post_init__(self):
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if not isinstance(values, tuple | list | np.ndarray | jax.Array) or any(as_number(value) is None for value in values):
                raise InputError(f"Standardize has a {name} of {shown(values)}, it must be a tuple of numbers")
            values = tuple(map(float, values))
            object.__setattr__(self, name, values)
            wrong = [value for value in values if not math.isfinite(value) or (name == "scale" and value <= 0)]
            if wrong:
                must = "finite" if name == "mean" else "finite and above 0 (take 1 for a feature that never changes)"
                raise InputError(f"Standardize has a {name} of {wrong[0]}, it must be {must}")
        if self.input_shape is None:
            object.__setattr__(self, "input_shape", (len(self.mean),))
        check_sizes(self, input_shape=self.input_shape)
        shape = self.input_shape
        if not shape or not len(self.mean) == len(self.scale) == shape[-1]:
            sizes = f"{len(self.mean)} means and {len(self.scale)} scales"
            raise InputError(f"Standardize has {sizes} for features of shape {shape}: give one for each of the last axis")

    def init(self, key: Key) -> Params:
        """An empty dict."""
        return {}

    def project(self, params: Params, xs: Array) -> Array:
        """(xs - mean) / scale, in the dtype of xs, float32 for bytes."""
        if jnp.issubdtype(xs.dtype, jnp.integer) and len(self.input_shape or ()) == 1:
            raise InputError("Standardize reads floating features, and integer tokens are none: embed them first")
        dtype = output_dtype(params, xs)
        mean, scale = (jnp.asarray(values, dtype) for values in (self.mean, self.scale))
        return (xs.astype(dtype) - jnp.broadcast_to(mean, xs.shape)) / jnp.broadcast_to(scale, xs.shape)
