"""Classification of sentences, pen strokes and other sequences."""
