"""Experiments, each a folder with a README, a config and the verbs of its command line; they run from a clone."""

import sys

from seqjax.errors import InputError
from seqjax.extras import from_extra

try:
    with from_extra("experiments"):
        import tyro  # noqa: F401  # every command line needs it
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from None
