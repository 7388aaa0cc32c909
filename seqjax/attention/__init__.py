"""Attention: how a query is scored against a memory, and the cell that attends at every step."""

from seqjax.attention.attentive import Attended, Attentive
from seqjax.attention.local import Local, Location
from seqjax.attention.multi_head import MultiHead
from seqjax.attention.scores import Additive, Attention, Dot, General, Memory

__all__ = ["Additive", "Attended", "Attention", "Attentive", "Dot", "General", "Local", "Location", "Memory", "MultiHead"]
