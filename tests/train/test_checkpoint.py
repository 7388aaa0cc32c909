import asyncio
import concurrent.futures
import dataclasses
import gc
import logging
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from seqjax.errors import InputError
from seqjax.train import file_errors
from seqjax.train.averages import average
from seqjax.train.changes import refuse_changes
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.file_errors import DamagedError
from seqjax.train.resuming import resume
from seqjax.writing import CannotWriteError
from tests.train.toy import Bench, Toy, ToyStream

POSITION = {"data": {"next_index": 3}, "identity": ToyStream().identity}


def host(state):
    return jax.tree.map(np.array, jax.device_get(state._replace(key=jax.random.key_data(state.key))))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(bench, folder of checkpoints, saved state): the state after three steps."""
    bench, folder = Bench(model=Toy(hidden=40)), tmp_path_factory.mktemp("saved") / "checkpoints"
    state = bench.state()
    for n in range(3):
        state = bench.step(state, bench.stream.batch(n))
    with Checkpoints(folder) as checkpoints:
        checkpoints.save("last", state, POSITION)
    return bench, folder, host(state)


def test_what_is_saved_comes_back(saved):
    bench, folder, before = saved
    with Checkpoints(folder) as checkpoints:
        target = bench.state()
        state, position = checkpoints.restore("last", target)
        assert checkpoints.step("last") == 3 and checkpoints.step("best") is None and position == POSITION
        jax.tree.map(np.testing.assert_array_equal, host(state), before)
        assert jax.tree.map(lambda a: a.sharding, state) == jax.tree.map(lambda a: a.sharding, target)
        params = checkpoints.params(jax.eval_shape(bench.model.init, jax.random.key(0)))
        jax.tree.map(np.testing.assert_array_equal, params, before.params)
    bench.step(state, bench.stream.batch(3))
    assert bench.step._cache_size() == 1  # a restored state compiles nothing


def test_a_write_does_not_see_what_is_donated_after_it(tmp_path):
    bench = Bench(model=Toy(hidden=64))
    state, snapshots = bench.state(), []
    with Checkpoints(tmp_path) as checkpoints:
        for n in range(6):
            state = bench.step(state, bench.stream.batch(n))
            checkpoints.save("last" if n % 2 else "best", state, POSITION)
            snapshots.append(host(state))
        for n in range(6, 12):
            state = bench.step(state, bench.stream.batch(n))
        for which, snapshot in (("best", snapshots[4]), ("last", snapshots[5])):
            jax.tree.map(np.testing.assert_array_equal, host(checkpoints.restore(which, bench.state())[0]), snapshot)
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["6"]


def test_saving_an_earlier_step_replaces_a_later_one(saved, tmp_path):
    bench, _, _ = saved
    with Checkpoints(tmp_path) as checkpoints:
        state = bench.step(bench.step(bench.state(), bench.stream.batch(0)), bench.stream.batch(1))
        checkpoints.save("best", state, POSITION)
        checkpoints.save("best", bench.step(bench.state(), bench.stream.batch(0)), POSITION)
        assert checkpoints.step("best") == 1


def test_the_last_ones_are_kept_and_averaged(tmp_path):
    bench, snapshots = Bench(model=Toy(hidden=5)), []
    state, target = bench.state(), jax.eval_shape(bench.model.init, jax.random.key(0))
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for n in range(5):
            state = bench.step(state, bench.stream.batch(n))
            checkpoints.save("last", state, POSITION)
            checkpoints.save("best", state, POSITION)
            snapshots.append(host(state).params)
        assert (checkpoints.steps("last"), checkpoints.steps("best"), checkpoints.step("last")) == ([3, 4, 5], [5], 5)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:  # reading deletes nothing
        for n in (3, 1):
            latest = snapshots[-n:]
            mean = jax.tree.map(lambda *leaves: np.mean(np.array(leaves, np.float64), 0).astype(np.float32), *latest)
            jax.tree.map(np.testing.assert_array_equal, average(checkpoints, target, n), mean)
        for n in (0, 4):
            with pytest.raises(InputError, match=f"last keeps 3 checkpoints: an average of {n} is not possible, choose 1 to 3"):
                average(checkpoints, target, n)
        jax.tree.map(np.testing.assert_array_equal, host(checkpoints.restore("last", bench.state())[0]), host(state))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        state = bench.step(state, bench.stream.batch(5))
        checkpoints.save("last", state, POSITION)
        assert checkpoints.steps("last") == [5, 6]


def test_an_average_keeps_bfloat16_and_no_sum_is_lost_in_it(tmp_path):
    bench = Bench(model=Toy(hidden=2, dtype="bfloat16"))
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step, value in enumerate((256.0, 1.0, 1.0)):
            state = bench.state()
            params = jax.tree.map(lambda leaf, value=value: np.full(leaf.shape, value, leaf.dtype), state.params)
            checkpoints.save("last", state._replace(params=params, step=np.int32(step)), POSITION)
        mean = average(checkpoints, jax.eval_shape(bench.model.init, jax.random.key(0)), 3)
    for leaf in jax.tree.leaves(mean):
        assert leaf.dtype == jax.numpy.bfloat16 and (leaf == np.asarray(86.0, leaf.dtype)).all()


def test_a_keep_of_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="keep is 0, it must be at least 1"):
        Checkpoints(tmp_path, keep=0)


def test_a_run_that_keeps_several_goes_on_from_the_last(tmp_path):
    bench = Bench()
    bench.train(tmp_path / "run", steps=7, save_every=2, keep=3)
    _, final = bench.train(tmp_path / "run", steps=12, save_every=2, keep=3)
    _, uninterrupted = bench.train(tmp_path / "whole", steps=12, save_every=2, keep=3)
    jax.tree.map(np.testing.assert_array_equal, final, uninterrupted)
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps("last") == [8, 10, 12]


def test_a_flipped_bit_is_reported_in_one_line(saved, tmp_path):
    bench, folder, before = saved
    messages = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        flipped = copy / path.relative_to(folder)
        content = bytearray(flipped.read_bytes())
        content[len(content) // 2] ^= 1
        flipped.write_bytes(content)
        try:
            with Checkpoints(copy, read_only=True) as checkpoints:
                state, position = checkpoints.restore("last", bench.state())
            assert position == POSITION
            jax.tree.map(np.testing.assert_array_equal, host(state), before)
        except InputError as error:
            messages.append(str(error))
        shutil.rmtree(copy)
    assert all("is damaged" in line and "\n" not in line and str(tmp_path) in line for line in messages)
    assert len(messages) >= 5 and any("SHA-256" in line for line in messages), messages


def hush_anew(monkeypatch):
    """Makes this a process that has read nothing yet."""
    for name in ("absl", "asyncio", "concurrent.futures"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    file_errors._hush.cache_clear()


def abandon_future(error):
    """Lets asyncio log an error that nobody has asked for."""
    loop = asyncio.new_event_loop()
    loop.create_future().set_exception(error)
    loop.close()
    gc.collect()


def end_after_the_loop():
    """Lets a thread find the event loop closed that waits for it."""
    loop, work = asyncio.new_event_loop(), concurrent.futures.Future()
    waiting = asyncio.wrap_future(work, loop=loop)
    loop.close()
    work.set_result(None)
    assert not waiting.done()


def test_the_reads_beside_one_that_fails_are_not_told(saved, tmp_path, monkeypatch, caplog):
    """Every array is read through the manifest, and where it is damaged, the error of one is raised: the others stay behind."""
    bench, folder, _ = saved
    shutil.copytree(folder, tmp_path / "copy")
    manifest = tmp_path / "copy" / "last" / "3" / "rest" / "manifest.ocdbt"
    manifest.write_bytes(bytes([*manifest.read_bytes()[:-1], 0]))
    hush_anew(monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with Checkpoints(tmp_path / "copy", read_only=True) as checkpoints:
        for _ in range(20):
            with pytest.raises(DamagedError):
                checkpoints.restore("last", bench.state())
    abandon_future(ValueError("DATA_LOSS: Error reading"))
    end_after_the_loop()
    assert not caplog.records
    abandon_future(ValueError("of the user's"))
    assert "of the user's" in caplog.text  # other errors are told as ever


@pytest.mark.parametrize("content", ["{", '{"commip_timestamp_nsecs": 1}'])
def test_files_of_orbax_that_say_nothing_are_passed_over_in_silence(content, saved, tmp_path, monkeypatch, caplog):
    bench, folder, before = saved
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "last" / "3" / "_CHECKPOINT_METADATA").write_text(content)
    hush_anew(monkeypatch)
    with Checkpoints(tmp_path / "copy", read_only=True) as checkpoints:
        params = checkpoints.params(jax.eval_shape(bench.model.init, jax.random.key(0)))
    jax.tree.map(np.testing.assert_array_equal, params, before.params)
    assert not caplog.records


def test_silent_damage_is_detected_by_the_hash(saved, monkeypatch):
    """Orbax loads a flipped bit of array data without an error where its container has no checksum of it."""
    from orbax.checkpoint import CheckpointManager

    bench, folder, _ = saved
    restore = CheckpointManager.restore

    def flipped(self, *args, **kwargs):
        items = restore(self, *args, **kwargs)
        if "params" in items:
            items["params"]["net"]["out"].view(np.uint8)[0, 0] ^= 1
        return items

    monkeypatch.setattr(CheckpointManager, "restore", flipped)
    with Checkpoints(folder, read_only=True) as checkpoints, pytest.raises(InputError) as error:
        checkpoints.restore("last", bench.state())
    where = folder / "last" / "3"
    assert str(error.value) == f"checkpoint {where} is damaged: its params is not what was written (SHA-256)"


def test_a_full_disk_is_told_in_one_line_and_the_checkpoint_before_stays(saved, tmp_path):
    bench, folder, before = saved
    shutil.copytree(folder, tmp_path / "full")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(CannotWriteError) as error, Checkpoints(tmp_path / "full") as checkpoints:
            state, _ = checkpoints.restore("last", bench.state())
            # as a full disk, for every file, until the threads that write have ended
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, limit[1]))
            checkpoints.save("last", state._replace(step=np.int32(4)), POSITION)
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert re.fullmatch(rf"{tmp_path}/full cannot be written: File too large \([\d.,]+ MB are free there\)", str(error.value))
    with Checkpoints(tmp_path / "full", read_only=True) as checkpoints:
        state, position = checkpoints.restore("last", bench.state())
    assert position == POSITION
    jax.tree.map(np.testing.assert_array_equal, host(state), before)


def test_a_checkpoint_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(saved, monkeypatch):
    from orbax.checkpoint import CheckpointManager

    bench, folder, _ = saved
    passing = (PermissionError(13, "Permission denied"), MemoryError(), OSError(24, "Too many open files"))
    for error, kind in ((FileNotFoundError(2, "No such file"), DamagedError), *((each, InputError) for each in passing)):
        with monkeypatch.context() as patch, Checkpoints(folder, read_only=True) as checkpoints:
            patch.setattr(CheckpointManager, "restore", lambda *args, error=error, **kwargs: (_ for _ in ()).throw(error))
            with pytest.raises(InputError) as told:
                checkpoints.restore("last", bench.state())
        assert type(told.value) is kind and ("it may be whole" in str(told.value)) == (kind is InputError)


def test_a_checkpoint_of_another_config_is_told(saved, tmp_path):
    bench, _, _ = saved
    with Checkpoints(tmp_path / "checkpoints", hashes={"model": "12", "config": "34"}) as checkpoints:
        checkpoints.save("last", bench.state(), POSITION)
    with Checkpoints(tmp_path / "checkpoints", read_only=True, hashes={"model": "12"}) as checkpoints:  # config is not asked for
        checkpoints.restore("last", bench.state())
    edited = r"config.json is damaged or was edited: its config is not that of checkpoint .*last/0 \(SHA-256\)"
    with Checkpoints(tmp_path / "checkpoints", read_only=True, hashes={"config": "35"}) as checkpoints:
        for read in (lambda: checkpoints.restore("last", bench.state()), lambda: checkpoints.record("last")):
            with pytest.raises(InputError, match=edited) as error:
                read()
            assert not isinstance(error.value, DamagedError)  # so that it is not passed over


def test_another_structure_is_named(saved):
    _, folder, _ = saved
    with Checkpoints(folder, read_only=True) as checkpoints:
        with pytest.raises(
            InputError, match=r"another params.net.embedding: it was 'float32\[5, 40\]', now it is 'float32\[5, 3\]'"
        ):
            checkpoints.restore("last", Bench(model=Toy(hidden=3)).state())
        with pytest.raises(InputError, match=r"no checkpoint in .*best: nothing has been saved there"):
            checkpoints.restore("best", Bench().state())


def test_other_data_is_named(saved):
    bench, folder, _ = saved
    with Checkpoints(folder, read_only=True) as checkpoints:
        with pytest.raises(InputError, match=r"^cannot continue with another data.length: it was 6, now it is 7$"):
            resume(checkpoints, bench.state(), dataclasses.replace(bench.stream, length=7))
        assert resume(checkpoints, bench.state(), bench.stream)[1]["data"] == POSITION["data"]


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ({"a": [1, 2]}, {"a": [1, 3]}, "another x.a.1: it was 2, now it is 3"),
        ({"a": 1}, {"b": 1}, "another x.a: it was 1, now it is 'absent'"),
        ({"a": {"b": "y" * 99}}, {"a": {"b": 0}}, "another x.a.b: it was 'yyyyyyyyyyyy...yyyyyyyyyyyyy', now it is 0"),
        ("one", "two", "another x: it was 'one', now it is 'two'"),
    ],
)
def test_refuse_changes(old, new, difference):
    with pytest.raises(InputError) as error:
        refuse_changes("x", old, new)
    assert str(error.value) == f"cannot continue with {difference}"
    refuse_changes("x", old, old)


# Saves as fast as it can, and prints each step before it starts to write it.
ENDLESS = """
import itertools, sys, numpy as np
from seqjax.train.checkpoint import Checkpoints
from tests.train.toy import Bench, Toy
state = Bench(model=Toy(hidden=1000)).state()
with Checkpoints(sys.argv[1]) as checkpoints:
    for n in itertools.count(1):
        print(n, flush=True)
        checkpoints.save("last", state._replace(step=np.int32(n)), {"n": n})
"""


def test_a_process_killed_in_a_write_leaves_the_previous_checkpoint(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, tmp_path], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        printed = [int(next(process.stdout)) for _ in range(4)][-1]
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        printed = int((process.stdout.read().split() or [printed])[-1])
    target = Bench(model=Toy(hidden=1000)).state()
    with Checkpoints(tmp_path) as checkpoints:  # hashes are verified
        state, position = checkpoints.restore("last", target)
        assert int(state.step) == position["n"] >= printed - 2
        checkpoints.save("last", state._replace(step=np.int32(printed + 1)), {"n": 0})  # over the killed process's files
        assert checkpoints.step("last") == printed + 1
