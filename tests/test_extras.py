"""Without any extra, every module imports, and a call that needs an extra names it in one line."""

import ast
import pkgutil

import pytest

import seqjax
from seqjax.errors import InputError
from seqjax.extras import from_extra

EXTRAS = "cv2 jiwer matplotlib num2words PIL sacrebleu safetensors sentencepiece sklearn soundfile soxr tensorflow torch tyro"
CALLS = {  # a call, and its error
    "seqjax.data.SubwordVocabulary.from_text('a b')": "sentencepiece is not installed: pip install 'seqjax[text]'",
    "seqjax.data.text.pairs.numbers()": "num2words is not installed: pip install 'seqjax[text]'",
    "seqjax.inspect.heat_map([[1]], ['a'], ['b'], 'a.png')": "matplotlib is not installed: pip install 'seqjax[plots]'",
    "seqjax.inspect.timeline('a.png', classes=['a'], scores=[[1.0]])": "matplotlib is not installed: pip install 'seqjax[plots]'",
    "seqjax.interop.safetensors.load('a')": "safetensors is not installed: pip install 'seqjax[interop]'",
    "seqjax.metrics.bleu(['a'], ['a'])": "sacrebleu is not installed: pip install 'seqjax[text]'",
}
WITHOUT_EXTRAS = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS.split()}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
IMPORT_AND_CALL = """
import importlib, seqjax

for name in {modules!r}:
    importlib.import_module(name)
messages = []
for call in {calls!r}:
    try:
        messages.append(repr(eval(call)))
    except seqjax.InputError as error:
        messages.append(str(error))
print(messages)
"""


def test_every_module_imports_without_extras_and_calls_name_theirs(as_user):
    modules = [module.name for module in pkgutil.walk_packages(seqjax.__path__, "seqjax.")]
    done = as_user("-c", WITHOUT_EXTRAS + IMPORT_AND_CALL.format(modules=modules, calls=list(CALLS)))
    assert done.returncode == 0, done.stderr
    assert dict(zip(CALLS, ast.literal_eval(done.stdout), strict=True)) == CALLS


def test_an_experiment_without_its_extra_ends_in_one_line(as_user):
    done = as_user("-c", WITHOUT_EXTRAS + "import experiments.translation.__main__")
    assert (done.returncode, done.stderr) == (2, "error: tyro is not installed: pip install 'seqjax[experiments]'\n")


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("import no_such_package", InputError, r"^no_such_package is not installed: pip install 'seqjax\[plots\]'$"),
        ("from seqjax.errors import NoSuchError", ImportError, "cannot import name"),
    ],
)
def test_only_an_absent_package_is_named_as_an_extra(statement, error, message):
    with pytest.raises(error, match=message), from_extra("plots"):
        exec(statement)
