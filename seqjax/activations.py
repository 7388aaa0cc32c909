"""Activations by name: those of `jax.nn` and Flax Linen that work element by element, and "linear"."""

from collections.abc import Callable

import jax

OF_JAX = (
    "tanh", "relu", "sigmoid", "celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid",
    "relu6", "selu", "silu", "soft_sign", "softplus",
)  # fmt: skip
ACTIVATIONS: dict[str, Callable] = {name: getattr(jax.nn, name) for name in OF_JAX} | {"linear": lambda x: x}
