"""Search and sampling over any decoder: `start` reads a batch, `step` reads a symbol."""

from seqjax.decode.hypothesis import Decoded
from seqjax.decode.sampling import greedy, sample, stream

__all__ = ["Decoded", "greedy", "sample", "stream"]
