"""Printing to streams that may be missing, odd or gone."""

import contextlib
import os


def say(text: str, stream, *, end: str = "\n"):
    """Print a text, and go on without printing if that is not possible.

    A stream may be None (its descriptor was closed), lack `flush` (a supervisor's), not support Unicode, or be a pipe or terminal
    that has gone; the descriptor of one that has gone is redirected to the null device, so that no later print fails.

    Args:
        text: the text.
        stream: a text stream, or None.
        end: put after the text.

    Example:
        >>> import sys
        >>> say("step 5", sys.stdout)
        step 5
        >>> say("step 6", None)
    """
    if stream is None:
        return
    try:
        try:
            stream.write(text + end)
        except UnicodeEncodeError as error:
            stream.write((text + end).encode(error.encoding, "backslashreplace").decode(error.encoding))
        getattr(stream, "flush", lambda: None)()
    except (OSError, ValueError):  # a ValueError: the stream is closed
        discard(stream)


def discard(stream):
    """Redirect the descriptor of a stream that has gone to the null device."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor, null = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


def is_terminal(stream) -> bool:
    """True for a terminal; False for None and for a stream that does not say.

    Example:
        >>> is_terminal(None), is_terminal(object())
        (False, False)
    """
    try:
        return bool(getattr(stream, "isatty", bool)())
    except ValueError:  # closed
        return False


def visible(text: str) -> str:
    r"""A text with every control character but line ends and tabs written as an escape, so that no terminal obeys it.

    Example:
        >>> print(visible("a\x1b[31mb\x07"))
        a\x1b[31mb\x07
    """
    return "".join(c if c in "\n\t" or c.isprintable() or not _controls(c) else ascii(c)[1:-1] for c in text)


def _controls(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
