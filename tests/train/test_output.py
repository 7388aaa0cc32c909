"""Standard streams that are missing, odd or gone."""

import io
import os
import sys

import pytest

from seqjax.train.output import is_terminal, say, visible
from seqjax.train.progress import Progress


class Bare:
    """The stream of a supervisor: it can write, and no more."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Gone(io.StringIO):
    """A terminal that has hung up."""

    def isatty(self):
        return True

    def write(self, text):
        raise OSError(5, "Input/output error")


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def test_a_stream_that_has_gone_is_left_alone():
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Gone()):
        say("a line", stream)
        assert is_terminal(stream) == isinstance(stream, Gone)
    with broken_pipe() as pipe:
        say("a line", pipe)
        print("another, by anyone", file=pipe, flush=True)  # into the null device


def test_a_stream_may_lack_flush_isatty_and_unicode():
    bare, content = Bare(), io.BytesIO()
    ascii_only = io.TextIOWrapper(content, encoding="ascii")
    for stream in (bare, ascii_only):
        say("caf\u00e9", stream)
        assert not is_terminal(stream)
    assert bare.text == "caf\u00e9\n" and content.getvalue() == b"caf\\xe9\n"


@pytest.mark.parametrize("stream", [None, Bare(), Gone()])
def test_training_is_shown_on_whatever_there_is(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    with Progress(2, unit="token") as progress:
        for step in (1, 2):
            progress.update(step, {"loss": 1.0})
            progress.say("a line")
            progress.show("a sample")
    if isinstance(stream, Bare):
        assert stream.text.splitlines() == ["a line", "a sample", "step 2/2  loss 1.000", "a line", "a sample"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_sample_reaches_a_terminal_unbroken_and_harmless(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    with Progress(10, stream=terminal, unit="token") as progress:
        progress.show("one two three four five six seven eight nine ten\x1b[31m\x07\x0c [bold]")
        progress.update(5, {"loss": 1.25})
    assert "seven eight nine ten\\x1b[31m\\x07\\x0c [bold]\n" in terminal.getvalue()


def test_a_narrow_terminal_shows_step_and_loss(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "20")
    with Progress(100, stream=terminal) as progress:
        progress.update(50, {"loss": 1.25})
    assert "50/100" in terminal.getvalue() and "1.25" in terminal.getvalue()


def test_what_is_visible():
    text = "tab\tline\n\u00e9 \u6c34 \U0001f600 \u200d"
    assert visible(text) == text
    assert visible("\x00\x1b\x7f\x85\r\u202e") == "\\x00\\x1b\\x7f\\x85\\r\\u202e"
