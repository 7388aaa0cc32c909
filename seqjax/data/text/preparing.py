"""Preparation of labelled lines: words apart, other names for labels, one form for equal texts."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from seqjax.data.text.vocabulary import normalized
from seqjax.errors import InputError


class LabelledLine(NamedTuple):
    """A text and the name of its class.

    Args:
        label: the name of the class.
        text: the text.
    """

    label: str
    text: str


def split_words(text: str) -> str:
    """A text with blanks between its words and its punctuation marks.

    Args:
        text: any string.

    Returns:
        Words (letters, digits and underscores) and single other characters, separated by one blank each.

    Example:
        >>> split_words("Who's  she?")
        "Who ' s she ?"
    """
    return " ".join(re.findall(r"\w+|[^\w\s]", text))


def renaming(names: Sequence[str]) -> dict[str, str]:
    """New names by label, from texts of the form label=name.

    Args:
        names: such texts.

    Raises:
        InputError: a text has no "=", or a label has two names.

    Example:
        >>> renaming(["0=negative", "1=positive"])
        {'0': 'negative', '1': 'positive'}
    """
    wrong = [pair for pair in names if "=" not in pair]
    if wrong:
        raise InputError(f"names has {wrong[0]!r}: give label=name")
    renamed = dict(pair.split("=", 1) for pair in names)
    if len(renamed) < len(names):
        raise InputError(f"names has two names for one label: {' '.join(names)}")
    return renamed


def preparation(
    names: Mapping[str, str], *, lowercase: bool = False, normalization: str | None = None
) -> Callable[[LabelledLine], LabelledLine]:
    """A function that gives a line new names for its label, and its text in words, all in one form.

    Args:
        names: new names by label; other labels stay.
        lowercase: bring all letters to lower case.
        normalization: one of Unicode's forms, as for `Vocabulary`; None: none.

    Returns:
        The function, from LabelledLine to LabelledLine.

    Raises:
        InputError: the form is unknown.

    Example:
        >>> preparation({"1": "good"}, lowercase=True)(LabelledLine("1", "A gem!"))
        LabelledLine(label='good', text='a gem !')
    """
    normalized("", normalization)

    def prepare(row: LabelledLine) -> LabelledLine:
        text = normalized(row.text, normalization)
        return LabelledLine(names.get(row.label, row.label), split_words(text.lower() if lowercase else text))

    return prepare
