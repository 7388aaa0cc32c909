"""Text files in UTF-8, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

from seqjax.errors import InputError


def read_text(path: str | Path) -> str:
    r"""The text of a UTF-8 file; a file named *.gz is unpacked.

    Args:
        path: the file; it may be a pipe or a device.

    Returns:
        The text unchanged, including line ends and a byte order mark.

    Raises:
        InputError: the path is missing or a folder, or the file is damaged or not UTF-8 (with line and byte offset).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.txt.gz")
        ...     _ = path.write_bytes(gzip.compress("Gr\u00fc\u00dfe".encode()))
        ...     read_text(path)
        'Grüße'
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a UTF-8 text file")
    if not path.exists():
        raise InputError(f"{path} does not exist: give a UTF-8 text file")
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be unpacked: {error}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = f"byte offset {error.start}, line {line}"
        raise InputError(f"{path} is not UTF-8 text: 0x{content[error.start]:02x} at {place} ({error.reason})") from None
