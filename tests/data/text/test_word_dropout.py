"""Word dropout: its share, its draws, and a wrong rate."""

import numpy as np
import pytest

from seqjax.data.text.word_dropout import WordDropout
from seqjax.errors import InputError


def test_the_share_of_unknown_words_is_the_rate_and_other_inputs_stay():
    tokens, features = np.arange(2, 20_002), np.ones((3, 2))
    inputs = {"tokens": tokens, "features": features}
    dropped = WordDropout(rate=0.3, unknown=1)(inputs, np.random.default_rng(0))
    assert abs((dropped["tokens"] == 1).mean() - 0.3) < 0.02
    assert set(dropped["tokens"].tolist()) <= {1, *tokens.tolist()} and dropped["features"] is features
    assert np.array_equal(dropped["tokens"][dropped["tokens"] != 1], tokens[dropped["tokens"] != 1])
    assert np.array_equal(tokens, inputs["tokens"]) and dropped["tokens"].dtype == tokens.dtype
    again = WordDropout(rate=0.3, unknown=1)(inputs, np.random.default_rng(0))
    assert np.array_equal(again["tokens"], dropped["tokens"])
    assert np.array_equal(WordDropout(rate=0.0, unknown=1)(inputs, np.random.default_rng(0))["tokens"], tokens)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(InputError, match="at least 0 and below 1"):
        WordDropout(rate=rate, unknown=1)
