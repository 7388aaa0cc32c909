"""Tables of the results, and their place in benchmarks/README.md."""

import math
import pathlib
import re
from collections.abc import Callable

from benchmarks import gallery, peers, results, suites
from benchmarks.environment import ROOT
from benchmarks.network import SIZES
from seqjax.drawing import save_png
from seqjax.errors import InputError

COMMITTED = ROOT / "benchmarks" / "results"
PAGE = ROOT / "benchmarks" / "README.md"
MARKERS = "<!-- tables: begin (python -m benchmarks report) -->", "<!-- tables: end -->"


def draw(folder: pathlib.Path) -> list[pathlib.Path]:
    """The pictures and the page of one hardware class.

    Args:
        folder: the folder with the JSON files.

    Returns:
        The paths of the files written there: a PNG for each suite, and README.md.
    """
    by_name = results.read(folder)
    written = []
    for name, suite in by_name.items():
        if suite["cases"]:
            figure = suites.load(suite["suite"]).PICTURE(suite, title_of(suite))
            written.append(folder / f"{name}.png")
            save_png(figure, written[-1], dpi=110)
    page = folder / "README.md"
    page.write_text(f"# {next(iter(by_name.values()))['environment']['hardware']}\n\n" + tables(by_name, folder, folder))
    return [*written, page]


def write(out: pathlib.Path) -> list[pathlib.Path]:
    """Pictures and tables of all results below a folder; those of the repository go into benchmarks/README.md too.

    Raises:
        InputError: there are no results.
    """
    written = [path for folder in results.folders(out) for path in draw(folder)]
    if out.resolve() == COMMITTED:
        PAGE.write_text(between_markers(PAGE.read_text(), sections(COMMITTED)))
        gallery.PAGE.write_text(gallery.page())
        written += [PAGE, gallery.PAGE]
    return written


def sections(out: pathlib.Path) -> str:
    """A section for each hardware class below `out`, for the page beside it."""
    text = []
    for folder in results.folders(out):
        by_name = results.read(folder)
        text.append(f"### {next(iter(by_name.values()))['environment']['hardware']}\n\n{tables(by_name, folder, out.parent)}")
    return "\n".join(text)


def between_markers(page: str, text: str) -> str:
    """The page with the text between its markers.

    Raises:
        InputError: a marker is missing.
    """
    begin, end = map(re.escape, MARKERS)
    if not re.search(f"{begin}.*{end}", page, re.DOTALL):
        raise InputError(f"{PAGE} has lost its markers: {MARKERS[0]} and {MARKERS[1]}")
    return re.sub(f"{begin}.*{end}", lambda _: f"{MARKERS[0]}\n\n{text}\n{MARKERS[1]}", page, flags=re.DOTALL)


def tables(by_name: dict[str, results.Results], folder: pathlib.Path, page: pathlib.Path) -> str:
    """All suites of a hardware class, as Markdown.

    Args:
        by_name: results by suite.
        folder: the folder of the pictures.
        page: the folder of the page that shows them.
    """
    parts = [conditions(by_name)]
    for name in sorted(by_name, key=lambda name: (suites.SUITES.index(by_name[name]["suite"]), name)):
        if not by_name[name]["cases"]:
            continue
        title = title_of(by_name[name])
        parts.append(f"#### {title[0].upper()}{title[1:]}\n")
        parts += [TABLES[kind](by_name[name]["cases"]) for kind in suites.load(by_name[name]["suite"]).TABLES]
        parts.append(f"![{title}]({(folder / name).relative_to(page).as_posix()}.png)\n")
    return "\n".join(parts)


def title_of(suite: results.Results) -> str:
    """A suite's title, with the dtype unless that is float32."""
    title = suites.load(suite["suite"]).TITLE
    return title + ("" if suite["dtype"] == "float32" else f", {suite['dtype']}")


def conditions(by_name: dict[str, results.Results]) -> str:
    """The hardware, date, dtype, pace and versions: one line for each set of conditions."""
    lines = {}
    for name, suite in by_name.items():
        about, pace = suite["environment"], suite["pace"]
        versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
        load = f"load before {about['load_average_before'][0]:.1f}; " if about["load_average_before"] else ""
        where = f"{about['device']}, {about['cores']} cores, {about['platform']}; {load}{about['date'][:10]}; {suite['dtype']}"
        text = f"{where}; {pace['rounds']} rounds of {pace['slice']} s; commit {about['commit']}; {versions}."
        lines.setdefault(text, []).append(name)
    return "\n".join(f"{', '.join(names)}: {text}\n" for text, names in lines.items())


