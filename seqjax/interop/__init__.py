"""Exchange of weights with PyTorch, Keras, Flax and safetensors files, and seqjax cells as Flax modules.

A module is imported when it is first used: `from seqjax.interop import torch`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqjax.interop import flax, keras, safetensors, torch

__all__ = ["flax", "keras", "safetensors", "torch"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'seqjax.interop' has no attribute {name!r}")
    return importlib.import_module(f"seqjax.interop.{name}")


def __dir__():
    return sorted(__all__)
