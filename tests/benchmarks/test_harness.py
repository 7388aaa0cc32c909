"""The clock of the benchmarks: statistics, turns, checks. No test here reads the time of the machine."""

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.harness import REFERENCE, Clock, JaxWork, Pace, Work
from seqjax.errors import InputError


class FakeTime:
    """A clock that only moves when something sleeps or works."""

    def __init__(self):
        self.now, self.log = 0.0, []

    @property
    def clock(self):
        return Clock(lambda: self.now, lambda seconds: self.spend("idle", seconds))

    def spend(self, name, seconds):
        self.log.append(name)
        self.now += seconds

    def work(self, name, seconds, **fields):
        """A competitor whose n-th call takes seconds(n)."""
        calls = iter(range(1000))
        return Work(call=lambda: self.spend(name, seconds(next(calls))), values=lambda _: {"outputs": np.ones(2)}, **fields)


def test_summary_is_median_and_quartiles():
    assert harness.summary([5.0, 1.0, 2.0, 4.0, 3.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}


def test_a_turn_idles_warms_up_and_fills_its_slice():
    time = FakeTime()
    work = time.work("peer", lambda n: (9.0, 1.0, 3.0, 2.0, 7.0)[n])
    # the untimed call takes 9; 1 + 3 + 2 then fill the slice of 5.5, and the median is 2
    assert harness.take_turn(work, Pace(1, 5.5, 0.5), time.clock) == 2.0
    assert time.log == ["idle"] + ["peer"] * 4
    assert time.now == 0.5 + 9 + 6


def test_a_turn_has_at_least_one_call():
    time = FakeTime()
    assert harness.take_turn(time.work("peer", lambda n: 4.0), Pace(1, 0.001, 0.0), time.clock) == 4.0


def test_ratios_are_taken_round_by_round():
    time = FakeTime()
    # the machine is three times slower from the second round on: rounds differ, their ratios do not
    slow = {REFERENCE: 2.0, "peer": 5.0}
    works = {name: time.work(name, lambda n, s=s: s * (1 if n < 4 else 3)) for name, s in slow.items()}
    records = harness.measure(works, Pace(rounds=5, slice=0.001, idle=0.0), clock=time.clock)
    assert records["peer"]["rounds"] == [5.0, 15.0, 15.0, 15.0, 15.0]
    assert records["peer"]["ratio"] == {"median": 2.5, "low": 2.5, "high": 2.5}
    assert records["peer"]["against"] == REFERENCE
    assert "ratio" not in records[REFERENCE] and records[REFERENCE]["seconds"]["median"] == 6.0


def test_nobody_always_follows_the_same_competitor():
    time = FakeTime()
    works = {name: time.work(name, lambda n: 1.0) for name in (REFERENCE, "a", "b")}
    harness.measure(works, Pace(rounds=3, slice=0.5, idle=0.25), clock=time.clock)
    turns = " ".join(time.log[6:]).split("idle")[1:]  # after a call to prepare and one to check for each
    assert [turn.split()[0] for turn in turns] == [REFERENCE, "a", "b", "a", "b", REFERENCE, "b", REFERENCE, "a"]


def test_a_competitor_may_have_its_own_reference():
    time = FakeTime()
    works = {
        REFERENCE: time.work(REFERENCE, lambda n: 1.0),
        "other form": time.work("other form", lambda n: 2.0, against="other form"),
        "peer": time.work("peer", lambda n: 8.0, against="other form", note="another form"),
    }
    records = harness.measure(works, Pace(1, 0.001, 0.0), clock=time.clock)
    assert records["peer"]["ratio"]["median"] == 4.0 and records["peer"]["note"] == "another form"
    assert "ratio" not in records["other form"]


def test_what_is_compiled_is_timed_in_stages():
    ticks = iter(range(100))
    work = JaxWork(function=lambda x: x * 2.0, args=(np.ones(3, np.float32),), values=lambda out: {"outputs": np.asarray(out)})
    stages = work.prepare(Clock(lambda: 10.0 ** next(ticks)))
    assert stages[:3] == (9.0, 90.0, 900.0) and stages.first_call == 999.0
    assert stages.memory is not None
    assert work.values(work.call())["outputs"].tolist() == [2.0, 2.0, 2.0]
    same_program = JaxWork(function=work.function, args=(np.full(3, 5, np.float32),), values=work.values)
    assert same_program.run_by(work)["outputs"].tolist() == [10.0, 10.0, 10.0]


EXPECTED = {"outputs": np.array([1.0, -4.0]), "gradient of inputs": np.array([2.0])}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"outputs": np.array([1.0, -4.001])}, "peer does not compute what seqjax computes: outputs differs by 2.5e-04"),
        ({"outputs": np.array([np.nan, -4.0])}, "outputs differs by nan"),
        (
            {"gradient of inputs": np.array([2.01])},
            "inputs differs by 5.0e-03 of its largest entry, 1e-03 is allowed",
        ),
        ({"outputs": np.ones(3)}, r"peer outputs has shape \(3,\), seqjax's has \(2,\)"),
        ({"more": np.ones(3)}, r"peer gives \[.*'more'.*\], seqjax gives"),
    ],
)
def test_another_result_is_told(change, line):
    with pytest.raises(InputError, match=line) as error:
        harness.check("peer", EXPECTED | change, EXPECTED)
    assert "\n" not in str(error.value)


def test_rounding_is_no_difference():
    near = {"outputs": np.array([1.0001, -4.0]), "gradient of inputs": np.array([2.001])}
    assert harness.check("peer", near, EXPECTED) == pytest.approx(5e-4)


def test_a_sum_of_bfloat16_may_be_rough():
    rough = {"outputs": np.array([1.03, -4.0]), "gradient of weights bias": np.array([9.0])}
    expected = {"outputs": np.array([1.0, -4.0]), "gradient of weights bias": np.array([2.0])}
    assert harness.check("peer", rough, expected, "bfloat16") == 3.5
    with pytest.raises(InputError, match="outputs differs"):
        harness.check("peer", rough, expected)
    with pytest.raises(InputError, match="5e-02 is allowed"):
        harness.check("peer", rough | {"outputs": np.array([2.0, -4.0])}, expected, "bfloat16")


def test_a_wrong_competitor_is_not_timed():
    time = FakeTime()
    wrong = Work(call=lambda: time.spend("peer", 1.0), values=lambda _: {"outputs": np.array([1.0, 1.1])})
    works = {REFERENCE: time.work(REFERENCE, lambda n: 1.0), "peer": wrong}
    with pytest.raises(InputError, match="peer does not compute"):
        harness.measure(works, Pace(3), clock=time.clock)
    assert time.log.count("peer") == 2  # prepared and checked, never timed


def test_one_that_fails_stops_no_other_where_asked():
    time = FakeTime()

    def broken():
        raise ValueError("out of memory")

    wrong = Work(call=lambda: time.spend("wrong", 1.0), values=lambda _: {"outputs": np.array([1.0, 1.1])})
    works = {REFERENCE: time.work(REFERENCE, lambda n: 2.0), "broken": Work(call=broken, values=lambda _: {}), "wrong": wrong}
    records = harness.measure(works, Pace(2, 0.001, 0.0), clock=time.clock, keep_going=True)
    assert records["broken"].keys() == {"error"} and "ValueError: out of memory" in records["broken"]["error"]
    assert records["wrong"]["ratio"]["median"] == 0.5 and "wrong does not compute" in records["wrong"]["difference"]
    with pytest.raises(ValueError, match="out of memory"):
        harness.measure({name: works[name] for name in (REFERENCE, "broken")}, Pace(1), clock=time.clock)
