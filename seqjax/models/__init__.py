"""Networks with a loss, built from cells. Importing this registers them all, so that `load_run` can read any run."""

from seqjax.models.language_model import LanguageModel

__all__ = ["LanguageModel"]
