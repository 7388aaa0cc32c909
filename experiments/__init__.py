"""The experiments: each a folder with a README, a config and a `__main__` of verbs. They run from a clone."""

import sys

from seqjax.errors import InputError
from seqjax.extras import from_extra

try:
    with from_extra("experiments"):
        import tyro  # noqa: F401  # every command line is made by it
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from None
