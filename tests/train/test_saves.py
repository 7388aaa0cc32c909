"""Saves between the regular ones, and best weights that do not belong to a run any more."""

import shutil

import numpy as np
import pytest

from seqjax.errors import InputWarning
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.resuming import resume
from seqjax.train.runs.folder import RunFolder
from tests.train.toy import Bench


@pytest.fixture(scope="module")
def bench():
    return Bench()


def test_between_two_regular_saves_there_is_one_by_time(bench, tmp_path):
    saved = []

    def look(event):
        if event.kind == "save":
            saved.append((event.step, sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())))

    bench.train(tmp_path / "run", steps=3, save_every=2, save_minutes=1e-9, on_event=look)
    assert saved == [(1, ["recent"]), (2, ["last", "recent"]), (3, ["best", "last", "recent"])]  # evaluated at the last step
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert (checkpoints.steps("recent"), checkpoints.steps("last")) == ([], [3])  # overtaken


def test_best_weights_that_are_lost_or_of_a_part_that_is_left_are_not_the_best(bench, tmp_path):
    folder, losses = tmp_path / "run", iter([3.0, 2.0, 9.0, 9.0, 2.5])
    bench.train(folder, steps=7, eval_every=3, save_every=7, evaluate=lambda params: {"loss": next(losses)})  # at 3, 6, 7
    shutil.copytree(folder, tmp_path / "changed")
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.places() == [(7, "last"), (6, "best")]
    shutil.rmtree(folder / "checkpoints" / "best")
    with pytest.warns(InputWarning, match="the best weights, of step 6, are gone: the next evaluation is taken for the best"):
        bench.train(folder, steps=9, eval_every=3, save_every=7, evaluate=lambda params: {"loss": next(losses)})
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.record("best")["figures"] == {"loss": 9.0}

    folder = tmp_path / "changed"
    shutil.rmtree(folder / "checkpoints" / "last" / "7")  # killed between both saves
    for changed, step in ((False, 6), (True, 6)):
        with Checkpoints(folder / "checkpoints") as checkpoints:
            state, position = resume(checkpoints, bench.state(), bench.stream, RunFolder(folder), changed=changed)
            assert int(state.step) == position["standing"]["step"] == step
            checkpoints.save("last", state._replace(step=np.int32(4)), position | {"standing": None})  # older than the best
