"""`python -m benchmarks` as its user meets it: a run, its files and pictures, and one line for every wrong input."""

import json
import pathlib
import shutil

import pytest

from benchmarks import __main__ as program
from benchmarks import harness, peers, report, results, suites

TINY = ["--shapes", "5,3,4,6", "--rounds", "2", "--slice", "0.001"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, as_user):
    """(process, folder of the hardware class) of a small run."""
    out = tmp_path_factory.mktemp("results")
    flags = ["--suite", "layer", "floor", "--cells", "gru", "--modes", "forward", "--peers", "linen", "nnx"]
    process = as_user("-m", "benchmarks", *flags, *TINY, "--out", out, cwd=report.ROOT)
    assert process.returncode == 0, process.stderr
    return process, pathlib.Path(process.stdout.strip())


def test_a_run_says_all_about_itself(finished):
    process, folder = finished
    layer = json.loads((folder / "layer.json").read_text())
    assert layer["complete"] and layer["pace"] == {"rounds": 2, "slice": 0.001, "idle": harness.Pace().idle}
    about = layer["environment"]
    assert {"seqjax", "jax", "jaxlib", "flax", "python"} <= about["versions"].keys()
    assert about["cores"] >= 1 and about["device"] and about["date"] and folder.name == about["hardware"]
    assert "--suite layer floor --cells gru" in about["command"] and about["command"].startswith("python -m benchmarks")
    (case,) = layer["cases"]
    assert case["facts"] == {"cell": "gru", "mode": "forward", "T": 5, "B": 3, "D": 4, "H": 6}
    for name in ("seqjax", "linen", "nnx"):
        record = case["peers"][name]
        assert len(record["rounds"]) == 2 and record["compile"] > 0 and record["trace"] > 0 and record["first"] > 0
    assert case["peers"]["linen"]["difference"] < 1e-4 and case["peers"]["nnx"]["note"]
    assert "[1/2] layer: gru forward 5,3,4,6: Flax Linen" in process.stderr


def test_a_run_draws_itself(finished):
    _, folder = finished
    for name in ("layer.png", "floor.png"):
        assert (folder / name).read_bytes()[1:4] == b"PNG"
    page = (folder / "README.md").read_text()
    assert "| gru, forward | " in page and "![one layer](layer.png)" in page and "products alone" in page


def test_the_report_is_made_anew_from_the_json_alone(finished, tmp_path, capsys):
    _, folder = finished
    copy = tmp_path / folder.name
    copy.mkdir()
    for path in folder.glob("*.json"):
        shutil.copy(path, copy)
    assert program.main(["report", str(tmp_path)]) == 0
    assert {path.name for path in copy.iterdir()} == {path.name for path in folder.iterdir()}
    assert (copy / "README.md").read_text() == (folder / "README.md").read_text()
    assert str(copy / "layer.png") in capsys.readouterr().out


