"""Timing: the stages that are timed, the checks before them, and the turns that competitors take.

Every competitor is a `Work`. `measure` prepares all of one case (trace, compile and first run timed apart), checks that their
results are the reference's, then lets them take turns: in every round each idles, runs once untimed, and fills a slice of time
with calls. A round gives one time for each competitor (the slice's median call), so a round's ratio to the reference compares
times measured within a second of each other; the median over rounds and the quartiles are what is reported.
"""

import dataclasses
import gc
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from seqjax.errors import InputError

REFERENCE = "seqjax"
TOLERANCES = {"float32": (1e-4, 1e-3), "reduced": (5e-2, 2e-1)}  # of outputs, of gradients
SUMS = "gradient of weights"  # over all steps and rows: in bfloat16 some libraries round every partial sum, and it shows

Values = dict[str, np.ndarray]


class Pace(NamedTuple):
    """The length of a measurement.

    Args:
        rounds: turns of every competitor.
        slice: seconds of calls in a turn; at least one call.
        idle: seconds of rest before a turn: PyTorch's OpenMP workers spin for a while after a call, and slow the next.
    """

    rounds: int = 5
    slice: float = 0.1
    idle: float = 0.04


class Clock(NamedTuple):
    """The clock; tests have a fake one."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


class Stages(NamedTuple):
    """Seconds of the stages that run once; None for a stage that is part of the first run.

    Args:
        trace: Python to StableHLO.
        compile: StableHLO to machine code.
        first: the first run.
        memory: bytes that the compiled program needs beyond arguments and results, exact; None if unknown.
    """

    trace: float | None
    compile: float | None
    first: float
    memory: int | None = None

    @property
    def first_call(self) -> float:
        """From nothing to the first result."""
        return (self.trace or 0.0) + (self.compile or 0.0) + self.first


@dataclasses.dataclass
class Work:
    """A competitor's part of one case.

    Args:
        call: runs once, waits for the result and returns it.
        values: the result as named float32 arrays: outputs, and gradients under names that begin with "gradient".
        against: the competitor it is compared with; a reference is compared with itself.
        expected: what its values must be; None: the values of `against`.
        note: a remark on this comparison for the reader.
    """

    call: Callable[[], Any]
    values: Callable[[Any], Values]
    against: str = REFERENCE
    expected: Callable[[], Values] | None = None
    note: str = ""

    def prepare(self, clock: Clock) -> Stages:
        """Everything before the steady state."""
        start = clock.now()
        self.call()
        return Stages(None, None, clock.now() - start)


@dataclasses.dataclass
class JaxWork(Work):
    """A pure function of arrays, jitted."""

    call: Callable[[], Any] = lambda: None
    values: Callable[[Any], Values] = lambda out: out
    function: Callable = lambda: None
    args: tuple = ()
    _compiled: Any = None

    def __post_init__(self):
        self.args = jax.block_until_ready(jax.device_put(self.args))
        self.call = lambda: jax.block_until_ready(self._compiled(*self.args))

    def prepare(self, clock: Clock) -> Stages:
        jax.clear_caches()  # traces of another competitor are not reused
        start = clock.now()
        lowered = jax.jit(self.function).lower(*self.args)
        traced = clock.now()
        self._compiled = lowered.compile()
        compiled = clock.now()
        self.call()
        done = clock.now()
        analysis = self._compiled.memory_analysis()
        memory = None if analysis is None else int(analysis.temp_size_in_bytes)
        return Stages(traced - start, compiled - traced, done - compiled, memory)

    def run_by(self, other: "JaxWork") -> Values:
        """The values of another, prepared work's compiled program for these arguments, which have the same shapes."""
        return self.values(jax.block_until_ready(other._compiled(*self.args)))


class Missing(Exception):
    """Raised by a peer that lacks what a case needs; the message names it."""


def cold():
    """Turn the compilation cache off, and compile a small program, so that no measured compile is the first of the process."""
    jax.config.update("jax_enable_compilation_cache", False)

    def loop(xs):
        return jax.lax.scan(lambda h, x: (jax.numpy.tanh(h @ xs[0] + x), h), xs[0], xs)[1].sum()

    jax.block_until_ready(jax.jit(jax.grad(loop))(np.ones((3, 4, 4), np.float32)))


