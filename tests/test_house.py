"""The house keeps its floors: what each file may import, how files are named, documented and shipped.

Imports are read, not run: every `import` counts, also one inside a function or under TYPE_CHECKING.
"""

import ast
import inspect
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import types
import zipfile

import pytest
from packaging.requirements import Requirement

import seqjax
from tests.conftest import ROOT

PACKAGES = ("seqjax", "experiments", "benchmarks")
FLOORS = {  # a file, or a folder with all its files: its floor
    "types.py": 0, "tree.py": 0, "masks.py": 0, "noise.py": 0, "initializers.py": 0, "serial.py": 0, "errors.py": 0,
    "extras.py": 0, "exporting.py": 0, "activations.py": 0,
    "products.py": 0, "placement.py": 0, "hoisting.py": 0, "checks.py": 0, "drawing.py": 0, "weighted.py": 0, "categorical.py": 0,
    "thresholds.py": 0, "tables.py": 0, "values.py": 0, "linen.py": 0, "writing.py": 0, "annotations.py": 0, "parameters.py": 0,
    "contracts.py": 1, "gates.py": 1, "linear.py": 1, "parts.py": 1, "losses/": 1, "metrics/": 1, "data/": 1,
    "cells/": 2, "recurrence/": 2,
    "compose/": 3, "layers/": 3, "symbols/": 3, "bridge.py": 3, "attention/": 3, "decode/": 3, "probabilistic/": 3,
    "vision/": 4, "models/": 4, "interop/": 4, "testing/": 4,
    "train/": 5, "inspect/": 5,
    "__init__.py": 6,
}  # fmt: skip
FLOORS = {f"seqjax/{name}": floor for name, floor in FLOORS.items()} | {
    "experiments/": 7,
    "experiments/*/": 8,  # no experiment knows another
    "benchmarks/": 9,
}
BACKENDS_OF_CELLS = {  # a backend made for certain cells may import them
    "seqjax/recurrence/gpu/pallas.py": {"seqjax/cells/lstm.py", "seqjax/cells/gru.py"},
}
NOT_FOR_THE_LIBRARY = {"experiments", "tests", "benchmarks"}
NOT_FOR_DATA = {"jax", "jaxlib", "flax", "optax", "orbax"}
FIRST_WORDS_THAT_RIDDLE = {"what", "how", "where", "which", "whether", "why", "as"}
LINES = {"seqjax": 400, "experiments": 450, "benchmarks": 450, "tests": 450}  # of a file
LINES_OF_EXPERIMENTS = {"translation": 600, "language_model": 450}  # all Python files of an experiment; any other: 500


# Parsing of the files.


def modules_of(root):
    """Every file of the packages below root by its path, parsed."""
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {path.relative_to(root).as_posix(): ast.parse(path.read_text()) for path in paths}


