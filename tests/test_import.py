"""`import seqjax` loads little, and every name that it exports exists."""

import ast
import types

import seqjax
from tests.conftest import ROOT

HEAVY = """
    flax optax orbax grain tensorflow_datasets array_record tensorstore matplotlib tyro rich etils tensorflow torch
"""


def test_import_loads_nothing_heavy(as_user):
    code = f"import sys, seqjax; print(*(m for m in {HEAVY!r}.split() if m in sys.modules))"
    done = as_user("-c", code, check=True)
    assert done.stdout.split() == [], f"import seqjax loads {done.stdout.split()}: import them where they are used"


def test_every_public_name_is_there():
    assert seqjax.__all__, "seqjax exports nothing"
    assert sorted(set(seqjax.__all__)) == sorted(seqjax.__all__), "a name is listed twice"
    missing = [name for name in seqjax.__all__ if not hasattr(seqjax, name)]
    assert not missing, f"listed in seqjax.__all__ but not there: {missing}"
    assert set(dir(seqjax)) == {*seqjax.__all__, *seqjax._NOT_STARRED, *seqjax._FOLDERS, "__version__"}


def test_type_checkers_see_every_public_name():
    block = next(node for node in ast.parse((ROOT / "seqjax" / "__init__.py").read_text()).body if isinstance(node, ast.If))
    typed = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(typed) == sorted([*seqjax.__all__, *seqjax._NOT_STARRED, *seqjax._FOLDERS])


def test_no_public_name_hides_a_module():
    """`seqjax.<name>` must not mean a function before `import seqjax.<name>` and a module after it."""
    both = [
        name
        for name in seqjax.__all__
        if any((ROOT / "seqjax" / file).exists() for file in (f"{name}.py", f"{name}/__init__.py"))
        and not isinstance(getattr(seqjax, name), types.ModuleType)
    ]
    assert not both, f"both a module and something else: {both}"


def test_an_unknown_name_is_refused_as_python_does():
    assert not hasattr(seqjax, "no_such_name")


def test_a_star_import_hides_no_name_of_python_or_jax():
    import builtins
    import sys

    import jax

    others = {*dir(builtins), *sys.stdlib_module_names, *dir(jax), "np", "jnp", "jax", "export"}
    assert not others & set(seqjax.__all__)
    names = {"export": jax.export}
    exec("from seqjax import *", names)
    assert names["export"] is jax.export and names["LSTM"] is seqjax.LSTM
