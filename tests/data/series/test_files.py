"""Series in files: one .npz, or folders of .npy, .npz and .csv by class; and what is refused."""

import numpy as np
import pytest

from seqjax.data.series import feature_moments, load_series, read_forecast, split_series
from seqjax.errors import InputError
from tests.data.series.examples import Lazy, make

STEPS = np.arange(12, dtype=np.float32).reshape(6, 2)


def saved(tmp_path, **arrays):
    path = tmp_path / "items.npz"
    np.savez(path, **{"features": STEPS, "length": np.array([1, 2, 3])} | arrays)
    return path


def test_an_npz_file_of_all_items(tmp_path):
    path = saved(
        tmp_path,
        label=np.array(["run", "rest", "run"]),
        target=np.array(["run", "", "rest", "run", "run", ""]),
        group=np.array([7, 7, 8]),
        split=np.array(["train", "train", "test"]),
        rate=np.array(25.0),
    )
    series = load_series(path)
    assert series.classes.names == ("rest", "run") and series.labels.tolist() == [1, 0, 1] and series.rate == 25
    assert [target.tolist() for target in series.targets] == [[1], [-1, 0], [1, 1, -1]]
    assert [item.tolist() for item in series.inputs["features"]] == [STEPS[:1].tolist(), STEPS[1:3].tolist(), STEPS[3:].tolist()]
    assert series.groups == ("7", "7", "8") and series.names == ("item 0", "item 1", "item 2")
    assert {name: part.names for name, part in split_series(series, shares=(1, 0, 0)).items()} == {
        "train": ("item 0", "item 1"),
        "test": ("item 2",),
    }
    numbered = load_series(saved(tmp_path, label=np.array([2, 0, 2]), label_names=np.array(["a", "b", "c"])), rate=5)
    assert numbered.classes.names == ("a", "b", "c") and numbered.labels.tolist() == [2, 0, 2] and numbered.rate == 5
    tokens = load_series(saved(tmp_path, tokens=np.arange(6), target=np.arange(6) % 3 - 1))
    assert tokens.shapes == {"features": (2,), "tokens": ()} and tokens.classes.names == ("0", "1")


