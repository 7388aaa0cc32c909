"""One process owns a run folder."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from seqjax import writing
from seqjax.errors import InputError
from seqjax.train.runs import lock

OWNER = """
import sys, time
from etils import epath
from seqjax.train.runs.lock import owned
with owned(epath.Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owned(tmp_path):
    return lambda: lock.owned(tmp_path)


def test_a_living_owner_is_named_and_a_dead_one_is_followed(tmp_path, owned):
    with owned(), pytest.raises(InputError, match=rf"is in use by process {os.getpid()} on this machine, since .*: wait"):
        owned().__enter__()
    with subprocess.Popen([sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "owned\n"
        try:
            with pytest.raises(InputError, match=f"in use by process {process.pid} on this machine"), owned():
                pass
        finally:
            process.kill()
    assert (tmp_path / "lock").exists()
    with owned():
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_an_owner_on_another_machine_lives_while_it_touches_its_lock(tmp_path, owned, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    path, ended = tmp_path / "lock", threading.Event()
    path.write_text(json.dumps({"host": "node7", "process": 12, "since": "noon"}))

    def beat():
        while not ended.wait(0.02):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(InputError, match="in use by process 12 on node7, since noon"), owned():
            pass
    finally:
        ended.set()
        thread.join()
    with owned():
        assert json.loads(path.read_text())["host"] == socket.gethostname()
        before = path.stat().st_mtime_ns
        time.sleep(0.3)
        assert path.stat().st_mtime_ns > before  # a sign of life


@pytest.mark.parametrize("content", ["", "[]", '{"host": "node7"', "\0\0"])
def test_a_lock_file_that_says_nothing_is_taken_over(content, tmp_path, owned):
    (tmp_path / "lock").write_text(content)
    with owned():
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_where_files_cannot_be_locked_the_sign_of_life_decides(tmp_path, owned, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    monkeypatch.setattr(writing, "fcntl", None)
    monkeypatch.delattr(os, "pread"), monkeypatch.delattr(os, "pwrite")  # Windows has none of these
    with owned(), pytest.raises(InputError, match="is in use by process"), owned():
        pass
    (tmp_path / "lock").write_text(json.dumps({"host": socket.gethostname(), "process": 1, "since": "noon"}))
    with owned():
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with (
        pytest.raises(InputError, match="nowhere cannot be written: No such file or directory"),
        lock.owned(tmp_path / "nowhere"),
    ):
        pass
