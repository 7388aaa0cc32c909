"""Looking into a trained network."""

from seqjax.inspect.accuracies import accuracy_curves, confusion
from seqjax.inspect.activities import timeline
from seqjax.inspect.attention import heat_map, image_maps
from seqjax.inspect.jacobians import GradientFlow, flow_curves, gradient_flow

__all__ = [
    "GradientFlow",
    "accuracy_curves",
    "confusion",
    "flow_curves",
    "gradient_flow",
    "heat_map",
    "image_maps",
    "timeline",
]
