"""Run folders: writing, describing and loading them."""
