"""Rows of texts: columns of tables, values of JSON lines, lines of aligned files."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqjax.data.text.files import read_text
from seqjax.errors import InputError

HEADERS = ("refuse", "skip", "keep")
_JSON = (".jsonl", ".ndjson")
_WORDS = (  # of which the titles of columns are made
    "source target src tgt trg input output question answer message reply prompt response query context text sentence sentences "
    "translation original reference label labels class classes category sentiment score id line lang language "
    "english german french spanish italian portuguese dutch russian chinese japanese korean arabic turkish polish czech greek "
    "en de fr es it pt nl ru zh ja ko ar tr pl cs el hi vi th sv da fi ro hu uk"
)
_TITLES = frozenset(_WORDS.split())


def read_rows(
    path: str | Path,
    roles: tuple[str, str] = ("source", "target"),
    *,
    columns: Sequence[str | int] | None = None,
    header: str = "refuse",
    blank: bool = False,
    encoding: str = "utf-8",
) -> list[tuple[str, str]]:
    r"""Reads two texts from every line of a file: columns with tabs between them, or values of JSON lines (*.jsonl, *.ndjson).

    Args:
        path: the file, plain or *.gz.
        roles: the names of the two texts; also their keys in JSON lines.
        columns: the two columns of a table, counted from 1 or named as in its first row; or the two keys of JSON lines. None: a
            table has these two columns; a JSON line has the keys `roles`, or two keys.
        header: for a first row that looks like titles of columns: "refuse" it, or "keep" it as texts; "skip" leaves out the
            first row of any table. A row that names `columns` is always left out.
        blank: split the lines of a table without a tab at their first blank.
        encoding: of the file, such as utf-8 or latin-1.

    Returns:
        A pair of texts for each line; ("", "") for a blank line.

    Raises:
        InputError: the file cannot be read, a line has other columns or keys (with its number), or the first row looks like
            titles.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "sentences.tsv")
        ...     _ = path.write_text("Go.\tGeh.\tCC-BY 2.0\nHi.\tHallo!\tCC-BY 2.0\n")
        ...     read_rows(path, columns=(1, 2))
        [('Go.', 'Geh.'), ('Hi.', 'Hallo!')]
    """
    if header not in HEADERS:
        raise InputError(f"header is {header!r}, it must be one of {', '.join(HEADERS)}")
    if columns is not None and (len(columns) != 2 or columns[0] == columns[1]):
        raise InputError(f"columns are {' '.join(map(str, columns))}: give two different ones")
    lines = read_lines(path, encoding)
    if Path(str(path).removesuffix(".gz")).suffix in _JSON:
        return _of_json(path, lines, roles, columns)
    tabs = not blank or any("\t" in line for line in lines)
    cells = [(line.split("\t") if tabs else line.strip().split(" ", 1)) if line.strip() else [] for line in lines]
    first = [cell.strip() for cell in cells[0]] if cells else []
    places = _places(path, first, columns)
    named = columns is not None and not all(_is_number(column) for column in columns)
    if header == "refuse" and not named and _are_titles([first[place] for place in places or (0, 1) if place < len(first)]):
        remedy = "--data.header skip to leave it out, or --data.header keep if it is text"
        raise InputError(f"{path} begins with a row that looks like titles of columns ({', '.join(first)}): give {remedy}")
    rows = []
    for n, row in enumerate(cells):
        if n == 0 and (named or header == "skip"):
            continue
        if row and (len(row) != 2 if places is None else len(row) <= max(places)):
            count = f"{len(row)} column{'s' * (len(row) > 1)}"
            if places is None:
                form = f"a line is a {roles[0]}, a {'tab' if tabs else 'blank'} and a {roles[1]}"
                more = "; choose two with --data.columns 1 2" if len(row) > 2 else ""
                raise InputError(f"{path} has {count} in line {n + 1:,}: {form}{more}")
            raise InputError(f"{path} has {count} in line {n + 1:,}, too few for columns {' '.join(map(str, columns or ()))}")
        chosen = [row[place] for place in places or (0, 1)] if row else ["", ""]
        rows.append((chosen[0], chosen[1]))
    return rows


def read_lines(path: str | Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a file, split at newlines only: a line may contain the other line separators of Unicode.

    Args:
        path: the file, plain or *.gz.
        encoding: of the file.

    Raises:
        InputError: `read_text` refuses the file.
    """
    lines = read_text(path, encoding).removeprefix("\ufeff").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_aligned(source: str | Path, target: str | Path) -> list[tuple[str, str]]:
    """Reads pairs from two files of which line n of one belongs to line n of the other.

    Args:
        source, target: the files, plain or *.gz.

    Raises:
        InputError: a file cannot be read, or the line counts differ (with both, and the line at which the lengths diverge).
    """
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        counts = f"{source} has {len(sources):,} lines and {target} has {len(targets):,}"
        diverge = f"the lengths of their lines diverge at line {_surplus_line(sources, targets):,}"
        raise InputError(f"{counts}: line n of one must translate line n of the other; {diverge}")
    return list(zip(sources, targets, strict=True))


