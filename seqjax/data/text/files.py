"""Text files, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

from seqjax.errors import InputError


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    r"""The text of a file; a file named *.gz is unpacked.

    Args:
        path: the file; it may be a pipe or a device.
        encoding: the name of its encoding in Python, such as utf-8 or latin-1.

    Returns:
        The text unchanged, including line ends and a byte order mark.

    Raises:
        InputError: the path is missing or a folder, or the file is damaged or not in the encoding (with line and byte
            offset), or the encoding is unknown.

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
        raise InputError(f"{path} is a folder: give a {encoding.upper()} text file")
    if not path.exists():
        raise InputError(f"{path} does not exist: give a {encoding.upper()} text file")
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be unpacked: {error}") from None
    try:
        return content.decode(encoding)
    except LookupError:
        raise InputError(f"encoding {encoding!r} is not known to Python: give utf-8, latin-1 or the like") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = f"byte offset {error.start}, line {line}"
        raise InputError(
            f"{path} is not {encoding.upper()} text: 0x{content[error.start]:02x} at {place} ({error.reason})"
        ) from None
