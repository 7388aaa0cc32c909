"""Stop strings and prompts of samples."""

from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import sampling
from experiments.sampling import prompt_batch, until
from seqjax.data import CharacterVocabulary

LETTERS = st.text("ab", min_size=1, max_size=4)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.text("ab", max_size=3), max_size=9), st.lists(LETTERS, max_size=3))
def test_a_text_ends_before_the_first_stop(pieces, stops):
    whole = "".join(pieces)
    ends = [(place + len(stop), place) for stop in stops if (place := whole.find(stop)) >= 0]
    assert "".join(until(iter(pieces), stops)) == whole[: min(ends)[1] if ends else None]


def test_a_terminal_obeys_no_sample(monkeypatch, capsys):
    for terminal, shown in ((True, "a\\x1b[31m\n"), (False, "a\x1b[31m\n")):
        monkeypatch.setattr(sampling, "is_terminal", lambda stream, terminal=terminal: terminal)
        sampling.Output().write(["a\x1b[31m"], "")
        assert capsys.readouterr().out == shown


def test_prompts_are_padded_to_few_lengths():
    vocabulary = CharacterVocabulary.from_text("ab")
    widths = {prompt_batch(vocabulary, "ab" * n)["tokens"].shape for n in range(1, 33)}
    assert widths == {(1, 8), (1, 16), (1, 32), (1, 64)}
    batch = prompt_batch(vocabulary, "ab")
    assert batch["tokens"][0, :2].tolist() == vocabulary.encode("ab").tolist() and batch["tokens_lengths"].tolist() == [2]
    assert prompt_batch(vocabulary, "")["tokens"].shape == (1, 0)
