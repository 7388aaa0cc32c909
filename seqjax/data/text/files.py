"""Text files, plain, compressed (gz, bz2, xz) or in zip archives, read piece by piece; and the files of a folder."""

import bz2
import codecs
import contextlib
import gzip
import lzma
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from seqjax.checks import as_path
from seqjax.data.array_files import DAMAGES
from seqjax.errors import InputError

PIECE = 1 << 20  # bytes that are read at a time
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class TextFile:
    r"""A text in a file, which is read whenever it is needed.

    Args:
        path: the file; one named *.gz, *.bz2 or *.xz, in letters of either case, is unpacked.
        encoding: the name of its encoding in Python, such as utf-8 or latin-1.
        member: the name of a file in the zip archive at `path`; None: the file itself.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.txt.gz")
        ...     _ = path.write_bytes(gzip.compress("Gr\u00fc\u00dfe".encode()))
        ...     list(TextFile(path).pieces())
        ['Grüße']
    """

    path: Path
    encoding: str = "utf-8"
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def pieces(self) -> Iterator[str]:
        """The text, including line ends and a byte order mark, in pieces of at most a million characters.

        Raises:
            InputError: the file cannot be read, is damaged or not in the encoding (with line and byte offset), or the encoding
                is unknown.
        """
        decoder, offset, line = _decoder(self.encoding), 0, 1
        for content in self._contents():
            waiting = len(decoder.getstate()[0])  # bytes of a character that the piece before began
            try:
                text = decoder.decode(content, not content)
            except UnicodeDecodeError as error:
                lines = line + error.object.count(b"\n", 0, error.start)
                place = f"byte offset {offset - waiting + error.start}, line {lines}"
                problem = f"0x{error.object[error.start]:02x} at {place} ({error.reason})"
                raise InputError(f"{self} is not {self.encoding.upper()} text: {problem}") from None
            except UnicodeError as error:
                raise InputError(f"{self} is not {self.encoding.upper()} text: {error}") from None
            offset, line = offset + len(content), line + text.count("\n")
            if text:
                yield text

    def _contents(self) -> Iterator[bytes]:
        """The unpacked bytes in pieces, of which the last is empty."""
        try:
            with contextlib.ExitStack() as stack:
                if self.member is None:
                    file = stack.enter_context(_OPENERS.get(self.path.suffix.lower(), open)(self.path, "rb"))
                else:
                    file = stack.enter_context(stack.enter_context(zipfile.ZipFile(self.path)).open(self.member))
                while content := file.read(PIECE):
                    yield content
        except DAMAGES as error:
            reason = getattr(error, "strerror", None)
            raise InputError(f"{self} cannot be {f'read: {reason}' if reason else f'unpacked: {error}'}") from None
        yield b""


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file, unpacked as by `TextFile`; a zip archive must hold one file.

    Args:
        path: the file; it may be a pipe or a device.
        encoding: the name of its encoding in Python, such as utf-8 or latin-1.

    Returns:
        The text unchanged, including line ends and a byte order mark.

    Raises:
        InputError: the path is missing or a folder, the archive holds several files, or `TextFile` refuses the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_bytes(b"one line\\n")
        ...     read_text(Path(folder, "a.txt"))
        'one line\\n'
    """
    path = as_path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a {encoding.upper()} text file")
    if not path.exists():
        raise InputError(f"{path} does not exist: give a {encoding.upper()} text file")
    files = list(archived(path, encoding).values()) if is_archive(path) else [TextFile(path, encoding)]
    if len(files) != 1:
        raise InputError(f"{path} holds {len(files)} files: give an archive of one text file")
    return "".join(files[0].pieces())


def is_archive(path: Path) -> bool:
    """True for a file named *.zip."""
    return path.suffix.lower() == ".zip" and path.is_file()


def archived(path: Path, encoding: str = "utf-8") -> dict[str, TextFile]:
    """The files in a zip archive by name, without hidden ones.

    Raises:
        InputError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except DAMAGES as error:
        raise InputError(f"{path} cannot be unpacked: {error}") from None
    return {name: TextFile(path, encoding, name) for name in sorted(names) if not _is_hidden(name)}


def files_below(folder: Path, encoding: str = "utf-8") -> dict[str, TextFile]:
    """The files below a folder, without hidden ones, by their paths in it, in order; a zip archive counts as a folder.

    Linked files and folders are followed; a folder that is reached twice is read once, and one around `folder` not at all.

    Args:
        folder: the folder.
        encoding: of the files.

    Returns:
        {path: file}; broken links are among them, and cannot be read.

    Raises:
        InputError: a folder or an archive cannot be read.
    """
    files = {}
    for path in _paths_below(folder):
        name = path.relative_to(folder).as_posix()
        inside = {f"{name}/{member}": file for member, file in archived(path, encoding).items()} if is_archive(path) else None
        files |= {name: TextFile(path, encoding)} if inside is None else inside
    return {name: files[name] for name in sorted(files)}


def is_included(name: str, patterns: Sequence[str]) -> bool:
    """True if a file's name matches one of some patterns; a pattern with a slash must match its path.

    Example:
        >>> is_included("docs/a.md", ["*.txt", "*.md"]), is_included("docs/a.md", ["src/*"]), is_included("a.md", [])
        (True, False, True)
    """
    last = name.rpartition("/")[2]
    return not patterns or any(fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)


def _paths_below(root: Path) -> Iterator[Path]:
    """The files below a folder: first those in its own folders, then those in linked ones."""
    seen, waiting, ends = set(), [root], {root.resolve(), *root.resolve().parents}

    def refuse(error: OSError):
        raise InputError(f"{error.filename} cannot be read: {error.strerror}")

    while waiting:
        for place, folders, names in os.walk(waiting.pop(0), onerror=refuse):
            found = os.stat(place)
            if (found.st_dev, found.st_ino) in seen:
                folders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            linked = [path for name in folders if (path := Path(place, name)).is_symlink()]
            waiting += [path for path in linked if path.resolve() not in ends]
            paths = [Path(place, name) for name in names if not _is_hidden(name)]
            yield from (path for path in paths if path.is_file() or not path.exists())


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        "a".encode(encoding)  # refuses codecs that are no text encodings
        return codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError):
        raise InputError(f"encoding {encoding!r} is not known to Python: give utf-8, latin-1 or the like") from None
