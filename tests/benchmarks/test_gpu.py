"""The stages of `benchmarks/gpu.sh`: one that fails or hangs is recorded, and the next stage runs."""

import pytest

from benchmarks import gpu

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_right"/>
<testcase classname="tests.a" name="test_wrong"><failure message="assert">Traceback: assert 1 == 2</failure></testcase>
<testcase classname="tests.a" name="test_elsewhere"><skipped message="needs a GPU"/></testcase>
</testsuite></testsuites>"""


def test_a_stage_records_its_end():
    record = gpu.run(gpu.Stage("fails", ["-c", "print('begun'); raise SystemExit(3)"], 60))
    assert (record["code"], record["output"]) == (3, "begun\n")


@pytest.mark.slow
def test_a_stage_over_its_limit_is_interrupted():
    program = "import time; print('begun', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('kept')"
    record = gpu.run(gpu.Stage("hangs", ["-c", program], 4))
    assert (record["code"], record["output"]) == (None, "begun\nkept\n")


def test_tests_are_told_by_name(tmp_path):
    path = tmp_path / "tests.xml"
    path.write_text(REPORT)
    outcomes = gpu.outcomes(path)
    assert outcomes == {
        "tests.a.test_right": "passed",
        "tests.a.test_wrong": "Traceback: assert 1 == 2",
        "tests.a.test_elsewhere": "needs a GPU",
    }
    assert not path.exists() and gpu.outcomes(path) == {}


def test_in_all_it_takes_eight_minutes_at_most(tmp_path):
    assert sum(stage.limit for stage in gpu.stages(tmp_path, tiny=False)) <= 8 * 60
