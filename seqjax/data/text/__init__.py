"""Text: read, split, encoded, put into batches."""
