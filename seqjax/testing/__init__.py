"""The laws that cells, layers and decoders obey, as functions: for the cells of this library and for yours."""

from seqjax.testing.cells import check_cell
from seqjax.testing.decoders import check_decoder

__all__ = ["check_cell", "check_decoder"]
