"""Errors of one line, which say what is wrong and what would be right."""


class InputError(ValueError):
    """A wrong input; the message is one line that says what is wrong and what would be right.

    Every mistake by a caller raises this class or a subclass. A command prints the line and exits with code 2; in a script
    it is an ordinary `ValueError`.

    Example:
        >>> raise InputError("xs has 3 features, LSTM reads 4")
        Traceback (most recent call last):
        seqjax.errors.InputError: xs has 3 features, LSTM reads 4
    """