def test_results_are_read_as_they_were_written(tmp_path):
    single = {"suite": "layer", "dtype": "float32", "environment": {"versions": {}}, "pace": {}, "complete": False, "cases": []}
    half = single | {"dtype": "bfloat16"}
    for of_dtype in (single, half):
        results.write(tmp_path / "new", of_dtype)
    assert results.read(tmp_path / "new") == {"layer": single, "layer-bfloat16": half}
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"layer.json", "layer-bfloat16.json"}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--suite speed", "unknown suite 'speed': it must be one of layer, lines,"),
        ("--peers tensorflow", "unknown peer 'tensorflow': it must be one of linen, nnx,"),
        ("--cells rnn", "argument --cells: invalid choice: 'rnn'"),
        ("--modes backward", "argument --modes: invalid choice: 'backward'"),
        ("--shapes 1,2,3", "'1,2,3' is not T,B,D,H: four sizes of at least 1"),
        ("--shapes 0,1,2,3", "'0,1,2,3' is not T,B,D,H"),
        ("--shapes 1,2,x,3", "'1,2,x,3' is not T,B,D,H"),
        ("--suite long --shapes 1,2,3,4", "suite 'long' has its own sizes"),
        ("--rounds 0", "'0' is not a whole number above 0"),
        ("--rounds 1.5", "'1.5' is not a whole number above 0"),
        ("--slice nan", "'nan' is not a number above 0"),
        ("--dtype float8", "argument --dtype: invalid choice: 'float8'"),
        ("--speed", "unrecognized arguments: --speed"),
        ("--suite decode --modes training", "nothing to measure: decode has no case"),
        ("report nowhere", "nowhere is no folder"),
        ("report {empty}", "holds no results"),
        ("report {broken}", "layer.json does not hold results of `python -m benchmarks`"),
    ],
)
def test_a_wrong_input_is_told_in_one_line(argv, line, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(harness, "cold", lambda: pytest.fail("something was measured"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "layer.json").write_text('{"suite": "layer"}')
    argv = argv.format(empty=tmp_path / "empty", broken=tmp_path / "broken")
    assert program.main(argv.split()) == 2
    out, err = capsys.readouterr()
    (message,) = [text for text in err.splitlines() if "is not installed: left out" not in text]
    assert not out and message.startswith("error: ") and line in message


def test_a_peer_that_is_not_installed(capsys, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda name: name != "keras")
    assert "keras" not in program.pick_peers(None)
    assert capsys.readouterr().err == "Keras 3 on JAX is not installed: left out\n"
    assert program.main(["--peers", "keras"]) == 2
    assert "peer 'keras' is not installed" in capsys.readouterr().err


def test_the_list_names_suites_and_peers(capsys):
    assert program.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in (*suites.SUITES, *peers.NAMES))


def test_ctrl_c_keeps_what_was_measured(tmp_path, capsys, monkeypatch):
    measured = iter([{"seqjax": {"seconds": {"median": 1.0}}}])

    def measure(works, pace, **options):
        try:
            return next(measured)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(harness, "cold", lambda: None)
    monkeypatch.setattr(harness, "measure", measure)
    flags = ["--suite", "layer", "--peers", "--cells", "lstm", *TINY, "--out", str(tmp_path)]
    assert program.main(flags) == 130
    assert "stopped" in capsys.readouterr().err
    (path,) = tmp_path.glob("*/layer.json")
    written = json.loads(path.read_text())
    assert not written["complete"] and len(written["cases"]) == 1


def record(seconds, ratio=None, **fields):
    summary = {"median": seconds, "low": seconds, "high": seconds}
    relative = {} if ratio is None else {"ratio": {"median": ratio, "low": ratio * 0.9, "high": ratio * 1.1}}
    return {"seconds": summary, "first_call": 0.5, "memory": 3 * 2**20} | relative | fields


def made_up(suite, facts):
    """Results of a suite whose peers take twice and half of seqjax's time, then eight times and half."""
    cases = []
    for i, about in enumerate(facts):
        named = {"seqjax": record(0.25), "linen": record(0.5, (2.0, 8.0)[i % 2]), "torch": record(0.125, 0.5)}
        cases.append({"facts": about, "tokens": 1000, "missing": {}, "peers": named})
    about = {"hardware": "abacus", "device": "beads", "cores": 1, "platform": "wood", "load_average_before": None}
    about |= {"date": "2026-01-01", "commit": "0", "versions": {"jax": "0"}}
    pace = {"rounds": 5, "slice": 0.1}
    return {"suite": suite, "environment": about, "pace": pace, "dtype": "float32", "complete": True, "cases": cases}


def test_tables_say_what_the_records_say(tmp_path):
    sizes = [{"T": 8, "B": 2, "D": 3, "H": 4}, {"T": 16, "B": 2, "D": 3, "H": 4}]
    kinds = {
        "layer": [{"cell": "lstm", "mode": "training"} | size for size in sizes],
        "lines": [{"cell": "lstm", "mode": "training", "varied": "T"} | size for size in sizes],
        "decode": [size | {"V": 9} for size in sizes[:1]],
        "long": [{"cell": "lstm", "mode": "training"} | size for size in sizes],
    }
    for suite, facts in kinds.items():
        results.write(tmp_path / "abacus", made_up(suite, facts))
    drawn = report.write(tmp_path)
    assert {path.name for path in drawn} == {"layer.png", "lines.png", "decode.png", "long.png", "README.md"}
    assert all(path.stat().st_size > 5000 for path in drawn if path.suffix == ".png")
    page = (tmp_path / "abacus" / "README.md").read_text()
    assert "| lstm, training (2 sizes) | 4.00 (2.00) | 0.50 (0.50) |" in page
    assert "| lstm, training | 0.50 | 0.50 | 0.50 |" in page  # first calls
    assert "| lstm training T=8 B=2 D=3 H=4 | 250.0 | 500.0 | 125.0 |" in page
    assert "| T=8 B=2 D=3 H=4 V=9 | 4,000 | 2,000 | 8,000 |" in page
    assert "| lstm training T=16 B=2 D=3 H=4 | 250 ms, 3.0 MB | 500 ms, 3.0 MB | 125 ms, 3.0 MB |" in page
    assert page.index("One layer\n") < page.index("Decoding") < page.index("Long sequences")


def test_the_page_shows_the_committed_results():
    page = report.PAGE.read_text()
    if any(report.COMMITTED.glob("*/*.json")):
        assert page == report.between_markers(page, report.sections(report.COMMITTED)), "python -m benchmarks report"
    with pytest.raises(report.InputError, match="has lost its markers"):
        report.between_markers(page.replace(report.MARKERS[1], ""), "text")
