"""Stop strings and prompts of samples."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import sampling
from experiments.sampling import Sampling, draw, draw_several, prompt_batch, until
from seqjax import GRU
from seqjax.data import CharacterVocabulary
from seqjax.models.language_model import LanguageModel

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
    prompt = vocabulary.encode("ab")
    widths = {prompt_batch(vocabulary, np.tile(prompt, n))["tokens"].shape for n in range(1, 33)}
    assert widths == {(1, 8), (1, 16), (1, 32), (1, 64)}
    batch = prompt_batch(vocabulary, prompt)
    assert batch["tokens"][0, :2].tolist() == prompt.tolist() and batch["tokens_lengths"].tolist() == [2]
    assert prompt_batch(vocabulary, prompt[:0])["tokens"].shape == (1, 0)


def test_a_prompt_is_encoded_once_for_all_samples(monkeypatch):
    vocabulary, encoded = CharacterVocabulary.from_text("ab"), []
    encode = CharacterVocabulary.encode
    monkeypatch.setattr(CharacterVocabulary, "encode", lambda *args, **kwargs: encoded.append(args[1]) or encode(*args, **kwargs))
    symbols = encode(vocabulary, "bbaa")
    monkeypatch.setattr(Sampling, "several", lambda self, model, params, batch, count, banned: np.tile(symbols, (count, 1)))
    assert draw_several(None, vocabulary, {}, Sampling(prompt="ab", stop=("aa",)), 3) == ["abbb"] * 3
    assert encoded == ["ab"]


def test_the_unknown_symbol_is_never_drawn():
    vocabulary = CharacterVocabulary.from_text("ab")
    cell = GRU(input_size=len(vocabulary), hidden_size=2)
    model = LanguageModel(vocabulary_size=len(vocabulary), cell=cell, start_symbol=vocabulary.start)
    params = model.init(jax.random.key(0))
    params["projection"]["bias"] += jnp.where(jnp.arange(len(vocabulary)) == vocabulary.unknown, 9.0, 0.0)
    options = Sampling(prompt="a", length=20, temperature=1.0)
    texts = ["".join(draw(model, vocabulary, params, options)), *draw_several(model, vocabulary, params, options, 2)]
    assert all(len(text) == 21 and set(text) == set("ab") for text in texts)