def test_a_folder_of_items_by_class(tmp_path):
    for split in ("train", "test"):
        for label in ("run", "rest"):
            (tmp_path / split / label).mkdir(parents=True)
    np.save(tmp_path / "train/run/ann_1.npy", STEPS)
    np.savez(tmp_path / "train/rest/ann_2.npz", features=STEPS[:2])
    (tmp_path / "test/run/bob_1.csv").write_text("\ufeffx,y\n0,1\n\n2,3\n")
    (tmp_path / "test/rest/bob_2.csv").write_text("4,5\n")
    table = tmp_path.with_suffix(".csv")
    table.write_text("clip,begin_frame,end_frame,class\nann_1,1,3,jump\nbob_1,0,1,rest\n")
    series = load_series(tmp_path, group="/([a-z]+)_", segments=table, rate=10)
    assert series.classes.names == ("jump", "rest", "run") and series.groups == ("bob", "bob", "ann", "ann")
    names = {name: n for n, name in enumerate(series.names)}
    np.testing.assert_array_equal(series.inputs["features"][names["test/run/bob_1.csv"]], STEPS[:2])
    assert series.targets[names["train/run/ann_1.npy"]].tolist() == [-1, 0, 0, -1, -1, -1]
    assert [series.classes.names[n] for n in series.labels] == ["rest", "run", "rest", "run"]
    assert {name: set(part.groups) for name, part in split_series(series, shares=(1, 0, 0)).items()} == {
        "train": {"ann"},
        "test": {"bob"},
    }
    renamed = load_series(tmp_path, label="(ann|bob)", rate=10)
    assert renamed.classes.names == ("ann", "bob") and renamed.targets is None and renamed.groups == renamed.names


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run/a.csv", "1,2\n3,x\n", "run/a.csv, line 2 is '3,x': every cell must be a number"),
        ("run/a.csv", "1,2\n3\n", "run/a.csv, line 2 has 1 columns, the first row has 2"),
        ("run/a.csv", "x,y\n", "run/a.csv has an array (0, 1) of float32: give numbers [steps, features], of at least one step"),
        ("run/a.csv", "1,2,3\n", "features of run/b.npy has size [2] a step, run/a.csv has [3]: all items must have the same"),
        ("run/a.csv", "1,nan\n", "features of run/a.csv is NaN or infinite at step 0"),
        ("run/a.npy", b"nothing", "run/a.npy cannot be read"),
        ("run/a.npy", np.zeros((2, 2, 2)), "run/a.npy has an array (2, 2, 2) of float64"),
        ("run/a.npy", np.array([["x"]]), "give numbers [steps, features]"),
        ("run/a.npz", b"nothing", "run/a.npz cannot be read"),
        ("a.csv", "1,2\n", "a.csv lies in no folder of a class"),
    ],
)
def test_wrong_items_are_refused(tmp_path, name, content, message):
    (tmp_path / "run").mkdir()
    np.save(tmp_path / "run/b.npy", STEPS)
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    with pytest.raises(InputError) as error:
        load_series(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": np.zeros(2, int)}, "has (2,) of label and 3 lengths: give one of each an item"),
        ({}, "has neither label, the items' classes, nor target"),
        ({"length": np.array([1, 2]), "label": np.zeros(2, int)}, "has 6 steps, its lengths add up to 3: they must be equal"),
        ({"length": np.array([0, 3, 3]), "label": np.zeros(3, int)}, "item 0 has no steps: leave it out"),
        ({"label": np.array([0, 1, 2]), "label_names": np.array(["a", "b"])}, "item 2 has label 2: there are 2 classes"),
        ({"label": np.array(["a", "b", "c"]), "label_names": np.array(["a", "b"])}, "class 'c' is not known"),
        ({"label": np.zeros(3, int), "group": np.zeros(3, int), "split": np.array(["train", "test", "test"])}, "group 0 is in"),
        ({"label": np.array([None] * 3)}, "it holds Python objects; give an .npz file of plain arrays"),
    ],
)
def test_wrong_npz_files_are_refused(tmp_path, arrays, message):
    with pytest.raises(InputError) as error:
        load_series(saved(tmp_path, **arrays))
    assert message in str(error.value)


def test_what_is_missing_is_named(tmp_path):
    np.savez(tmp_path / "other.npz", values=STEPS)
    np.savez(tmp_path / "lengths.npz", length=np.array([6]))
    for path, options, message in [
        (tmp_path / "none.npz", {}, "none.npz is missing: give an .npz file"),
        (tmp_path / "other.npz", {}, "has no array 'length', it has values"),
        (tmp_path / "lengths.npz", {}, "it needs one of features, frames, flow, tokens"),
        (tmp_path / "other.npz", {"group": "x"}, "is no folder: label, group and segments are for folders"),
        (tmp_path / "empty", {}, "empty has no .npy, .npz, .csv: give <class>/<item>"),
        (tmp_path / "flat", {}, "have no class: put them into folders by class"),
    ]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "flat").mkdir(exist_ok=True)
        np.save(tmp_path / "flat/a.npy", STEPS)
        with pytest.raises(InputError) as error:
            load_series(path, **options)
        assert message in str(error.value)


@pytest.mark.parametrize("lazy", [None, Lazy])
def test_moments_are_those_of_all_steps(lazy):
    items = [np.random.default_rng(n).normal(100, 2, (n, 3)).astype(np.float32) for n in (5, 9)]
    for item in items:
        item[:, 1] = 7
    series = make((5, 9), inputs={"features": items if lazy is None else lazy(items)})
    mean, deviation = feature_moments(series)
    steps = np.concatenate(items).astype(np.float64)
    np.testing.assert_allclose(mean, steps.mean(0), rtol=1e-12)
    np.testing.assert_allclose(deviation, [steps[:, 0].std(), 1, steps[:, 2].std()], rtol=1e-12)


@pytest.mark.parametrize("shares", [(0.8, 0.5), (-0.1, 0.5), (0.5,), (float("nan"), 0.1)])
def test_shares_of_a_forecast_are_checked(tmp_path, shares):
    np.save(tmp_path / "wave.npy", np.sin(np.arange(100.0)))
    with pytest.raises(InputError, match="it must be three shares"):
        read_forecast(tmp_path / "wave.npy", window=10, shares=shares)
