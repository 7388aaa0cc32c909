"""Results on disk: a folder for each hardware class, in it a self-contained JSON file for each suite and dtype."""

import json
import os
import pathlib

from seqjax.errors import InputError

Results = dict  # {"suite", "dtype", "environment", "pace", "complete", "cases": [{"facts", "tokens", "peers", "missing"}]}


def name_of(results: Results) -> str:
    """The file's name without its suffix: the suite, and the dtype where that is not float32."""
    return results["suite"] + ("" if results["dtype"] == "float32" else f"-{results['dtype']}")


def write(folder: pathlib.Path, results: Results):
    """Write the results' JSON file atomically.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = folder / f"{name_of(results)}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".json.new")
        half.write_text(json.dumps(results, indent=1) + "\n")
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def read(folder: pathlib.Path) -> dict[str, Results]:
    """The results of a hardware class, by the names of their files.

    Raises:
        InputError: a file that holds no results.
    """
    by_name = {}
    for path in sorted(folder.glob("*.json")):
        try:
            results = json.loads(path.read_text())
            by_name[name_of(results)] = results
            _ = results["environment"]["versions"], [case["peers"] for case in results["cases"]]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} does not hold results of `python -m benchmarks`: {type(error).__name__} {error}") from None
    return by_name


def folders(out: pathlib.Path) -> list[pathlib.Path]:
    """The folders of hardware classes below a folder, or the folder itself if it is one.

    Raises:
        InputError: there are none.
    """
    if not out.is_dir():
        raise InputError(f"{out} is no folder: give one that `python -m benchmarks --out` wrote to")
    if any(out.glob("*.json")):
        return [out]
    classes = sorted(path for path in out.iterdir() if path.is_dir() and any(path.glob("*.json")))
    if not classes:
        raise InputError(f"{out} holds no results: `python -m benchmarks --out {out}` writes them")
    return classes
