"""The settings of every test: no implicit promotion, full matmul precision, few of XLA's optimizations, a cache of programs."""

import fcntl
import gc
import importlib.metadata
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

# Tracing makes many small objects that live, and the collector's search among them takes a fifth of its time.
gc.set_threshold(50_000, 20, 20)

# Compiling costs more than running in almost every test. On a CPU the first setting leaves the optimized HLO and its memory as
# they are, and has LLVM do less. The flags compile a program in one piece, a fifth less work than many pieces, and fusions by the
# older emitters, which takes half of the time; jax 0.11 has only the newer ones, and XLA ends at a flag that it does not know.
# `make test-all` compiles as users do. The processes that tests start inherit all of it.
OPTIMIZED = os.environ.get("SEQJAX_TEST_OPTIMIZED") == "1"
FLAGS = "" if OPTIMIZED else " --xla_cpu_parallel_codegen_split_count=1"
if not OPTIMIZED and importlib.metadata.version("jaxlib").startswith("0.10."):
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0" if OPTIMIZED else "1"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "").removesuffix(FLAGS) + FLAGS

import jax  # noqa: E402 (the settings above come first)
import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")

jax.config.update("jax_disable_most_optimizations", not OPTIMIZED)

# Compiled code is kept between runs, also for the processes that tests start; a program of a few operations is sooner compiled
# anew than written and read.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.03")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]))

os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

collect_ignore = ["goldens"]  # holds no tests, and the scripts that make goldens need PyTorch

# {run} is the folder of the run.
TINY_RUN = "-m experiments.language_model train --preset tiny --data.corpus pydoc --ngrams 2 --loop.steps 3 --run.dir {run}"


def pytest_collection_finish():
    """Keep the garbage collector from what was imported, which lives as long as the process."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """Turn on float64 and int64 during the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def implicit_promotion():
    """Let dtypes promote as they do for a user: optax's Adam needs it (a float to the power of an int32 count)."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def shared_data():
    """A function from a name to the path of that data set beside the clone; without it the test is skipped."""

    def find(name: str) -> pathlib.Path:
        path = ROOT.parent / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"needs {path}, which is missing")
        return path

    return find


@pytest.fixture(scope="session")
def as_user():
    """A function that runs Python on its arguments as a user would, without this file's strictness.

    It returns the finished process, its output as text; keyword arguments go to `subprocess.run`.
    """

    def run(*arguments, **options):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, **{"env": environment, "capture_output": True, "text": True} | options)

    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """A function that makes something in a new folder, once for all of pytest's workers; no test may change it.

    It takes a name and `make`, a function of the folder's path, and returns (the path, what `make` returned).
    """
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        temporary = temporary.parent

    def get(name: str, make):
        folder, result = temporary / name, temporary / f"{name}.pickle"
        with open(temporary / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                made = make(folder)
                result.write_bytes(pickle.dumps(made))
        return folder, pickle.loads(result.read_bytes())

    return get


@pytest.fixture(scope="session")
def tiny_run(once, as_user):
    """The folder of a tiny language model's finished run."""

    def make(run):
        made = as_user(*TINY_RUN.format(run=run).split(), cwd=run.parent)
        assert made.returncode == 0, f"{made.args} failed:\n{made.stdout}\n{made.stderr}"

    return once("tiny_run", make)[0]
