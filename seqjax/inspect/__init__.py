"""Looking into a trained network."""

from seqjax.inspect.accuracies import accuracy_curves, confusion
from seqjax.inspect.activities import timeline
from seqjax.inspect.attention import heat_map, image_maps

__all__ = ["accuracy_curves", "confusion", "heat_map", "image_maps", "timeline"]
