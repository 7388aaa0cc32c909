"""The lock of a run folder: one process writes into it at a time."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from etils import epath

from seqjax.errors import InputError
from seqjax.writing import lock, writable

BEAT = 10.0  # seconds between two signs of life of the process that holds a lock


def is_owned(folder) -> bool:
    """True if a process owns a folder, as far as this machine can tell."""
    path = os.path.join(folder, "lock")
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        free, owner = lock(descriptor), _owner(descriptor)
        known = free is not None and (not owner or owner.get("host") == socket.gethostname())
        return not free if known else time.time() - os.fstat(descriptor).st_mtime < 3 * BEAT
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def owned(folder: epath.Path) -> Iterator[None]:
    """A context in which this process owns a folder, by the file `lock` in it.

    The kernel frees the lock of a process that has died. Where the file system has no locks, and where the lock names another
    machine, the owner is alive if it updates the time of the file within three beats; else its lock is taken over.

    Args:
        folder: a local folder; a remote one is not locked.

    Raises:
        InputError: another process owns the folder, or it cannot be written.
    """
    if "://" in os.fspath(folder):
        yield
        return
    path = os.path.join(folder, "lock")
    descriptor, ended = _claim(folder, path), threading.Event()

    def beat():
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def _claim(folder, path: str) -> int:
    """The descriptor of the lock file, held."""
    while True:
        with writable(folder):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free, owner = lock(descriptor), _owner(descriptor)
            if free and not _is_same(descriptor, path):  # the owner has just removed it
                os.close(descriptor)
                continue
            elsewhere = bool(owner) and owner.get("host") != socket.gethostname()
            if free is False or (owner and (free is None or elsewhere) and _lives(path)):
                raise InputError(f"{folder} is in use by {_name(owner)}: wait until it has ended, or stop it")
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            content = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now})
            with writable(folder):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, content.encode() + b"\n")
            return descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _is_same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> dict:
    """Host and process in a lock file; {} if it says nothing."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 1000))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _lives(path: str) -> bool:
    """True if the time of a file changes within three beats, by whatever clock."""
    before, end = os.stat(path).st_mtime_ns, time.monotonic() + 3 * BEAT
    while time.monotonic() < end:
        time.sleep(min(1.0, BEAT / 4))
        with contextlib.suppress(OSError):
            if os.stat(path).st_mtime_ns != before:
                return True
    return False


def _name(owner: dict) -> str:
    if not owner:
        return "another process"
    here = "this machine" if owner.get("host") == socket.gethostname() else owner.get("host")
    return f"process {owner.get('process')} on {here}, since {owner.get('since')}"
