"""The conditions of a benchmark: hardware, versions, load, date, command."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys

import jax

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware_class() -> str:
    """A folder's name: "cpu-2-cores", "nvidia-h100", "tpu-v5-lite"."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"cpu-{cores()}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")


def describe(distributions, argv) -> dict:
    """Versions, hardware, load, date, command.

    Args:
        distributions: the packages whose versions are recorded.
        argv: the command line's arguments.

    Returns:
        Strings and numbers, for JSON.
    """
    device = jax.devices()[0]
    return {
        "hardware": hardware_class(),
        "device": device.device_kind if device.platform != "cpu" else processor(),
        "backend": device.platform,
        "cores": cores(),
        "memory_gb": memory_gb(),
        "platform": f"{platform.system()} {platform.machine()}",
        "load_average_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks", *argv]),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in distributions},
        "flags": {name: os.environ[name] for name in ("XLA_FLAGS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ},
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
    }


def version(distribution: str) -> str:
    """The version of an installed distribution; of a clone that is not installed, its own `__version__`."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(distribution), "__version__", "unknown"))


def processor() -> str:
    """The CPU's model name."""
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        model = None
    return model[1] if model else platform.processor() or "CPU"


def memory_gb() -> float | None:
    """The machine's memory in GiB; None if it is unknown."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def commit() -> str | None:
    """The clone's commit, with "+" if tracked files were changed; None without git."""
    try:
        options = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno", "seqjax", "benchmarks"], **options).stdout
        return head + "+" * bool([line for line in changed.splitlines() if "benchmarks/results" not in line])
    except (OSError, subprocess.CalledProcessError):
        return None