def geometric_mean(figures) -> float:
    figures = list(figures)
    return math.exp(sum(map(math.log, figures)) / len(figures))


def rows_of(cases: list[dict]) -> dict[str, list[dict]]:
    """Cases grouped by their facts other than sizes."""
    rows: dict[str, list[dict]] = {}
    for case in cases:
        facts = [str(value) for name, value in case["facts"].items() if name not in SIZES]
        rows.setdefault(", ".join(facts) or "all", []).append(case)
    return rows


def columns_of(cases: list[dict]) -> list[str]:
    """Every competitor that is compared with another."""
    return list(dict.fromkeys(name for case in cases for name, record in case["peers"].items() if "ratio" in record))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ratio_table(cases: list[dict]) -> str:
    """Geometric mean over sizes of time / seqjax's time, and the smallest."""
    columns, rows = columns_of(cases), []
    is_single = all(len(row_cases) == 1 for row_cases in rows_of(cases).values())
    for row, row_cases in rows_of(cases).items():
        cells = [row if is_single else f"{row} ({len(row_cases)} sizes)"]
        for name in columns:
            ratios = [case["peers"][name]["ratio"]["median"] for case in row_cases if "ratio" in case["peers"].get(name, {})]
            mean = f"{geometric_mean(ratios):.2f}" if ratios else "-"
            cells.append(mean if is_single or not ratios else f"{mean} ({min(ratios):.2f})")
        rows.append(cells)
    head = "Time relative to seqjax's; above 1 seqjax is faster."
    if not is_single:
        head = "Time relative to seqjax's, geometric mean over sizes (smallest); above 1 seqjax is faster."
    return f"{head}\n\n{markdown(['', *map(peers.shown, columns)], rows)}"


def time_table(cases: list[dict]) -> str:
    """Milliseconds of every case."""
    return "Milliseconds.\n\n" + each(cases, lambda case, record: f"{record['seconds']['median'] * 1e3:,.1f}")


def each(cases: list[dict], text: Callable[[dict, dict], str]) -> str:
    """A row for every case, a column for every competitor."""
    columns = list(dict.fromkeys(name for case in cases for name in case["peers"]))
    rows = []
    for case in cases:
        facts = [f"{name}={v}" if name in SIZES else v for name, v in case["facts"].items() if name != "varied"]
        records = [case["peers"].get(name) for name in columns]
        rows.append([" ".join(facts), *(cell_of(case, record, text) for record in records)])
    return markdown(["", *map(peers.shown, columns)], rows)


def cell_of(case: dict, record: dict | None, text: Callable[[dict, dict], str]) -> str:
    """The text of a competitor's record; "failed" or "(differs)" where it failed or computed something else."""
    if record is None or "seconds" not in record:
        return "-" if record is None else "failed"
    return text(case, record) + " (differs)" * isinstance(record.get("difference"), str)


def first_call_table(cases: list[dict]) -> str:
    """Geometric mean over sizes of the seconds from Python to the first result."""
    columns = list(dict.fromkeys(name for case in cases for name in case["peers"]))
    rows = []
    for row, row_cases in rows_of(cases).items():
        columns_seconds = ([case["peers"][name]["first_call"] for case in row_cases if name in case["peers"]] for name in columns)
        rows.append([row, *(f"{geometric_mean(seconds):.2f}" if seconds else "-" for seconds in columns_seconds)])
    head = "First call, seconds: trace, compile and first run, geometric mean over sizes."
    return f"{head}\n\n{markdown(['', *map(peers.shown, columns)], rows)}"


def tokens_table(cases: list[dict]) -> str:
    """Tokens per second of every case."""
    return "Tokens per second.\n\n" + each(cases, lambda case, record: f"{case['tokens'] / record['seconds']['median']:,.0f}")


def time_and_memory_table(cases: list[dict]) -> str:
    """Milliseconds, and the compiled program's temporary memory, of every case."""

    def text(case, record):
        return f"{record['seconds']['median'] * 1e3:,.0f} ms, {(record['memory'] or 0) / 2**20:,.1f} MB"

    return f"Time, and memory beyond arguments and results as the compiled program states it (exact).\n\n{each(cases, text)}"


TABLES = {
    "ratio": ratio_table,
    "time": time_table,
    "first call": first_call_table,
    "tokens": tokens_table,
    "memory": time_and_memory_table,
}
