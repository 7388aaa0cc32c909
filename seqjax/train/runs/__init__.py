"""Run folders: written, described, loaded."""