def imports_of(path, tree, files):
    """The imports of a file: (files of these packages, top-level names of everything else)."""
    package = path.split("/")[:-1]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            names += [[*start, *(node.module or "").split("."), alias.name] for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            names += [a.value.split(".") for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    names = [[part for part in name if part] for name in names]
    ours = {tuple(name): file_of(name, files) for name in names}
    return set(ours.values()) - {None}, {name[0] for name, file in ours.items() if file is None}


def file_of(parts, files):
    """The file that holds the longest prefix of a dotted name, or None."""
    for n in range(len(parts), 0, -1):
        for path in ("/".join(parts[:n]) + ".py", "/".join([*parts[:n], "__init__.py"])):
            if path in files:
                return path
    return None


def floor_of(path):
    room = re.sub(r"^experiments/[^/]+/", "experiments/*/", folder_of(path) + "/")
    return FLOORS.get(path, FLOORS.get(room))


def folder_of(path):
    """The folder whose files may import each other if they are on the same floor."""
    folders = path.split("/")[:-1]
    return "/".join(folders[: 1 if folders[0] == "benchmarks" else 2])


def public_definitions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def documented(tree):
    """Everything in a file that has a docstring, paired with it: the file, classes, methods, functions."""
    kinds = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [(node, doc) for node in ast.walk(tree) if isinstance(node, kinds) and (doc := ast.get_docstring(node))]


# The rules: each takes the parsed files, and yields a line for every breach.


def broken_floors(files):
    for path, tree in files.items():
        floor = floor_of(path)
        if floor is None:
            yield f"{path} has no floor: give it one in tests/test_house.py, or put it where it belongs"
            continue
        ours, others = imports_of(path, tree, files)
        for other in sorted(ours - {path}):
            above = floor_of(other)
            same_room = above == floor and folder_of(other) == folder_of(path)
            if above is None or above < floor or same_room or other in BACKENDS_OF_CELLS.get(path, ()):
                continue
            yield f"{path} (floor {floor}) imports {other} (floor {above})"
        for name in sorted(others & NOT_FOR_THE_LIBRARY) if path.startswith("seqjax/") else ():
            yield f"{path} imports {name}: the library does not know its users"


def circles(files):
    graph = {path: sorted(imports_of(path, tree, files)[0] - {path}) for path, tree in files.items()}
    done = set()

    def visit(path, trail):
        if path in trail:
            yield "a circle of imports: " + " -> ".join([*trail[trail.index(path) :], path])
        elif path not in done:
            for other in graph[path]:
                yield from visit(other, [*trail, path])
            done.add(path)

    for path in graph:
        yield from visit(path, [])


def models_that_know_each_other(files):
    parts = ("seqjax/models/__init__.py", "seqjax/models/encoders.py", "seqjax/models/conditional.py")
    models = {path for path in files if path.startswith("seqjax/models/") and path not in parts}
    for path in sorted(models):
        for other in sorted(imports_of(path, files[path], files)[0] & (models - {path})):
            yield f"{path} imports {other}: no model imports another"


def jax_in_data(files):
    reached = {path: None for path in files if path.startswith("seqjax/data/")}
    for path in (queue := list(reached)):
        ours, others = imports_of(path, files[path], files)
        for name in sorted(others & NOT_FOR_DATA):
            yield f"{path} imports {name}: reading data needs no JAX" + f" (by way of {reached[path]})" * bool(reached[path])
        for other in sorted(ours - reached.keys() - {"seqjax/__init__.py"}):
            reached[other] = path
            queue.append(other)


def eager_exports(files):
    path = "seqjax/__init__.py"
    within_functions = {n for f in ast.walk(files[path]) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(files[path]):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            within_functions |= set(ast.walk(node))
    tree = ast.Module([n for n in ast.walk(files[path]) if isinstance(n, ast.Import | ast.ImportFrom)], [])
    tree.body = [node for node in tree.body if node not in within_functions]
    ours, others = imports_of(path, tree, files)
    for name in sorted(ours | (others - set(sys.stdlib_module_names))):
        yield f"{path} imports {name} when it is imported: export it lazily"


def bad_names(files):
    for path, tree in files.items():
        stem = path.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")[2]
        if stem in ("utils", "util", "helpers", "misc", "_src") or "_src" in path.split("/"):
            yield f"{path}: name a file after its contents"
        defined = {node.name for node in public_definitions(tree)}
        defined |= {
            target.id for n in tree.body if isinstance(n, ast.Assign) for target in n.targets if isinstance(target, ast.Name)
        }
        if path.endswith("__init__.py"):
            defined |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        if stem in defined:
            yield f"{path} is named like the {stem} in it"


def bad_docstrings(files):
    for path, tree in files.items():
        if tree.body and not ast.get_docstring(tree):
            yield f"{path} has no docstring"
        for node in public_definitions(tree):
            where = f"{path}:{node.lineno} {node.name}"
            doc = ast.get_docstring(node)
            if not doc and path.startswith("benchmarks/"):
                continue
            if not doc:
                yield f"{where} has no docstring"
            elif not doc.splitlines()[0].endswith(".") or (doc.splitlines()[1:] and doc.splitlines()[1].strip()):
                yield f"{where}: the docstring's first line is not one sentence with a full stop and an empty line after it"


def bad_first_words(files):
    for path, tree in files.items():
        for node, doc in documented(tree):
            word = re.match(r"\W*(\w*)", doc)[1]
            if word.lower() in FIRST_WORDS_THAT_RIDDLE:
                where = f"{path}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', 'the file')}"
                yield f"{where}: the docstring begins with {word}, not with a noun or an imperative: {doc.splitlines()[0]}"


RULES = [
    broken_floors,
    circles,
    models_that_know_each_other,
    jax_in_data,
    eager_exports,
    bad_names,
    bad_docstrings,
    bad_first_words,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_keeps(rule):
    breaches = list(rule(modules_of(ROOT)))
    assert not breaches, "\n" + "\n".join(breaches)


PLAIN = {
    "__init__.py": "",
    "masks.py": "",
    "contracts.py": '"""Contracts."""\nimport jax',
    "compose/__init__.py": "",
    "cells/__init__.py": "",
    "cells/lstm.py": '"""LSTM."""\nfrom seqjax.cells.gru import GRU',
    "cells/gru.py": "",
    "recurrence/scan.py": "",
    "models/a.py": "",
    "data/text.py": "",
    "experiments/session.py": "",
    "experiments/a/main.py": '"""An experiment."""\nfrom experiments import session\nfrom experiments.a import text',
    "experiments/a/text.py": "",
    "benchmarks/suites/__init__.py": "",
    "benchmarks/peers.py": '"""Libraries."""\nfrom benchmarks import suites',
}


def build(root, files):
    for name, content in files.items():
        path = root / name if name.split("/")[0] in PACKAGES else root / "seqjax" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.mark.parametrize(
    ("rule", "path", "text", "message"),
    [
        (broken_floors, "masks.py", "import seqjax.contracts", "masks.py (floor 0) imports seqjax/contracts.py (floor 1)"),
        (broken_floors, "masks.py", "from seqjax import contracts", "imports seqjax/contracts.py"),
        (broken_floors, "masks.py", "from . import contracts", "imports seqjax/contracts.py"),
        (broken_floors, "cells/gru.py", "from ..compose import Stack", "gru.py (floor 2) imports seqjax/compose/"),
        (broken_floors, "cells/gru.py", "from seqjax.recurrence.scan import f", "imports seqjax/recurrence/scan.py (floor 2)"),
        (broken_floors, "masks.py", "def f():\n    from seqjax.contracts import Cell", "imports seqjax/contracts.py"),
        (broken_floors, "masks.py", "from seqjax import LSTM", "imports seqjax/__init__.py"),
        (broken_floors, "recurrence/scan.py", "from seqjax.cells.gru import GRU", "imports seqjax/cells/gru.py"),
        (broken_floors, "masks.py", "importlib.import_module('seqjax.contracts')", "imports seqjax/contracts.py"),
        (broken_floors, "masks.py", "import experiments.runs", "imports experiments"),
        (broken_floors, "masks.py", "from experiments.a.main import main", "imports experiments/a/main.py (floor 8)"),
        (broken_floors, "experiments/b/main.py", "from experiments.a import main", "imports experiments/a/main.py (floor 8)"),
        (broken_floors, "experiments/session.py", "from experiments.a import main", "imports experiments/a/main.py (floor 8)"),
        (broken_floors, "experiments/session.py", "from benchmarks import suites", "imports benchmarks/suites/__init__.py"),
        (broken_floors, "wanderer.py", "", "seqjax/wanderer.py has no floor"),
        (broken_floors, "rooms/one.py", "", "seqjax/rooms/one.py has no floor"),
        (circles, "cells/gru.py", "from seqjax.cells import lstm", "cells/gru.py -> seqjax/cells/lstm.py -> seqjax/cells/gru.py"),
        (circles, "experiments/a/text.py", "from experiments.a import main", "experiments/a/text.py -> experiments/a/main.py"),
        (circles, "benchmarks/suites/__init__.py", "from benchmarks import peers", "peers.py -> benchmarks/suites/__init__.py"),
        (models_that_know_each_other, "models/b.py", "from seqjax.models.a import A", "no model imports another"),
        (jax_in_data, "data/text.py", "import jax.numpy as jnp", "data/text.py imports jax"),
        (jax_in_data, "data/text.py", "from seqjax.contracts import Cell", "contracts.py imports jax"),
        (eager_exports, "__init__.py", "from seqjax.contracts import Cell", "imports seqjax/contracts.py when it is imported"),
        (eager_exports, "__init__.py", "import jax", "imports jax when it is imported"),
        (bad_names, "cells/gru.py", "def gru(): ...", "cells/gru.py is named like the gru in it"),
        (bad_names, "data/utils.py", "", "name a file after its contents"),
        (bad_names, "benchmarks/helpers.py", "", "name a file after its contents"),
        (bad_first_words, "masks.py", '"""Where padding is."""', "masks.py:1 the file: the docstring begins with Where"),
        (bad_first_words, "masks.py", 'class F:\n    def f():\n        """What it gives."""', "masks.py:2 f: the docstring"),
        (bad_docstrings, "experiments/a/text.py", "x = 1", "experiments/a/text.py has no docstring"),
        (bad_docstrings, "masks.py", '"""Masks."""\ndef f(): ...', "masks.py:2 f has no docstring"),
        (bad_docstrings, "masks.py", '"""Masks."""\nclass F:\n    """No stop"""', "masks.py:2 F: the docstring's first line"),
        (bad_docstrings, "masks.py", "x = 1", "masks.py has no docstring"),
    ],
)  # fmt: skip
def test_a_breach_is_caught(rule, path, text, message, tmp_path):
    build(tmp_path, PLAIN | {path: text})
    breaches = list(rule(modules_of(tmp_path)))
    assert len(breaches) == 1, breaches
    assert message in breaches[0]


def test_what_is_allowed_is_not_a_breach(tmp_path):
    house = {
        "__init__.py": '"""All."""\ndef __getattr__(name):\n    from seqjax.layers.chain import f',
        "types.py": '"""Types."""',
        "masks.py": '"""Masks."""\nfrom seqjax.types import Array',
        "cells/__init__.py": "",
        "cells/lstm.py": '"""LSTM."""\nfrom seqjax import masks\nclass LSTM:\n    """A cell."""',
        "cells/gru.py": '"""GRU."""\nfrom seqjax.cells.lstm import LSTM',
        "recurrence/gpu/pallas.py": '"""Pallas."""\nfrom seqjax.cells.lstm import LSTM',
        "compose/stack.py": '"""Composites."""\nfrom seqjax.cells import gru',
        "layers/chain.py": '"""Layers."""\nimport jax\nfrom seqjax.cells.lstm import LSTM',
        "data/text.py": '"""Text."""\nimport grain\nfrom seqjax.masks import from_lengths',
        "experiments/session.py": '"""Sessions."""\nimport seqjax\nfrom seqjax.cells.lstm import LSTM',
        "experiments/a/main.py": '"""An experiment."""\nfrom experiments.session import f\nfrom experiments.a.text import g',
        "experiments/a/text.py": '"""Its text."""\nfrom seqjax.data import text',
        "benchmarks/network.py": '"""A network."""\nimport seqjax',
        "benchmarks/suites/layer.py": '"""One layer."""\nfrom benchmarks.network import f',
    }
    build(tmp_path, house)
    assert [line for rule in RULES for line in rule(modules_of(tmp_path))] == []


# The docstrings of the top-level names.


@pytest.mark.parametrize("name", getattr(seqjax, "__all__", []))
def test_top_level_name_is_explained(name):
    thing = getattr(seqjax, name)
    if isinstance(thing, types.ModuleType):
        return
    doc = inspect.getdoc(thing) or ""
    signature = inspect.Signature() if inspect.isclass(thing) and issubclass(thing, Exception) else inspect.signature(thing)
    parts = ["Args:"] * bool(signature.parameters) + [">>>"]
    if not inspect.isclass(thing) and signature.return_annotation is not None:
        parts.append("Yields:" if inspect.isgeneratorfunction(inspect.unwrap(thing)) else "Returns:")
    missing = [part for part in parts if part not in doc]
    assert not missing, f"seqjax.{name}'s docstring lacks {', '.join(missing)}"


# The repository and the wheel.


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git clone")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_of(path):
    return len(path.read_text().splitlines())


def test_files_are_short():
    counts = {path: (lines_of(path), limit) for folder, limit in LINES.items() for path in (ROOT / folder).rglob("*.py")}
    long = {str(path.relative_to(ROOT)): count for path, (count, limit) in counts.items() if count > limit}
    assert not long, f"longer than {LINES}: {long}"


def test_experiments_are_short():
    folders = [path.parent for path in (ROOT / "experiments").glob("*/__main__.py")]
    counts = {folder.name: sum(map(lines_of, folder.rglob("*.py"))) for folder in folders}
    long = {name: count for name, count in counts.items() if count > LINES_OF_EXPERIMENTS.get(name, 500)}
    assert not long, (
        f"lines of Python, over {LINES_OF_EXPERIMENTS} or 500: {long}; move code that others could use into experiments/"
    )


def test_no_registry_is_named():
    named = re.compile(rb"(?<!--no-emit-)index-url|find-links[ =]+\S*/|pythonhosted|pypi\.org/simple|://(pypi|pip)[\w.-]*[:/]")
    here = pathlib.Path(__file__).resolve()
    naming = [str(path.relative_to(ROOT)) for path in tracked_files() if path != here and named.search(path.read_bytes())]
    assert not naming, f"a package registry's address or option is in {naming}"


def locked():
    """The lock's requirements, each with its lines."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    return [(Requirement(re.split(r" \\\n|\n", block)[0]), block) for block in blocks]


def test_lock_is_hashed_and_names_no_place():
    assert "://" not in (ROOT / "requirements.lock").read_text()
    loose = [str(requirement) for requirement, block in locked() if "--hash=sha256:" not in block]
    assert not loose, f"without a hash: {loose}"
    open_ended = [str(requirement) for requirement, _ in locked() if not str(requirement.specifier).startswith("==")]
    assert not open_ended, f"without a version: {open_ended}"


def extra(name, project):
    """The requirements of an extra, and of the extras that it names."""
    requirements = [Requirement(line) for line in project["optional-dependencies"][name]]
    inner = [one for requirement in requirements if requirement.name == project["name"] for one in requirement.extras]
    return [r for r in requirements if r.name != project["name"]] + [r for one in inner for r in extra(one, project)]


def test_lock_serves_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = {}
    for requirement, _ in locked():
        versions.setdefault(requirement.name, []).append(str(requirement.specifier).removeprefix("=="))
    core = [Requirement(line) for line in project["dependencies"]]
    for needed in [*core, *extra("dev", project), *extra("experiments", project)]:
        pinned = versions.get(needed.name, [])
        assert pinned and all(needed.specifier.contains(version) for version in pinned), (
            f"{needed}: the lock has {pinned}; run make lock"
        )


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
UNINDEXED = ("--quiet", "--no-build-isolation", "--no-deps")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository, in a folder named seqjax."""
    made = {".git", ".venv", ".cache", "runs", "build", "dist"}
    copy = tmp_path_factory.mktemp("parent") / "seqjax"
    return shutil.copytree(ROOT, copy, ignore=lambda folder, names: made if folder == str(ROOT) else {"__pycache__"})


def test_wheel_holds_the_library_only(clone, tmp_path):
    subprocess.run([*PIP, "wheel", *UNINDEXED, "--wheel-dir", tmp_path, clone], check=True)
    (path,) = tmp_path.glob("*.whl")
    wheel = zipfile.ZipFile(path)
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"seqjax"}
    assert {name for name in names if name.endswith(".py")} == {path for path in modules_of(ROOT) if path.startswith("seqjax/")}
    assert "seqjax/py.typed" in names and any(name.endswith("licenses/LICENSE") for name in names)
    (metadata,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    relative = re.findall(r"\]\((?!https://)[^)]*\)", metadata)
    assert not relative, f"addresses that lead nowhere on a package index: {relative}"


def test_an_editable_install_works_from_the_clones_parent(clone, tmp_path):
    """The clone's folder, which Python finds first there, must not hide the library in it."""
    subprocess.run([*PIP, "install", *UNINDEXED, "--target", tmp_path, "--editable", clone], check=True)
    code = f"import site; site.addsitedir({str(tmp_path)!r}); import seqjax; print(seqjax.__file__, 'unroll' in dir(seqjax))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=clone.parent, capture_output=True, text=True)
    assert done.stdout.split() == [str(clone / "seqjax" / "__init__.py"), "True"], done.stderr
