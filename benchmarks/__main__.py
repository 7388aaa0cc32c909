"""Measures recurrent networks in JAX against each other: `python -m benchmarks --help`."""

import argparse
import pathlib
import sys
import time
import traceback

from benchmarks import environment, harness, peers, report, results, suites
from benchmarks.harness import REFERENCE, Pace
from benchmarks.network import GATES
from benchmarks.suites import Selection
from seqjax.errors import InputError

OUT = pathlib.Path("runs/benchmarks")
DTYPES = ("float32", "bfloat16")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are InputErrors of one line."""

    def error(self, message):
        raise InputError(f"{message} (python -m benchmarks --help)")


def parser() -> argparse.ArgumentParser:
    flags = Parser(
        prog="python -m benchmarks",
        description="Times seqjax and the installed libraries side by side, on the device that JAX uses.",
        epilog="python -m benchmarks report [DIR] draws the pictures and tables of results anew.",
    )
    flags.add_argument("--suite", nargs="+", default=None, metavar="NAME", help=f"of {', '.join(suites.SUITES)}; default: all")
    others = [name for name in peers.NAMES if name != REFERENCE]
    flags.add_argument("--peers", nargs="*", default=None, metavar="NAME", help=f"of {', '.join(others)}; default: all installed")
    flags.add_argument("--cells", nargs="+", default=list(GATES), choices=list(GATES), help="default: both")
    flags.add_argument("--modes", nargs="+", default=list(peers.MODES), choices=list(peers.MODES), help="default: both")
    flags.add_argument("--shapes", nargs="+", default=None, metavar="T,B,D,H", type=shape, help="steps, rows, features, units")
    flags.add_argument("--dtype", default="float32", choices=DTYPES, help="default: float32")
    flags.add_argument("--rounds", type=positive(int), default=Pace().rounds, help=f"turns of each; default: {Pace().rounds}")
    flags.add_argument("--slice", type=positive(float), default=Pace().slice, help=f"seconds of a turn; default: {Pace().slice}")
    flags.add_argument(
        "--out", type=pathlib.Path, default=OUT, metavar="DIR", help=f"results go to DIR/<hardware>; default: {OUT}"
    )
    flags.add_argument("--keep-going", action="store_true", help="record competitors that fail, and measure the others")
    flags.add_argument("--list", action="store_true", help="list suites and peers, and measure nothing")
    return flags


def shape(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split(",") if part.strip().isdecimal())
    if len(sizes) != 4 or len(text.split(",")) != 4 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not T,B,D,H: four sizes of at least 1, such as 128,32,128,128")
    return sizes


def positive(kind: type):
    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not {'a whole number' if kind is int else 'a number'} above 0")
        return value

    return read


def pick_suites(args) -> list[str]:
    """The suites to run.

    Raises:
        InputError: an unknown suite, or shapes for a suite with sizes of its own.
    """
    for name in args.suite or ():
        if name not in suites.SUITES:
            raise InputError(f"unknown suite {name!r}: it must be one of {', '.join(suites.SUITES)}")
        if args.shapes and not suites.load(name).SHAPED:
            raise InputError(f"suite {name!r} has its own sizes: --shapes does not fit it")
    if args.suite:
        return list(dict.fromkeys(args.suite))
    return [name for name in suites.SUITES if not args.shapes or suites.load(name).SHAPED]


def pick_peers(requested: list[str] | None) -> tuple[str, ...]:
    """The peers to run against; one line on stderr for each that is not installed.

    Raises:
        InputError: an unknown peer, or one requested by name that is not installed.
    """
    others = [name for name in peers.NAMES if name != REFERENCE]
    for name in requested or ():
        if name not in peers.NAMES:
            raise InputError(f"unknown peer {name!r}: it must be one of {', '.join(others)}")
        if not peers.installed(name):
            raise InputError(f"peer {name!r} is not installed: pip install -e '.[bench]' brings all of them")
    if requested is not None:
        return tuple(dict.fromkeys(name for name in requested if name != REFERENCE))
    for name in others:
        if not peers.installed(name):
            print(f"{peers.NAMES[name][0]} is not installed: left out", file=sys.stderr)
    return tuple(name for name in others if peers.installed(name))


def show_list():
    """Print the suites and the peers."""
    selection = Selection(tuple(name for name in peers.NAMES if name != REFERENCE))
    print("suites:")
    for name in suites.SUITES:
        suite = suites.load(name)
        print(f"  {name:16} {len(suite.cases(selection)):3} cases   {suite.TITLE}")
    print("peers:")
    for name, (shown, _) in peers.NAMES.items():
        print(f"  {name:16} {shown}{'' if peers.installed(name) else '   (not installed)'}")


class Progress:
    """Progress on stderr: a line for every case, with the time left if the remaining cases take as long on average."""

    def __init__(self, cases: int):
        self._cases, self._done, self._start = cases, 0, time.monotonic()

    def show(self, suite: str, case, record: dict):
        self._done += 1
        elapsed = time.monotonic() - self._start
        left = round(elapsed / self._done * (self._cases - self._done))
        ratios = {peers.shown(name): r["ratio"]["median"] for name, r in record["peers"].items() if "ratio" in r}
        text = "  ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
        count = f"[{self._done:{len(str(self._cases))}}/{self._cases}]"
        print(f"{count} {suite}: {case}: {text}  ({left // 60}:{left % 60:02d} left)", file=sys.stderr, flush=True)


def measure(header: dict, cases: list, pace: Pace, folder: pathlib.Path, progress: Progress, *, keep_going: bool):
    """Measure the cases of a suite, and write its results after each case.

    Args:
        header: suite, environment, pace and dtype of the results.
        cases: the cases to measure.
        pace: the length of each measurement.
        folder: the folder for the results.
        progress: shows each case that is done.
        keep_going: record a failure instead of raising it.
    """
    name, reported = header["suite"], set()
    suite_results = header | {"complete": False, "cases": []}
    for case in cases:
        try:
            works, missing = case.build()
        except Exception:
            if not keep_going:
                raise
            works, missing = {}, {}
            traceback.print_exc()
        for peer in missing.keys() - reported:
            print(f"{peers.shown(peer)} {missing[peer]}: left out of {name}", file=sys.stderr)
        reported |= missing.keys()
        record = {"facts": case.facts, "tokens": case.tokens, "missing": missing}
        record["peers"] = harness.measure(works, pace, dtype=header["dtype"], keep_going=keep_going)
        suite_results["cases"].append(record)
        suite_results["complete"] = len(suite_results["cases"]) == len(cases)
        results.write(folder, suite_results)
        progress.show(name, case, record)


def run(argv: list[str]) -> pathlib.Path | None:
    """Measure the selected cases, and draw the results.

    Returns:
        The folder of the results; None with --list.

    Raises:
        InputError: a wrong argument, or a peer that computes something else.
    """
    args = parser().parse_args(argv)
    if args.list:
        return show_list()
    names = pick_suites(args)
    selection = Selection(
        pick_peers(args.peers),
        tuple(dict.fromkeys(args.cells)),
        tuple(dict.fromkeys(args.modes)),
        tuple(args.shapes) if args.shapes else None,
        args.dtype,
    )
    plan = [(name, suites.load(name).cases(selection)) for name in names]
    plan = [(name, cases) for name, cases in plan if cases]
    if not plan:
        raise InputError(f"nothing to measure: {', '.join(names)} has no case of these --cells and --modes")
    pace = Pace(args.rounds, args.slice)
    harness.cold()
    distributions = [d for name in (REFERENCE, *selection.peers) for d in peers.load(name).distributions]
    about = environment.describe(list(dict.fromkeys(distributions)), argv)
    folder = args.out / about["hardware"]
    progress = Progress(sum(len(cases) for _, cases in plan))
    for name, cases in plan:
        header = {"suite": name, "environment": about, "pace": pace._asdict(), "dtype": selection.dtype}
        measure(header, cases, pace, folder, progress, keep_going=args.keep_going)
    report.write(args.out)
    return folder


def main(argv: list[str]) -> int:
    """The exit code: 0; 2 after one line about a wrong input; 130 after Ctrl-C, with every finished case kept."""
    try:
        if argv[:1] == ["report"]:
            flags = Parser(prog="python -m benchmarks report", description="Draws pictures and tables of results anew.")
            flags.add_argument("dir", nargs="?", type=pathlib.Path, default=report.COMMITTED)
            for path in report.write(flags.parse_args(argv[1:]).dir):
                print(path)
        elif folder := run(argv):
            print(folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: what was measured is kept; `python -m benchmarks report DIR` draws it", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
