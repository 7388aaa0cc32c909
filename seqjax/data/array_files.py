"""Arrays of data files, refused in one line if a file is missing or is not what it should be."""

import hashlib
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.checks import as_path
from seqjax.errors import InputError

# The errors of Python, NumPy and SciPy for a file that is cut off, damaged, encrypted or packed by an unknown method
DAMAGES = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, LookupError, MemoryError),
    *(ValueError, TypeError, AttributeError, OverflowError, SyntaxError, tokenize.TokenError),
)


def file_in(folder, name: str, *, what: str) -> Path:
    """The path of a file of a data set.

    Args:
        folder: the data set's folder.
        name: the file's name in it.
        what: the data set's name, for the message.

    Returns:
        The path.

    Raises:
        InputError: the file is missing.

    Example:
        >>> file_in("/nowhere", "labels.txt", what="HAPT")
        Traceback (most recent call last):
        seqjax.errors.InputError: /nowhere/labels.txt is missing: give the folder of HAPT, with its labels.txt
    """
    path = as_path(folder) / name
    if not path.is_file():
        raise InputError(f"{path} is missing: give the folder of {what}, with its {name}")
    return path


def npz_arrays(path, required: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, without pickles.

    Args:
        path: the file.
        required: names of arrays that it must have.

    Returns:
        {name: array}.

    Raises:
        InputError: the file is missing or damaged, holds pickles, or lacks an array.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.npz")
        >>> np.savez(path, length=np.array([3]))
        >>> npz_arrays(path, ["length"])
        {'length': array([3])}
    """
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: give an .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except DAMAGES as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else str(error)
        raise InputError(f"{path} cannot be read: {reason}; give an .npz file of plain arrays") from None
    missing = [name for name in required if name not in arrays]
    if missing:
        raise InputError(
            f"{path} has no array {missing[0]!r}, it has {', '.join(arrays) or 'none'}: it needs {', '.join(required)}"
        )
    return arrays


def mat_variables(path, required: Sequence[str]) -> dict[str, Any]:
    """The variables of a MATLAB file, of version 7 or earlier.

    Args:
        path: the file.
        required: names of variables that it must have.

    Returns:
        {name: value}.

    Raises:
        InputError: the file is missing, cannot be read, or lacks a variable.
    """
    from scipy.io import loadmat  # jax depends on scipy
    from scipy.io.matlab import MatReadError

    path = as_path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: give a .mat file")
    try:
        variables = loadmat(path)
    except (*DAMAGES, MatReadError) as error:
        raise InputError(f"{path} cannot be read: {error}; give a .mat file of version 7 or earlier") from None
    missing = [name for name in required if name not in variables]
    if missing:
        names = ", ".join(name for name in variables if not name.startswith("__"))
        raise InputError(f"{path} has no variable {missing[0]!r}, it has {names or 'none'}")
    return variables


def parts_of(path, array: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
    """An array of all items' steps, one item after the other, cut into items.

    Args:
        path: the file, for the message.
        array: [sum of lengths, ...].
        length: T_n, int [N].

    Returns:
        N arrays [T_n, ...], views.

    Raises:
        InputError: the lengths do not add up to the array's, or one is negative.

    Example:
        >>> [part.tolist() for part in parts_of("a.npz", np.arange(3), np.array([1, 2]))]
        [[0], [1, 2]]
    """
    length = np.asarray(length, np.int64)
    if length.ndim != 1 or not len(length) or length.min() < 0 or length.sum() != len(array):
        raise InputError(f"{path} has {len(array)} steps, its lengths add up to {length.sum()}: they must be equal")
    return np.split(array, np.cumsum(length)[:-1])


def digest_of(paths: Iterable) -> str:
    """The SHA-256 of some files' contents, one after the other.

    Args:
        paths: the files.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
