"""Readers of published recordings of actions, from their files as they come; each module has `load(folder)`."""
