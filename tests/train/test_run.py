import os

import pytest

from seqjax.cells.elman import Elman
from seqjax.data.text.subwords import SubwordVocabulary
from seqjax.errors import InputError, InputWarning
from seqjax.models.language_model import LanguageModel
from seqjax.train.runs.description import check_same_run, describe_run
from seqjax.train.runs.folder import RunFolder
from seqjax.train.runs.load import load_run


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    def create():
        return RunFolder.create(str(tmp_path), experiment="toy", preset="tiny")

    (tmp_path / "config.json.part").touch()  # of a process that was killed before it had written anything
    create().write_config({})
    with pytest.raises(
        InputError, match=f"{tmp_path} exists: name another folder, or continue that run with --resume {tmp_path}"
    ):
        create()
    (tmp_path / "config.json").rename(tmp_path / "notes.json")
    with pytest.raises(InputError, match=f"{tmp_path} exists and is not empty: name another folder"):
        create()
    with pytest.raises(InputError, match=r"notes.json/run cannot be written: Not a directory"):
        RunFolder.create(str(tmp_path / "notes.json" / "run"), experiment="toy", preset="tiny")


def test_the_default_folder_and_its_latest_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [RunFolder.create(None, experiment="toy", preset="a").dir for _ in range(3)]  # in the same second, most often
    assert len(set(runs)) == 3 and all(str(run).startswith("runs/toy/a-2") and (tmp_path / run).is_dir() for run in runs)
    latest = tmp_path / "runs" / "toy" / "latest"
    assert latest.is_symlink() and latest.resolve() == (tmp_path / runs[-1]).resolve()
    assert len(list(latest.parent.iterdir())) == 4

    def refuse(*paths):
        raise PermissionError("links are not allowed")

    monkeypatch.setattr(os, "symlink", refuse)
    assert (
        RunFolder.create(None, experiment="toy", preset="b").dir.is_dir() and latest.resolve() == (tmp_path / runs[-1]).resolve()
    )


def test_resuming_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing to resume: .*none has no config.json, so it is not a run folder"):
        RunFolder.resume(tmp_path / "none")


def test_loading_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is not a run folder: it has no config.json"):
        load_run(tmp_path)
    for content, damage in (("{", ""), ("3", ": it has no preset, config"), ('["preset"]', ": it has no preset, config")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match=f"config.json is damaged{damage}"):
            load_run(tmp_path)


def test_a_damaged_config_is_named_by_whatever_refuses_it(tmp_path):
    run, vocabulary = RunFolder(tmp_path), SubwordVocabulary.from_text("low lower lowest\n" * 9, max_size=20)
    model = LanguageModel(vocabulary_size=len(vocabulary), cell=Elman(input_size=20, hidden_size=2))
    names = {"experiment": "toy", "preset": "tiny", "overrides": {}, "config": {"seed": 0}}
    written = describe_run(**names, model=model, vocabulary=vocabulary)
    run.write_config(written)
    assert run.read_config() == written  # which tells of nothing
    with pytest.raises(InputError, match=r"^cannot continue with another seed"), run.config_blamed():
        check_same_run(written, written | {"config": {}})
    with pytest.raises(KeyError), run.config_blamed():
        written["paths"]
    content, start = (tmp_path / "config.json").read_text(), rf"^{tmp_path}/config.json is damaged or was edited: "
    damages = {  # and what is said by loading the run
        ("Elman", "Elmam"): "type Elmam is not registered",
        (vocabulary.model[:8], "A" * 8): "the sub-word model is damaged",
        ('"hidden_size"', '"hidden_sizd"'): "Elman: missing a required argument: .hidden_size",
        ('"vocabulary_size": 20', '"vocabulary_size": 21'): "the cell reads .20,., one-hot symbols .* 21 features",
    }
    for (old, new), reason in damages.items():
        assert old in content
        (tmp_path / "config.json").write_text(content.replace(old, new))
        with pytest.warns(InputWarning, match="not what was written"), pytest.raises(InputError, match=start + reason):
            load_run(tmp_path)
        with pytest.warns(InputWarning, match="not what was written"):
            damaged = run.read_config()
        with pytest.raises(InputError, match=start + "cannot continue with another (model|vocabulary)"), run.config_blamed():
            check_same_run(damaged, written)
        with pytest.raises(InputError, match=start + "KeyError: 'paths'"), run.config_blamed():
            damaged["paths"]
    with pytest.raises(InputError, match=r"config.json is damaged: it has no planned_steps"):
        run.read_config("planned_steps")


