"""Measures recurrent networks in JAX against each other: `python -m benchmarks --help`."""

import argparse
import pathlib
import sys
import time
import traceback

from benchmarks import environment, harness, peers, report, results, suites
from benchmarks.harness import REFERENCE, Pace
from benchmarks.network import GATES
from benchmarks.suites import Choice
from seqjax.errors import InputError

OUT = pathlib.Path("runs/benchmarks")
DTYPES = ("float32", "bfloat16")


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line."""

    def error(self, message):
        raise InputError(f"{message} (python -m benchmarks --help)")


def parser() -> argparse.ArgumentParser:
    made = Parser(
        prog="python -m benchmarks",
        description="Times seqjax and the installed libraries side by side, on the device that JAX uses.",
        epilog="python -m benchmarks report [DIR] draws the pictures and tables of results anew.",
    )
    made.add_argument("--suite", nargs="+", default=None, metavar="NAME", help=f"of {', '.join(suites.SUITES)}; all of them")
    others = [name for name in peers.NAMES if name != REFERENCE]
    made.add_argument("--peers", nargs="*", default=None, metavar="NAME", help=f"of {', '.join(others)}; those installed")
    made.add_argument("--cells", nargs="+", default=list(GATES), choices=list(GATES), help="both")
    made.add_argument("--modes", nargs="+", default=list(peers.MODES), choices=list(peers.MODES), help="both")
    made.add_argument("--shapes", nargs="+", default=None, metavar="T,B,D,H", type=shape, help="steps, rows, features, units")
    made.add_argument("--dtype", default="float32", choices=DTYPES, help="float32")
    made.add_argument("--rounds", type=positive(int), default=Pace().rounds, help=f"turns of every competitor; {Pace().rounds}")
    made.add_argument("--slice", type=positive(float), default=Pace().slice, help=f"seconds of a turn; {Pace().slice}")
    made.add_argument(
        "--out", type=pathlib.Path, default=OUT, metavar="DIR", help=f"a folder of the hardware's name in DIR; {OUT}"
    )
    made.add_argument("--keep-going", action="store_true", help="records competitors that fail, and measures the others")
    made.add_argument("--list", action="store_true", help="lists suites and peers, and measures nothing")
    return made


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
        InputError: an unknown one, or shapes for one that has its own.
    """
    for name in args.suite or ():
        if name not in suites.SUITES:
            raise InputError(f"unknown suite {name!r}: it must be one of {', '.join(suites.SUITES)}")
        if args.shapes and not suites.load(name).SHAPED:
            raise InputError(f"suite {name!r} has its own sizes: --shapes does not fit it")
    if args.suite:
        return list(dict.fromkeys(args.suite))
    return [name for name in suites.SUITES if not args.shapes or suites.load(name).SHAPED]


def pick_peers(asked: list[str] | None) -> tuple[str, ...]:
    """The peers to run against; one line on stderr for each that is not installed.

    Raises:
        InputError: an unknown one, or one asked for by name that is not installed.
    """
    others = [name for name in peers.NAMES if name != REFERENCE]
    for name in asked or ():
        if name not in peers.NAMES:
            raise InputError(f"unknown peer {name!r}: it must be one of {', '.join(others)}")
        if not peers.installed(name):
            raise InputError(f"peer {name!r} is not installed: pip install -e '.[bench]' brings all of them")
    if asked is not None:
        return tuple(dict.fromkeys(name for name in asked if name != REFERENCE))
    for name in others:
        if not peers.installed(name):
            print(f"{peers.NAMES[name][0]} is not installed: left out", file=sys.stderr)
    return tuple(name for name in others if peers.installed(name))


def show_list():
    """What there is."""
    choice = Choice(tuple(name for name in peers.NAMES if name != REFERENCE))
    print("suites:")
    for name in suites.SUITES:
        suite = suites.load(name)
        print(f"  {name:16} {len(suite.cases(choice)):3} cases   {suite.TITLE}")
    print("peers:")
    for name, (shown, _) in peers.NAMES.items():
        print(f"  {name:16} {shown}{'' if peers.installed(name) else '   (not installed)'}")


class Progress:
    """A line on stderr for every case, with the time that is left if the others take as long."""

    def __init__(self, cases: int):
        self._cases, self._done, self._start = cases, 0, time.monotonic()

    def tell(self, suite: str, case, record: dict):
        self._done += 1
        passed = time.monotonic() - self._start
        left = round(passed / self._done * (self._cases - self._done))
        ratios = {peers.shown(name): r["ratio"]["median"] for name, r in record["peers"].items() if "ratio" in r}
        text = "  ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
        count = f"[{self._done:{len(str(self._cases))}}/{self._cases}]"
        print(f"{count} {suite}: {case}: {text}  ({left // 60}:{left % 60:02d} left)", file=sys.stderr, flush=True)


def run(argv: list[str]) -> pathlib.Path | None:
    """Measures what the arguments ask for, and draws it.

    Returns:
        The folder of the results; None with --list.

    Raises:
        InputError: a wrong argument, or a peer that computes something else.
    """
    args = parser().parse_args(argv)
    if args.list:
        return show_list()
    names = pick_suites(args)
    choice = Choice(
        pick_peers(args.peers),
        tuple(dict.fromkeys(args.cells)),
        tuple(dict.fromkeys(args.modes)),
        tuple(args.shapes) if args.shapes else None,
        args.dtype,
    )
    plan = [(name, suites.load(name).cases(choice)) for name in names]
    plan = [(name, cases) for name, cases in plan if cases]
    if not plan:
        raise InputError(f"nothing to measure: {', '.join(names)} has no case of these --cells and --modes")
    pace = Pace(args.rounds, args.slice)
    harness.cold()
    distributions = [d for name in (REFERENCE, *choice.peers) for d in peers.load(name).distributions]
    about = environment.describe(list(dict.fromkeys(distributions)), argv)
    folder = args.out / about["hardware"]
    progress, told = Progress(sum(len(cases) for _, cases in plan)), set()
    for name, cases in plan:
        found = {
            "suite": name,
            "environment": about,
            "pace": pace._asdict(),
            "dtype": choice.dtype,
            "complete": False,
            "cases": [],
        }
        for case in cases:
            try:
                works, missing = case.build()
            except Exception:
                if not args.keep_going:
                    raise
                works, missing = {}, {}
                traceback.print_exc()
            for peer in missing.keys() - told:
                print(f"{peers.shown(peer)} {missing[peer]}: left out of {name}", file=sys.stderr)
            told |= missing.keys()
            record = {"facts": case.facts, "tokens": case.tokens, "missing": missing}
            record["peers"] = harness.measure(works, pace, dtype=choice.dtype, keep_going=args.keep_going)
            found["cases"].append(record)
            found["complete"] = len(found["cases"]) == len(cases)
            results.write(folder, found)
            progress.tell(name, case, record)
        told = set()
    report.write(args.out)
    return folder


def main(argv: list[str]) -> int:
    """0; 2 after one line about what is wrong; 130 after Ctrl-C, what was measured kept."""
    try:
        if argv[:1] == ["report"]:
            made = Parser(prog="python -m benchmarks report", description="Draws pictures and tables of results anew.")
            made.add_argument("dir", nargs="?", type=pathlib.Path, default=report.COMMITTED)
            for path in report.write(made.parse_args(argv[1:]).dir):
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
