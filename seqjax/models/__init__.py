"""Networks with a loss, built from cells. Importing this registers them and their parts, so that any run can be read."""

from seqjax import cells, compose, layers
from seqjax.models.language_model import LanguageModel

__all__ = ["LanguageModel", "cells", "compose", "layers"]
