"""Every Python block of the README, and of the pages in docs/, runs as printed.

The blocks of a page run in one process, each in a namespace of its own. A block that needs a trained run is preceded by the
comment `<!-- needs: run -->`; it then finds one in runs/language_model/latest, where the language model's own command leaves it.
"""

import re

import pytest

from tests.conftest import ROOT

BLOCK = re.compile(r"^(?P<needs><!-- needs: run -->\n+)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    page.name: list(BLOCK.finditer(page.read_text())) for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
RUN_EACH = "import runpy, sys\nfor path in sys.argv[1:]: runpy.run_path(path, run_name='__main__')"


def test_the_readme_shows_python():
    assert PAGES["README.md"], "README.md has no ```python block"


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_blocks_run_as_printed(page, tmp_path, as_user, request):
    names = []
    for block in PAGES[page]:
        if block["needs"] and not (tmp_path / "runs").exists():
            latest = tmp_path / "runs" / "language_model" / "latest"
            latest.parent.mkdir(parents=True)
            latest.symlink_to(request.getfixturevalue("tiny_run"), target_is_directory=True)
        line = block.string[: block.start("code")].count("\n") + 1
        names.append(f"line_{line}.py")  # a traceback names it
        (tmp_path / names[-1]).write_text(block["code"])
    done = as_user("-c", RUN_EACH, *names, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
