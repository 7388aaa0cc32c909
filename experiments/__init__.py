"""The experiments: each a folder with a README, a config and a `__main__` of verbs. They run from a clone."""
