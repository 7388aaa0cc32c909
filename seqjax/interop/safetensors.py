"""Files in the safetensors format, with the names of PyTorch's state dicts or any others."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqjax.annotations import public
from seqjax.checks import as_array, as_path, concrete, kind_of_dtype
from seqjax.errors import InputError
from seqjax.extras import from_extra
from seqjax.interop.layouts import Arrays
from seqjax.tree import form
from seqjax.writing import write_bytes


@public
def save(path, arrays: Mapping[str, Any]) -> None:
    """Save arrays by name; after a crash the file has its old or its new content.

    Args:
        path: the file, such as "lstm.safetensors".
        arrays: {name: array} of NumPy or JAX arrays, such as `seqjax.interop.torch.state_dict` makes; join several with |.

    Raises:
        InputError: a value that is not an array, a file that cannot be written, or safetensors is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.safetensors")
        >>> save(path, {"weight": np.ones((2, 3), np.float32)})
        >>> load(path)["weight"].shape
        (2, 3)

    https://huggingface.co/docs/safetensors
    """
    with from_extra("interop"):
        from safetensors import SafetensorError
        from safetensors.numpy import save as to_bytes
    path, values = as_path(path), {}
    for name, value in arrays.items():
        array = as_array(str(name), value)
        if (
            not isinstance(name, str)
            or name == "__metadata__"
            or kind_of_dtype(array.dtype) not in ("floating", "integer", "bool")
        ):
            raise InputError(f"arrays holds {name!r}: {form(value)}, it must hold numbers or flags by names")
        if (array := concrete(array)) is None:
            raise InputError(f"{name} is traced, or on other machines: its values are not known here")
        values[name] = np.ascontiguousarray(array).reshape(array.shape)  # the format takes an array's memory as it lies
    try:
        content = to_bytes(values)
    except SafetensorError as error:
        raise InputError(f"arrays cannot be saved in {path}: {error}") from None
    write_bytes(path, content)


@public
def load(path) -> Arrays:
    """The arrays of a safetensors file by their names.

    Args:
        path: the file.

    Returns:
        {name: NumPy array}, for `seqjax.interop.torch.from_torch`.

    Raises:
        InputError: a file that is missing, damaged or of another format; or safetensors is not installed.

    Example:
        >>> load("none.safetensors")
        Traceback (most recent call last):
        seqjax.errors.InputError: none.safetensors cannot be read: No such file or directory
    """
    with from_extra("interop"):
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    path = as_path(path)
    try:
        path.open("rb").close()  # Python's errors name their cause
        return load_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise InputError(f"{path} is damaged, or no safetensors file: {error}") from None
