"""Errors of one line, which say what is wrong and what would be right."""

import warnings


class InputError(ValueError):
    """A wrong input; the message is one line that says what is wrong and what would be right.

    Every mistake by a caller raises this class or a subclass. A command prints the line and exits with code 2; in a script
    it is an ordinary `ValueError`.

    Example:
        >>> raise InputError("xs has 3 features, LSTM reads 4")
        Traceback (most recent call last):
        seqjax.errors.InputError: xs has 3 features, LSTM reads 4
    """


class InputWarning(UserWarning):
    """Something wrong that does not stop the work, told in one line; a command prints the line."""


def warn(message: str, frames: int = 2):
    """Tell of something wrong that does not stop the work; `frames` is the number of functions between its place and this one."""
    warnings.warn(message, InputWarning, stacklevel=frames + 1)


def without_frames(error: InputError) -> InputError:
    """The error without the frames that it comes from, and without the notes that JAX adds about frames of its own."""
    vars(error).pop("__notes__", None)
    return error.with_traceback(None)


class _InnerFramesHidden:
    """A context in which an InputError loses the frames below it."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, InputError):
            raise without_frames(error) from None


inner_frames_hidden = _InnerFramesHidden()  # `with inner_frames_hidden:` around the body of a public function
