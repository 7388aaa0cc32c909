"""Timings of recurrent networks in JAX, library beside library: `python -m benchmarks --help`."""
