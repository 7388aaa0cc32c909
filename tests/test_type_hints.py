"""Type hints: a type checker refuses wrong calls of public functions before anything runs."""

import json
import subprocess
import sys

import pytest

CALLS = """
import jax.numpy as jnp
from seqjax import LSTM, decode, losses, metrics, unroll
from seqjax.models import LanguageModel

cell, params, xs, batch = LSTM(3, 4), {}, jnp.ones((2, 5, 3)), {}
model = LanguageModel(vocabulary_size=3, cell=cell)
state, ys = unroll(cell, params, xs, lengths=[5, 2], backend="scan")
tokens: jnp.ndarray = decode.beam(model, params, batch, width=2, max_length=3, min_length=2, end=0).tokens
unroll("no cell", params, xs)  # refused
unroll(cell, params, xs, backend="fuse")  # refused
unroll(cell, params, xs, length=[5, 2])  # refused
LSTM(input_size=3, hidden=4)  # refused
decode.greedy(model, params, batch, max_length=3, minlength=2)  # refused
decode.beam(model, params, batch, width="2", max_length=3)  # refused
decode.beam(model, params, batch, max_length=3)  # refused
decode.beam(cell, params, batch, width=2, max_length=3)  # refused
decode.Search(method="beams")  # refused
metrics.hit_at([[1.0]], [0], k="2")  # refused
losses.focal(xs, jnp.zeros((2, 5), int), gamma="a")  # refused
model.apply(params, 3)  # refused
"""


def test_a_type_checker_refuses_wrong_calls(tmp_path):
    pytest.importorskip("pyright")
    file = tmp_path / "calls.py"
    file.write_text(CALLS)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    errors = [entry for entry in json.loads(done.stdout)["generalDiagnostics"] if entry["severity"] == "error"]
    refused = {n for n, line in enumerate(CALLS.splitlines()) if line.endswith("# refused")}
    assert {error["range"]["start"]["line"] for error in errors} == refused, [error["message"] for error in errors]
