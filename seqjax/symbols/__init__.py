"""Between symbols and vectors: embedding, readout, teacher forcing."""
