"""Rows of different lengths, a quarter of T to T: each library's own mechanism, outputs and the last real state.

seqjax: lengths. Flax: seq_lengths and the carry. Keras: a mask, and return_state. PyTorch: packed sequences, padded again.
"""

from benchmarks.pictures import bars
from benchmarks.suites import Case, Selection, networks

TITLE = "rows of different lengths"
SHAPED = True
TABLES = ("ratio",)
PICTURE = bars

SHAPES = ((128, 32, 128, 128),)


def cases(selection: Selection) -> list[Case]:
    return networks(selection, SHAPES, lengths=True)
