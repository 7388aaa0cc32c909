"""Probabilistic sequence models, as functions on arrays."""
