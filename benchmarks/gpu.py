"""The stages of `benchmarks/gpu.sh`, each a process with its own time limit: one that fails or hangs does not stop the others."""

import argparse
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from typing import NamedTuple

TESTS = [f"tests/recurrence/test_{name}.py" for name in ("pallas", "fused")]
# values, gradients, lengths, heads, bfloat16, lowered programs; property tests would compile too much
GPU_TESTS = "(plain_scan or bfloat16 or collected or cuda or catalogue or refused) and not gradients_equal"
TINY_TESTS = "refused or no_steps"
BENCH = ["-m", "benchmarks", "--keep-going", "--peers", "torch", "--rounds", "3", "--slice", "0.05"]
SYSTEM = """
import jax, json, subprocess
about = {"devices": [str(d) for d in jax.devices()], "platform": jax.devices()[0].client.platform_version}
try:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    about["nvidia-smi"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    import torch
    about["torch"] = [torch.__version__, torch.version.cuda, torch.backends.cudnn.version()]
except Exception as error:
    about["error"] = repr(error)
print(json.dumps(about))
"""


class Stage(NamedTuple):
    """A step of the script.

    Args:
        name: its key in stages.json.
        arguments: Python's command-line arguments.
        limit: seconds until it is interrupted; five seconds later it is killed.
    """

    name: str
    arguments: list[str]
    limit: int


def stages(out: pathlib.Path, tiny: bool) -> list[Stage]:
    """All stages, the most important first."""
    results = out / "results"
    bench = [*BENCH, "--out", str(results)]
    backends = [*bench, "--suite", "backends", *(["--shapes", "6,3,5,24", "9,2,4,8"] if tiny else [])]
    tests = ["-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "-m", "not slow", f"--junitxml={out / 'tests.xml'}"]
    tests += ["-k", TINY_TESTS if tiny else GPU_TESTS]
    if not tiny and importlib.util.find_spec("xdist"):
        tests += ["-n", "8", "--dist", "worksteal"]
    return [
        Stage("system", ["-c", SYSTEM], 25),
        Stage("tests", [*tests, *TESTS], 60),
        Stage("backends float32", [*backends, "--dtype", "float32"], 165),
        Stage("backends bfloat16", [*backends, "--dtype", "bfloat16"], 165),
        Stage("language model", [*bench, "--suite", "language_model"], 45),
        Stage("report", ["-m", "benchmarks", "report", str(results)], 15),
    ]


def run(stage: Stage) -> dict:
    """Run a stage; return its exit code (None if it went over its limit), its seconds and the end of its output."""
    start = time.monotonic()
    environment = os.environ | {"SEQJAX_TEST_OPTIMIZED": "1"}  # tests/conftest.py: compile as users do
    command, pipe = [sys.executable, *stage.arguments], subprocess.PIPE
    # a process in the background of a shell script ignores SIGINT, and would pass that on
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace")
    signal.signal(signal.SIGINT, before)
    code = None
    try:
        output, _ = process.communicate(timeout=stage.limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    return {"code": code, "seconds": round(time.monotonic() - start, 1), "output": output[-20_000:]}


def outcomes(path: pathlib.Path) -> dict:
    """The outcome of every test in pytest's JUnit file: "passed", or the reason why it did not pass; removes the file."""
    if not path.exists():
        return {}
    by_test = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        reasons = [child.text or child.get("message") for child in case if child.tag in ("failure", "error", "skipped")]
        by_test[f"{case.get('classname')}.{case.get('name')}"] = reasons[0] if reasons else "passed"
    path.unlink()
    return by_test


def main(argv: list[str]) -> int:
    """Run the stages; the exit code is 0 if all succeed."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("out", type=pathlib.Path, help="a folder")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a CPU")
    args = parser.parse_args(argv)
    records: dict = {}
    for stage in stages(args.out, args.tiny):
        records[stage.name] = run(stage)
        if stage.name == "tests":
            records[stage.name]["outcomes"] = outcomes(args.out / "tests.xml")
        (args.out / "stages.json").write_text(json.dumps(records, indent=1) + "\n")
        print(f"== {stage.name}: code {records[stage.name]['code']}, {records[stage.name]['seconds']} s")
        print(records[stage.name]["output"][-2500:], flush=True)
    return int(any(record["code"] != 0 for record in records.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
