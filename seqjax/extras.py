"""Packages that an extra brings: imported where they are used, and named in one line where they are missing."""

import contextlib
from collections.abc import Iterator

from seqjax.errors import InputError


@contextlib.contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """A block of imports of packages that come with an extra of seqjax.

    Args:
        extra: its name in pyproject.toml: "text", "plots".

    Raises:
        InputError: one of the packages is not installed; names it and the extra.

    Example:
        >>> with from_extra("plots"):
        ...     from matplotlib.figure import Figure
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'seqjax[{extra}]'") from None
