"""Search and sampling over any decoder: `start` reads a batch, `step` reads a symbol."""

from seqjax.decode.beam_search import beam
from seqjax.decode.constraints import Constraints
from seqjax.decode.hypothesis import Decoded
from seqjax.decode.sampling import greedy, sample, stream

__all__ = ["Constraints", "Decoded", "beam", "greedy", "sample", "stream"]
