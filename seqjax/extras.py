"""Packages that come with an extra: imported where they are used, and named by a one-line error if they are missing."""

import contextlib
from collections.abc import Iterator

from seqjax.errors import InputError


@contextlib.contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """A context for imports of packages that come with an extra of seqjax.

    Args:
        extra: the name in pyproject.toml, such as "text" or "plots".

    Raises:
        InputError: one of the packages is not installed; the message names it and the extra.

    Example:
        >>> with from_extra("plots"):
        ...     from matplotlib.figure import Figure
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'seqjax[{extra}]'") from None