def summary(figures: Iterable[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(np.fromiter(figures, float), [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def difference(values: Values, expected: Values) -> dict[str, float]:
    """The largest difference of each array, relative to the expected array's largest entry.

    Raises:
        InputError: different names of arrays, or different shapes.
    """
    if values.keys() != expected.keys():
        raise InputError(f"gives {sorted(values)}, {REFERENCE} gives {sorted(expected)}")
    differences = {}
    for name, reference in expected.items():
        value = values[name]
        if value.shape != reference.shape:
            raise InputError(f"{name} has shape {value.shape}, {REFERENCE}'s has {reference.shape}")
        largest = np.abs(reference).max(initial=0.0)
        differences[name] = float(np.abs(value - reference).max(initial=0.0) / (largest or 1.0))  # NaN is refused by `check`
    return differences


def check(name: str, values: Values, expected: Values, dtype: str = "float32") -> float:
    """Check that a competitor computes the same as its reference.

    Args:
        name: the competitor's name.
        values, expected: named arrays.
        dtype: the dtype of the computation, which decides the tolerance.

    Returns:
        The largest relative difference.

    Raises:
        InputError: one line with competitor, array, difference and tolerance.
    """
    try:
        differences = difference(values, expected)
    except InputError as error:
        raise InputError(f"{name} {error}") from None
    # On accelerators, float32 products are not exact by default (TF32, passes of bfloat16).
    exact = dtype == "float32" and jax.default_backend() == "cpu"
    for array, relative in differences.items():
        if dtype == "bfloat16" and array.startswith(SUMS):
            continue
        allowed = TOLERANCES["float32" if exact else "reduced"][array.startswith("gradient")]
        if not relative <= allowed:
            raise InputError(
                f"{name} does not compute what {REFERENCE} computes: {array} differs by {relative:.1e} of its largest entry, "
                f"{allowed:.0e} is allowed"
            )
    return max(differences.values(), default=0.0)


def take_turn(work: Work, pace: Pace, clock: Clock) -> float:
    """One turn of a competitor: the median of its calls' seconds."""
    clock.sleep(pace.idle)
    work.call()
    calls: list[float] = []
    end = clock.now() + pace.slice
    while True:
        start = clock.now()
        work.call()
        now = clock.now()
        calls.append(now - start)
        if now >= end:
            return float(np.median(calls))


def measure(
    works: dict[str, Work],
    pace: Pace,
    *,
    dtype: str = "float32",
    clock: Clock | None = None,
    keep_going: bool = False,
) -> dict[str, dict]:
    """Prepare, check and time the competitors of one case.

    Args:
        works: the competitors by name; a reference stands before those compared with it.
        pace: the length of the measurement.
        dtype: the dtype of the computation, which decides the tolerances.
        clock: the clock to read.
        keep_going: record a competitor that fails as an error, and time one that computes something else, with the message in
            place of its difference; otherwise both are raised.

    Returns:
        For each competitor, seconds of every stage and round, their median and quartiles, and those of the ratio to its
        reference (above 1: it took longer); or {"error": the traceback}.

    Raises:
        InputError: a competitor computes something else.
    """
    clock = Clock() if clock is None else clock
    stages, differences, references, errors = {}, {}, {}, {}
    for name, work in works.items():
        try:
            stages[name] = work.prepare(clock)
            values = work.values(work.call())
            if work.against == name:
                references[name] = values
            else:
                expected = work.expected() if work.expected else references[work.against]
                differences[name] = check(name, values, expected, dtype)
        except InputError as error:
            if not keep_going:
                raise
            differences[name] = str(error)
        except Exception:
            if not keep_going:
                raise
            errors[name] = {"error": traceback.format_exc()}
    del references
    times: dict[str, list[float]] = {name: [] for name in works if name not in errors}
    names = list(times)
    gc.collect()
    gc.disable()
    try:
        for turn in range(pace.rounds):
            first = turn % len(names)  # no competitor always follows the same one
            for name in names[first:] + names[:first]:
                times[name].append(take_turn(works[name], pace, clock))
    finally:
        gc.enable()
    described = {name: _describe(works[name], stages[name], times, name, differences.get(name)) for name in times}
    return {name: errors.get(name) or described[name] for name in works}


def _describe(work: Work, stages: Stages, times: dict[str, list[float]], name: str, largest: float | str | None) -> dict:
    described = stages._asdict() | {"first_call": stages.first_call, "rounds": times[name], "seconds": summary(times[name])}
    if work.against != name:
        ratios = [seconds / reference for seconds, reference in zip(times[name], times[work.against], strict=True)]
        described |= {"against": work.against, "ratio": summary(ratios), "difference": largest}
    return described | ({"note": work.note} if work.note else {})
