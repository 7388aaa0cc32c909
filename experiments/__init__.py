"""Experiments, each a folder with a README, a config and the verbs of its command line; they run from a clone."""

import os
import sys

for name in ("stdin", "stdout", "stderr"):
    if getattr(sys, name) is None:  # its descriptor is closed: no file that is opened later must get it
        setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115

from seqjax.errors import InputError  # noqa: E402
from seqjax.extras import from_extra  # noqa: E402

try:
    with from_extra("experiments"):
        import tyro  # noqa: F401  # every command line needs it
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from None
