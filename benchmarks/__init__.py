"""How fast recurrent networks run in JAX, library beside library: `python -m benchmarks --help`."""
