"""From symbols to vectors and back: embedding, readout, teacher forcing."""

from seqjax.symbols.forced import TeacherForcing

__all__ = ["TeacherForcing"]
