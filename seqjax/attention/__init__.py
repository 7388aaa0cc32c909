"""Attention: scores of a query against a memory, and the cell that attends at every step."""

from seqjax.attention.attentive import Attended, Attentive
from seqjax.attention.hard import Hard
from seqjax.attention.local import Local, Location
from seqjax.attention.memory import Memory, Read
from seqjax.attention.multi_head import MultiHead
from seqjax.attention.past import PastAttention, PastState
from seqjax.attention.scores import Additive, Attention, Dot, General
from seqjax.attention.window import WindowAttention, WindowState

__all__ = [
    "Additive",
    "Attended",
    "Attention",
    "Attentive",
    "Dot",
    "General",
    "Hard",
    "Local",
    "Location",
    "Memory",
    "MultiHead",
    "PastAttention",
    "PastState",
    "Read",
    "WindowAttention",
    "WindowState",
]
