"""Vocabularies of earlier runs, for a resumed run, and for one that is trained on other texts."""

from collections.abc import Iterable
from typing import Any

from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.serial import from_json
from seqjax.train import RunFolder


def earlier_vocabulary(config: Any, *, count: int = 1) -> Any:
    """The vocabulary of the run that `data.vocabulary_from` names; None: a new one is made.

    A resumed run has a copy of it, so that the other run is no longer needed.

    Args:
        config: the experiment's config, with `resumes` and `data.vocabulary_from`.
        count: the number of a model's vocabularies; above 1 they are a tuple.

    Raises:
        InputError: the folder is no run folder, or its run has other vocabularies.
    """
    if config.data.vocabulary_from is None:
        return None
    run = RunFolder(config.resumes or config.data.vocabulary_from)
    description = run.read_config()
    with run.config_blamed():
        vocabulary = from_json(description["vocabulary"])
        found = len(vocabulary) if isinstance(vocabulary, tuple) else int(vocabulary is not None)
        if found != count:
            reason = f"the run in {run.dir} has {found}, not {count} vocabularies"
            raise InputError(f"{reason}: give the folder of a run that has {count}")
    return vocabulary


def unknown_report(share: float, texts: Iterable[str], vocabulary: Vocabulary, folder: str | None) -> str:
    """A line about the unknown symbols of training texts.

    Args:
        share: the share of the symbols that are unknown.
        texts: the texts.
        vocabulary: their vocabulary.
        folder: the run folder that the vocabulary comes from; None: it was made from the texts.

    Raises:
        InputError: most symbols are unknown.
    """
    report = f"{share:.2%} of the training symbols are unknown"
    if folder is not None:
        lacking = sorted(set().union(*map(vocabulary.outside, texts)))
        few = " ".join(map(repr, lacking[:10]))
        report += f": the vocabulary of {folder} lacks {len(lacking):,} different ones, such as {few}"
    if share > 0.5:
        raise InputError(f"the vocabulary does not fit this text: {report}")
    return f"  {report}"
