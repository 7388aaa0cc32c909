"""Wrong input: one line, exit code 2, nothing written and nothing lost."""

import shutil

import numpy as np
import pytest

from experiments.action_recognition.config import Network
from seqjax.errors import InputError
from tests.experiments.action_recognition.conftest import PACE, SIZES, command, ramps
from tests.experiments.conftest import contents, refused

WRONG_FLAGS = {
    "no such file": ("--data.path nowhere.npz", "nowhere.npz"),
    "recordings without a folder": ("--data.recordings hapt", "--data.recordings and --data.segments need --data.path"),
    "a folder that is no data set": ("--data.recordings hapt --data.path .", "hapt_raw_float32.npz"),
    "flow of features": ("--data.path clips.npz --data.inputs flow", "name the array of frames"),
    "no layer": ("--data.path clips.npz --model.layers 0", "model.layers is 0"),
    "ranking of clips": ("--data.path clips.npz --model.ranking score", "ranking ranks the scores of frames"),
    "outputs of clips": ("--data.path clips.npz --model.kind multi_lstm", "kind multi_lstm labels frames"),
    "a fold that is not": ("--data.path clips.npz --data.fold 3", "fold is 3"),
    "shares": ("--data.path clips.npz --data.split 0.5 0.5 0.5", "0.5 0.5 0.5"),
    "NaN": ("--data.path nan.npz", "NaN"),
    "a class that is only in test": ("--data.path rare.npz --data.fold 0", "jump"),
    "pictures without their mean": (
        "--data.count 2 2 2 --data.inputs flow --data.grid 8 8 --model.center",
        "--model.center reads vectors",
    ),
    "weights of no scores": (
        "--data.path clips.npz --model.head late",
        "--model.average is given and has no effect: it needs --model.head scores, which is late",
    ),
}


def test_pooling_without_a_layer_is_refused():
    with pytest.raises(InputError, match="hidden"):
        Network(head="late").build_head(3, 2, 0.0)


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """A folder with more files: NaN in one, a class of one person in another."""
    folder = tmp_path_factory.mktemp("wrong")
    shutil.copy(files / "clips.npz", folder)
    arrays = ramps(24, seed=2)
    features = arrays["features"].copy()
    features[7, 1] = np.nan
    np.savez(folder / "nan.npz", **(arrays | {"features": features}))
    label = np.where(arrays["group"] == "person0", 2, arrays["label"])
    np.savez(folder / "rare.npz", **(arrays | {"label": label, "label_names": np.array(["rise", "fall", "jump"])}))
    return folder


@pytest.mark.parametrize("name", WRONG_FLAGS)
def test_wrong_flags_are_refused_before_anything_is_written(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    flags, message = WRONG_FLAGS[name]
    before = contents(folder)
    refused(command("train", *SIZES, *PACE, "--run.dir", "run", *flags.split()), message)
    assert contents(folder) == before and not (folder / "run").exists()


def test_data_that_do_not_fit_a_run_are_refused(finished, files, folder, nowhere):
    before = contents(finished[0])
    refused(command("evaluate", finished[0], "--data.path", files / "wide.npz"), "has 4 numbers, the run's model reads 2")
    refused(command("evaluate", finished[0], "--data.path", folder / "rare.npz", "--data.split", 0.4, 0.2, 0.4), "jump")
    refused(command("predict", finished[0], "--index", 99), "there is no recording 99 in the test split")
    refused(command("predict", finished[0], files / "missing.csv"), "missing.csv")
    (nowhere / "clip.csv").write_text("1, 2\n3, x\n")
    refused(command("predict", finished[0], "clip.csv"), "line 2", "x")
    (nowhere / "three.csv").write_text("1, 2, 3\n")
    refused(command("predict", finished[0], "three.csv"), "line 1 holds 3 numbers, it must hold 2")
    (nowhere / "late.csv").write_text("clip,begin,end,class\nclip.csv,0,99,fall\n")
    (nowhere / "clip.csv").write_text("1, 2\n3, 4\n")
    refused(command("predict", finished[0], "clip.csv", "--segments", "late.csv"), "99")
    refused(command("predict", nowhere / "nothing", "clip.csv"), "is not a run folder")
    assert contents(finished[0]) == before


@pytest.mark.slow
def test_a_stream_says_what_is_wrong_with_it(finished, train, nowhere, no_pictures):
    refused(command("stream", finished[0], stdin=b""), "the stream held no whole step")
    refused(command("stream", finished[0], stdin=b"1 nan\n"), "line 1 holds nan")
    refused(command("stream", finished[0], "--every", 0, stdin=b"1 2\n"), "--every is 0.0")
    assert train("both", "--model.bidirectional", "--loop.steps", 1).code == 0
    refused(command("stream", "both", stdin=b"1 2\n"), "Bidirectional")
