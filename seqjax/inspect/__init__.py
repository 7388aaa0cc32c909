"""Looking into a trained network."""

from seqjax.inspect.attention import heat_map

__all__ = ["heat_map"]
