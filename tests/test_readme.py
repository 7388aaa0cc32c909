"""Every Python block of the README, and of the pages in docs/, runs as printed.

A block that needs a trained run is preceded by the comment `<!-- needs: run -->`; it then finds one in
runs/language_model/latest, where the language model's own command leaves it.
"""

import re

import pytest

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?P<needs><!-- needs: run -->\n+)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block["code"], bool(block["needs"]), id=f"{page.name}-line{text[: block.start('code')].count(chr(10)) + 1}")
    for page in PAGES
    for text in [page.read_text()]
    for block in BLOCK.finditer(text)
]


def test_the_readme_shows_python():
    assert BLOCK.search(PAGES[0].read_text()), "README.md has no ```python block"


@pytest.mark.parametrize(("code", "needs_run"), BLOCKS)
def test_block_runs_as_printed(code, needs_run, tmp_path, as_user, request):
    if needs_run:
        latest = tmp_path / "runs" / "language_model" / "latest"
        latest.parent.mkdir(parents=True)
        latest.symlink_to(request.getfixturevalue("tiny_run"), target_is_directory=True)
    (tmp_path / "block.py").write_text(code)
    done = as_user("block.py", cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
