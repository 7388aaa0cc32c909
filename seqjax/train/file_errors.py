"""Errors of reading and writing checkpoints, reported in one line each, and nothing else on the screen."""

import contextlib
import errno
import functools
import logging
import pathlib
import re
import sys
import time
import traceback
from collections.abc import Iterator

from seqjax.errors import InputError
from seqjax.writing import writable


class DamagedError(InputError):
    """A checkpoint that differs from what was written."""


@contextlib.contextmanager
def reads(where) -> Iterator[None]:
    """Report any error in one line: a file is damaged, or it cannot be read now and may be intact."""
    _hush()
    try:
        yield
    except Exception as error:
        time.sleep(0.2)  # the pending reads end meanwhile
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"
        if _is_passing(error):
            raise InputError(f"checkpoint {where} cannot be read now: {reason}: it may be whole, try again") from error
        raise DamagedError(f"checkpoint {where} is damaged and cannot be read: {reason}") from error


def _is_passing(error: BaseException | None) -> bool:
    """True for an error that says nothing about a file: missing rights, too little memory, too many open files, a lost server."""
    if error is None:
        return False
    numbers = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT)
    passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in numbers)
    words = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Permission denied", "Too many open")
    return passing or any(word in str(error) for word in words) or _is_passing(error.__cause__)


@contextlib.contextmanager
def writes(where) -> Iterator[None]:
    """Report any error of a write in one line."""
    _hush()
    with writable(where, Exception):
        yield


@functools.cache
def _hush():
    """Leave the reporting of errors to `reads` and `writes`: libraries print tracebacks by themselves.

    Where one of many reads or writes fails, Orbax raises its error and abandons the others. These fail later: asyncio logs errors
    that nobody has retrieved, and threads find the event loop closed. Orbax also logs every error, and warns of damage in files
    of its own, which does not concern the weights.
    """
    hook = sys.unraisablehook

    def quiet(unraisable):
        if not _is_left_over(unraisable.exc_value):
            hook(unraisable)

    sys.unraisablehook = quiet
    logging.getLogger("absl").addFilter(lambda record: not (record.levelno >= logging.WARNING and "orbax" in record.pathname))
    for name in ("asyncio", "concurrent.futures"):
        logging.getLogger(name).addFilter(lambda record: not (record.exc_info and _is_left_over(record.exc_info[1])))


def _is_left_over(error: BaseException | None) -> bool:
    """True for an error of a read or write of Orbax's beside one that was raised: no other code stands in its traceback."""
    if error is None:
        return False
    places = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = all({"asyncio", "concurrent", "orbax"} & {*pathlib.PurePath(place).parts} for place in places)
    closed = "Event loop is closed" in str(error)
    of_tensorstore = re.match("[A-Z_]+: ", str(error)) is not None  # its errors begin with a status, such as "DATA_LOSS: "
    return known and (closed or of_tensorstore or any("orbax" in place for place in places))
