"""Writing, whole or not at all and by one process at a time, with errors of one line."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from seqjax.errors import InputError, warn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_CAUSES = ("No space left on device", "Disk quota exceeded", "Read-only file system", "Permission denied", "File too large")


class CannotWriteError(InputError):
    """A file or folder cannot be written: a full or read-only disk, a quota, missing rights."""


@contextlib.contextmanager
def writable(where, errors: type[Exception] = OSError) -> Iterator[None]:
    """A context in which an error of writing becomes one line with the place, the cause and the free space.

    Args:
        where: the file or folder.
        errors: the errors; libraries that write in threads raise errors of many types.

    Raises:
        CannotWriteError: an error was raised within.

    Example:
        >>> with writable("/dev/null/x"):
        ...     open("/dev/null/x", "w")
        Traceback (most recent call last):
        seqjax.writing.CannotWriteError: /dev/null/x cannot be written: Not a directory
    """
    try:
        yield
    except InputError:
        raise
    except errors as error:
        raise CannotWriteError(f"{where} cannot be written: {_cause(error)}{_free(where)}") from error


def write_bytes(path, content: bytes):
    """Writes a file atomically: after a crash it has its old or its new content.

    Args:
        path: an epath.Path or pathlib.Path.
        content: the new content.

    Raises:
        CannotWriteError: it cannot be written; the old content stays.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a")
        >>> write_bytes(path, b"new")
        >>> path.read_bytes()
        b'new'
    """
    part = path.with_name(path.name + ".part")
    with writable(path):
        try:
            part.write_bytes(content)
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Locks an open file for this process, until it is closed or the process ends.

    Args:
        descriptor: of the file.
        wait: wait for another process that holds the lock.

    Returns:
        True: it is locked; False: another process holds it; None: files cannot be locked here.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock(file.fileno())
        True
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def warned() -> Iterator[None]:
    """A context in which what cannot be written is a warning, for what is worth less than the work around it."""
    try:
        yield
    except (CannotWriteError, OSError) as error:
        warn(str(error), 3)


def _cause(error: Exception) -> str:
    """The system's words for an error, which other libraries put into long messages."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    lines = text.splitlines() or [type(error).__name__]
    return next((cause for cause in _CAUSES if cause.lower() in text.lower()), lines[0][:120])


def _free(where) -> str:
    """The free space on the disk of a path, for a message; "" where it has none to tell."""
    path = pathlib.Path(os.path.abspath(where))
    folder = next((each for each in (path, *path.parents) if each.is_dir()), None)
    with contextlib.suppress(OSError):
        if folder is not None and folder.parts[1:2] != ("dev",):
            return f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB are free there)"
    return ""
