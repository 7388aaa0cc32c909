"""Between symbols and vectors: embedding, readout, teacher forcing."""

from seqjax.symbols.forced import TeacherForcing

__all__ = ["TeacherForcing"]
