"""Every Python block of the README, of the pages in docs/ and of the experiments' pages runs as printed.

The blocks of a page run in one process, each in a namespace of its own. A block that needs a run is preceded by the comment
`<!-- needs: run -->`; the run that it names, such as runs/translation/latest, is then where the experiment would leave it.
A block preceded by `<!-- needs: torch -->`, or another package, is left out where that is not installed.
"""

import importlib.util
import re

import optax
import pytest

from seqjax import GRU
from seqjax.attention import Attentive, Dot
from seqjax.data.text.words import WordVocabulary
from seqjax.models import Seq2Seq, Symbols
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.description import describe_run
from seqjax.train.runs.folder import RunFolder
from seqjax.train.state import init_state
from tests.conftest import ROOT

BLOCK = re.compile(r"^(?:<!-- needs: (?P<needs>\w+) -->\n+)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "experiments").glob("*/README.md"))]
PAGES = {str(page.relative_to(ROOT)): list(BLOCK.finditer(page.read_text())) for page in FILES}
RUN = re.compile(r"runs/(\w+)/latest")
RUNS = {"language_model": "tiny_run", "translation": "translation_run"}  # the fixture that makes a run of each experiment
SLOW = {"docs/memory.md", "docs/devices.md"}
RUN_EACH = "import runpy, sys\nfor path in sys.argv[1:]: runpy.run_path(path, run_name='__main__')"


def test_the_readme_shows_python():
    assert PAGES["README.md"], "README.md has no ```python block"


@pytest.fixture
def translation_run(tmp_path_factory):
    """The folder of a translator that is saved before its first step of training."""
    words = WordVocabulary(words=("<fr>", "ninety-seven"), pad=0, unknown=1, start=2, end=3)
    cell, attention = GRU(input_size=2, hidden_size=3), Dot(query_size=3, memory_size=3)
    model = Seq2Seq(
        encoder=Symbols(size=len(words), embedding_size=2, cell=cell),
        decoder=Attentive(cell=cell, attention=attention, output_size=2),
        target_size=len(words),
        embedding_size=2,
        start_symbol=2,
        end_symbol=3,
        forbidden=(0,),
    )
    run = RunFolder.create(str(tmp_path_factory.mktemp("runs") / "translation"), experiment="translation", preset="tiny")
    settings = {"overrides": {}, "config": {}, "model": model, "vocabulary": (words, words)}
    run.write_config(describe_run(experiment="translation", preset="tiny", **settings))
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.save("last", init_state(model, optax.sgd(0.1), batch_size=1, seed=0), {})
    return run.dir


@pytest.mark.parametrize("page", [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PAGES if PAGES[p]])
def test_blocks_run_as_printed(page, tmp_path, as_user, request):
    names = []
    for block in PAGES[page]:
        if block["needs"] not in (None, "run") and importlib.util.find_spec(block["needs"]) is None:
            continue
        for experiment in RUN.findall(block["code"]) if block["needs"] == "run" else ():
            latest = tmp_path / "runs" / experiment / "latest"
            if not latest.exists():
                latest.parent.mkdir(parents=True)
                latest.symlink_to(request.getfixturevalue(RUNS[experiment]), target_is_directory=True)
        line = block.string[: block.start("code")].count("\n") + 1
        names.append(f"line_{line}.py")  # a traceback names it
        (tmp_path / names[-1]).write_text(block["code"])
    done = as_user("-c", RUN_EACH, *names, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
