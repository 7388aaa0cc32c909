"""One-line errors: they name the thing, what is wrong with it, and what would be right."""


class InputError(ValueError):
    """A wrong input, told in one readable line that names both sides.

    Everything that a caller can get wrong raises this (or a subclass). A command line prints
    the line and exits with code 2; in a script it is an ordinary `ValueError`.

    Example:
        >>> raise InputError("xs has 3 features, LSTM reads 4")
        Traceback (most recent call last):
        seqjax.errors.InputError: xs has 3 features, LSTM reads 4
    """