def _surplus_line(sources: list[str], targets: list[str]) -> int:
    """The line (from 1) at which removing the longer list's surplus lines makes the lengths agree best.

        argmin over k of  sum over i < k of (a_i - b_i)^2 + sum over i >= k of (a_(i+d) - b_i)^2

    a and b are the logarithms of the lengths minus their means; d is the number of surplus lines.
    """
    logs = [np.log1p(np.array([len(line) for line in lines], float)) for lines in (sources, targets)]
    b, a = sorted((x - x.mean() if x.size else x for x in logs), key=len)
    before, after = (a[: len(b)] - b) ** 2, (a[len(a) - len(b) :] - b) ** 2
    cost = np.concatenate([[0.0], np.cumsum(before)]) + after.sum() - np.concatenate([[0.0], np.cumsum(after)])
    return int(np.argmin(cost)) + 1


def _is_number(column: str | int) -> bool:
    return isinstance(column, int) or column.isdecimal()


def _places(path: str | Path, titles: list[str], columns: Sequence[str | int] | None) -> list[int] | None:
    """The places of the chosen columns in a row, from 0; None: the row has two."""
    if columns is None:
        return None
    names = ", ".join(titles)
    unknown = [column for column in columns if not _is_number(column) and column not in titles]
    if unknown:
        raise InputError(f"{path} has no column {unknown[0]!r} in its first row ({names}): give one of those, or a number from 1")
    places = [int(column) - 1 if _is_number(column) else titles.index(str(column)) for column in columns]
    if min(places) < 0:
        raise InputError(f"columns are {' '.join(map(str, columns))}: they are counted from 1")
    return places


def _are_titles(cells: Sequence[str]) -> bool:
    """True if two cells consist of the words that titles of columns are made of, and differ."""
    words = [re.sub(r"[\W\d_]+", " ", cell.lower()).split() for cell in cells]
    return len(words) == 2 and words[0] != words[1] and all(each and _TITLES.issuperset(each) for each in words)


def _of_json(path: str | Path, lines: list[str], roles: tuple[str, str], columns: Sequence[str | int] | None):
    rows = []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            rows.append(("", ""))
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if isinstance(fields, dict) and len(fields) == 1 and isinstance(next(iter(fields.values())), dict):
            [fields] = fields.values()  # {"translation": {"en": ..., "de": ...}}
        if not isinstance(fields, dict):
            raise InputError(f'{path} has no JSON object in line {n:,}: a line is {{"{roles[0]}": "...", "{roles[1]}": "..."}}')
        keys = columns or (roles if set(roles) <= set(fields) else tuple(fields))
        missing = [str(key) for key in keys if not isinstance(fields.get(key), str | int | float)]
        if len(keys) != 2 or missing:
            problem = (
                f"no text {missing[0]!r} in line {n:,}" if missing else f"{len(keys)} key{'s' * (len(keys) != 1)} in line {n:,}"
            )
            raise InputError(f"{path} has {problem} ({', '.join(fields)}): choose two of its keys with --data.columns KEY KEY")
        texts = [re.sub(r"\s*[\r\n]+\s*", " ", str(fields[key])) for key in keys]
        rows.append((texts[0], texts[1]))
    return rows