def test_metrics_are_lines(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_metrics() == []
    for step in (1, 2, 3):
        run.append_metrics(step=step, split="train", loss=float("nan") if step == 2 else 0.1 * step)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "spl')  # a crash in the middle of a line
    assert run.read_metrics()[1] == {"step": 2, "split": "train", "loss": None}
    run.trim(2)
    assert [line["step"] for line in run.read_metrics()] == [1, 2]
    assert (tmp_path / "metrics.jsonl").read_text().endswith("}\n")


def test_one_bad_byte_costs_one_line(tmp_path):
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        run.append_metrics(step=step, split="train", loss=1.0)
    sums, content = run.sums(), bytearray((tmp_path / "metrics.jsonl").read_bytes())
    assert run.changed(sums) == []
    content[content.index(b"\n") + 3] = 0xFF  # in the second line
    (tmp_path / "metrics.jsonl").write_bytes(content)
    assert run.changed(sums) == ["metrics.jsonl"]
    with pytest.warns(InputWarning, match=r"metrics.jsonl is damaged: 1 of its lines cannot be read and are left out"):
        assert [line["step"] for line in run.read_metrics()] == [1, 3]
    with pytest.raises(InputError, match="the run folder is 3, it must be a path"):
        load_run(3)


def test_results_and_samples(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_results() == {}
    run.write_results({"steps": 3, "loss": float("inf"), "device": "cpu"})
    assert run.write_evaluation("test", {"loss": float("nan")}).read_text() == '{\n  "loss": null\n}\n'
    for step in (1, 2):
        run.append_sample(step=step, text=f"caf\u00e9\n{step}")
    assert run.read_samples() == [{"step": 1, "text": "caf\u00e9\n1"}, {"step": 2, "text": "caf\u00e9\n2"}]
    run.trim(1)
    assert run.read_results() == {"steps": 3, "loss": None, "device": "cpu"}
    assert (tmp_path / "samples.jsonl").read_text(encoding="utf-8") == '{"step": 1, "text": "caf\u00e9\\n1"}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval-test.json", "results.json", "samples.jsonl"]


def description(**changes):
    config = {"optimizer": {"learning_rate": 0.1}, "data": {"batch_size": 8}, "loop": {"steps": 5}, "run": {"dir": "a"}}
    model, vocabulary = {"type": "Toy", "hidden": 4}, {"type": "Characters", "symbols": ["a", "b"]}
    fields = {"preset": "tiny", "config": config, "model": model, "vocabulary": vocabulary}
    for path, value in changes.items():
        *parents, name = path.split("__")
        table = fields
        for parent in parents:
            table = table[parent]
        table[name] = value
    return fields


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"config__optimizer__learning_rate": 0.2}, "optimizer.learning_rate: it was 0.1, now it is 0.2"),
        ({"config__data__batch_size": 9}, "data.batch_size: it was 8, now it is 9"),
        ({"model__hidden": 5}, "model.hidden: it was 4, now it is 5"),
        ({"vocabulary__symbols": ["a", "c"]}, "vocabulary.symbols.1: it was 'b', now it is 'c'"),
    ],
)
def test_what_may_not_change_is_named(change, difference):
    with pytest.raises(InputError) as error:
        check_same_run(description(), description(**change))
    assert str(error.value) == f"cannot continue with another {difference}"


def test_what_may_change():
    check_same_run(description(), description(config__loop__steps=50, config__run__dir="b", preset="other"))
    check_same_run(description(), description(config__optimizer__learning_rate=0.2), free=("optimizer",))
