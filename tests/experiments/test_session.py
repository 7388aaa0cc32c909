"""The warnings that the training of any experiment prints."""

from types import SimpleNamespace

import pytest

from experiments.session import Session
from seqjax.train import Event


@pytest.mark.parametrize(("evaluations", "warnings"), [(2, 1), (3, 1), (4, 2)])
def test_a_figure_that_is_always_zero_is_told_once_for_each_number_of_evaluations(evaluations, warnings):
    session, lines, said = Session.__new__(Session), [], []
    session.config, session.folder = SimpleNamespace(monitor="bleu"), SimpleNamespace(read_metrics=lambda: lines)
    session._progress, session._zeros = SimpleNamespace(say=said.append), 0
    for step in range(evaluations):
        lines.append({"split": "validation", "bleu": 0.0})
        session._warn_of_zeros(Event(step, "eval", {}, None))
    session._warn_of_zeros(Event(evaluations, "end", {}, None))  # early stopping
    assert len(said) == warnings == len(set(said)) and f"{evaluations} evaluations" in said[-1]
