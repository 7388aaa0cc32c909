"""A type checker finds wrong cells, backends and options of the public functions, and accepts right ones."""

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

BEGIN = """
import jax
import numpy as np
from seqjax import GRU, Bidirectional, decode, explain, truncated, unroll
from seqjax.models import LanguageModel

cell = GRU(input_size=3, hidden_size=4)
params = cell.init(jax.random.key(0))
xs = np.ones((2, 5, 3))
model = LanguageModel(vocabulary_size=7, cell=cell, embedding_size=3)
batch = {"tokens": np.zeros((2, 5), np.int32)}
"""

RIGHT = """
state, ys = unroll(cell, params, xs, lengths=[5, 2], reverse=True, backend="fused", remat="sqrt", collect="states")
state, ys = unroll(Bidirectional(cell), {}, jax.numpy.ones((2, 5, 3)), mask=np.ones((2, 5), bool), remat=3)
state, ys = truncated(cell, params, xs, state, window=2, lengths=np.array([5, 2]))
print(explain(cell, params, xs, lengths=[5, 2], backend="scan")[0].refused)
tokens = decode.greedy(model, params, batch, max_length=4, end=0).tokens
tokens = decode.beam(model, params, batch, width=2, max_length=4).tokens
"""

WRONG = {  # a line, and the message about it
    "unroll(params, params, xs)": '"cell" of type "Cell | SequenceLayer"',
    'unroll(cell, params, xs, backend="fast")': '"backend" of type "Backend"',
    "unroll(cell, params, xs, lenghts=[5, 2])": 'No parameter named "lenghts"',
    'unroll(cell, params, xs, remat="log")': '"remat" of type "Remat"',
    'unroll(cell, params, xs, collect="all")': '"collect" of type "Collect"',
    "unroll(cell, params, xs, reverse=1.5)": '"reverse" of type "bool"',
    "explain(params, params, xs)": '"cell" of type "Cell | SequenceLayer"',
    'explain(cell, params, xs, backend="fast")': '"backend" of type "Backend"',
    "explain(cell, params, xs, width=3)": 'No parameter named "width"',
    "truncated(Bidirectional(cell), {}, xs, window=2)": '"cell" of type "Cell"',
    "truncated(cell, params, xs, window=2.5)": '"window" of type "int"',
    "decode.greedy(cell, params, batch, max_length=4)": '"model" of type "Decoder"',
    "decode.greedy(model, params, batch, length=4)": 'No parameter named "length"',
    "decode.beam(cell, params, batch, width=2, max_length=4)": '"model" of type "Decoder"',
    'decode.beam(model, params, batch, width="2", max_length=4)': '"width" of type "int"',
    "decode.beam(model, params, batch, width=2, max_length=4, top_k=3)": 'No parameter named "top_k"',
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """{script: messages of the type checker}; one run for all of them."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)], "include": ["."]}))
    scripts = {"right.py": RIGHT} | {f"wrong_{i}.py": line for i, line in enumerate(WRONG)}
    for name, text in scripts.items():
        (folder / name).write_text(BEGIN + text)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        pytest.skip(f"needs pyright, which did not start: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    by_script = {text: [] for text in scripts.values()}
    for problem in report["generalDiagnostics"]:
        name = problem["file"].replace("\\", "/").rpartition("/")[2]
        if problem["severity"] == "error":
            by_script[scripts[name]].append(problem["message"])
    return by_script


def test_right_calls_are_accepted(messages):
    assert messages[RIGHT] == []


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_call_is_found(line, messages):
    assert any(re.search(re.escape(WRONG[line]), message) for message in messages[line]), messages[line]
