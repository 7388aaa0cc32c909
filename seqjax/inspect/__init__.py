"""Looking into a trained network."""

from seqjax.inspect.accuracies import accuracy_curves, confusion
from seqjax.inspect.activities import timeline
from seqjax.inspect.attention import heat_map, image_maps
from seqjax.inspect.automaton import Automaton, draw_automaton, extract_automaton
from seqjax.inspect.continuation import draw_continuation
from seqjax.inspect.jacobians import GradientFlow, flow_curves, gradient_flow

__all__ = [
    "Automaton",
    "GradientFlow",
    "accuracy_curves",
    "confusion",
    "draw_automaton",
    "draw_continuation",
    "extract_automaton",
    "flow_curves",
    "gradient_flow",
    "heat_map",
    "image_maps",
    "timeline",
]
